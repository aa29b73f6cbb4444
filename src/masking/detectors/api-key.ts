import { classOf, digit, lower, upper, type Window, word } from './window.ts'

/** The characters after a prefix. `token` is letters, digits, `_` and `-`. */
type Charset = 'alnum' | 'upper' | 'hex' | 'token' | 'dotted'

interface KeyKind {
  readonly prefix: string
  readonly charset: Charset
  readonly min: number
  readonly max: number
}

const longest = 1024
/** Random characters of which so many are of one class are none. */
const maxLookedAt = 40

function kind(prefix: string, charset: Charset, min: number, max = longest): KeyKind {
  return { prefix, charset, min, max }
}

/**
 * Keys that their makers gave a prefix to be found by: from the vendors' documentation and gitleaks 8.x `config/gitleaks.toml`.
 * Lengths are the shortest known; what is longer is still a key.
 */
const kinds: readonly KeyKind[] = [
  // Amazon Web Services: key ids
  ...['AKIA', 'ASIA', 'ABIA', 'ACCA', 'AROA', 'AIDA', 'AIPA'].map(prefix => kind(prefix, 'upper', 16, 16)),
  kind('ABSKQmVkcm9ja', 'token', 60),
  // GitHub
  ...['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_'].map(prefix => kind(prefix, 'token', 36)),
  kind('github_pat_', 'token', 50),
  // GitLab
  ...[
    'glpat-',
    'gldt-',
    'glrt-',
    'glft-',
    'glsoat-',
    'glcbt-',
    'glimt-',
    'glagent-',
    'gloas-',
    'glptt-',
    'glffct-',
  ].map(prefix => kind(prefix, 'dotted', 20)),
  kind('GR1348941', 'token', 20),
  // Slack
  ...['xoxb-', 'xoxp-', 'xoxa-', 'xoxo-', 'xoxs-', 'xoxr-', 'xoxe-', 'xoxc-', 'xoxd-', 'xapp-'].map(prefix =>
    kind(prefix, 'token', 20),
  ),
  kind('xoxe.xoxb-', 'token', 20),
  kind('xoxe.xoxp-', 'token', 20),
  // Stripe
  ...['sk_live_', 'sk_test_', 'sk_prod_', 'rk_live_', 'rk_test_', 'rk_prod_', 'whsec_'].map(prefix =>
    kind(prefix, 'alnum', 10),
  ),
  // Google
  kind('AIza', 'token', 35, 35),
  kind('GOCSPX-', 'token', 24),
  kind('ya29.', 'token', 20),
  // OpenAI, Anthropic and others that give out sk-
  kind('sk-ant-', 'token', 24),
  ...['sk-proj-', 'sk-svcacct-', 'sk-admin-', 'sk-None-', 'sk-or-', 'sk-lf-'].map(prefix => kind(prefix, 'token', 20)),
  kind('sk-', 'alnum', 32),
  ...['gsk_', 'xai-', 'pplx-', 'r8_', 'hf_', 'fw_', 'csk-', 'tgp_v1_'].map(prefix => kind(prefix, 'token', 30)),
  // Package registries
  kind('npm_', 'alnum', 36),
  kind('pypi-', 'token', 50),
  kind('rubygems_', 'hex', 48),
  kind('dckr_pat_', 'token', 20),
  kind('dckr_oat_', 'token', 20),
  kind('oy2', 'alnum', 43, 43),
  kind('cio', 'alnum', 32, 32),
  // Messages and mail
  kind('SK', 'hex', 32, 32),
  kind('SG.', 'dotted', 60),
  kind('key-', 'hex', 32, 32),
  kind('xkeysib-', 'token', 64),
  kind('sq0atp-', 'token', 22),
  kind('sq0csp-', 'token', 43),
  kind('EAAA', 'token', 60, 60),
  // Clouds and platforms
  ...['dop_v1_', 'doo_v1_', 'dor_v1_'].map(prefix => kind(prefix, 'hex', 64)),
  ...['shpat_', 'shpca_', 'shppa_', 'shpss_'].map(prefix => kind(prefix, 'hex', 32)),
  ...['sbp_', 'sb_secret_'].map(prefix => kind(prefix, 'token', 20)),
  ...['pscale_tkn_', 'pscale_pw_', 'pscale_oauth_'].map(prefix => kind(prefix, 'dotted', 32)),
  kind('dapi', 'hex', 32),
  kind('hvs.', 'token', 24),
  kind('hvb.', 'token', 24),
  kind('dp.pt.', 'alnum', 40),
  kind('dp.st.', 'dotted', 40),
  kind('pul-', 'hex', 40),
  kind('fo1_', 'token', 40),
  kind('HRKU-', 'token', 36),
  kind('nfp_', 'alnum', 36),
  kind('PMAK-', 'token', 40),
  kind('NRAK-', 'alnum', 27),
  kind('glc_', 'token', 32),
  kind('glsa_', 'token', 32),
  kind('sntrys_', 'token', 40),
  kind('sntryu_', 'hex', 40),
  kind('lin_api_', 'alnum', 32),
  kind('secret_', 'alnum', 43),
  kind('ntn_', 'alnum', 40),
  kind('figd_', 'token', 36),
  kind('ATATT3', 'token', 60),
  kind('ATCTT3', 'token', 60),
  kind('pat-na1-', 'token', 36),
  kind('pat-eu1-', 'token', 36),
  kind('AGE-SECRET-KEY-1', 'upper', 58, 58),
]

const accepted: Readonly<Record<Charset, number>> = { alnum: 1, upper: 2, hex: 4, token: 8, dotted: 16 }
const charsetOf = new Uint8Array(256)
for (let byte = 0; byte < 256; byte++) {
  const classes = classOf[byte] ?? 0
  const character = String.fromCharCode(byte)
  if ((classes & word) !== 0) charsetOf[byte] = accepted.alnum | accepted.token | accepted.dotted
  if ((classes & (upper | digit)) !== 0) charsetOf[byte] = (charsetOf[byte] ?? 0) | accepted.upper
  if (/[0-9a-fA-F]/.test(character)) charsetOf[byte] = (charsetOf[byte] ?? 0) | accepted.hex
  if (character === '_' || character === '-') charsetOf[byte] = accepted.token | accepted.dotted
  if (character === '.') charsetOf[byte] = accepted.dotted
}

const byFirstTwo = new Map<number, KeyKind[]>()
for (const each of kinds) {
  const key = (each.prefix.charCodeAt(0) << 8) | each.prefix.charCodeAt(1)
  byFirstTwo.set(key, [...(byFirstTwo.get(key) ?? []), each])
}
// The longest prefix says most.
for (const list of byFirstTwo.values()) list.sort((left, right) => right.prefix.length - left.prefix.length)

/** The first bytes of every prefix, three of each; what may follow one of two bytes is written out. */
export const keyBeginnings: readonly string[] = kinds.flatMap(({ prefix, charset }) =>
  prefix.length > 2
    ? [prefix.slice(0, 3)]
    : [...charsetOf.keys()]
        .filter(byte => ((charsetOf[byte] ?? 0) & accepted[charset]) !== 0)
        .map(byte => prefix + String.fromCharCode(byte)),
)

/** Where a vendor's key that begins at `start` ends, else -1. */
export function matchApiKey(window: Window, start: number): number {
  const candidates = byFirstTwo.get((window.at(start) << 8) | window.at(start + 1)) ?? []
  for (const { prefix, charset, min, max } of candidates) {
    const body = start + prefix.length
    let at = start
    while (at < body && window.peek(at, start) === prefix.charCodeAt(at - start)) at++
    if (at < body) continue
    at = endOfRun(window, accepted[charset], body, start)
    // A dot at the end is the sentence's.
    while (charset === 'dotted' && at > body && window.at(at - 1) === 0x2e) at--
    const length = at - body
    if (length < min || length > max || window.peekIs(at, word, start)) continue
    if (charset !== 'hex' && !looksMade(window, body, at)) continue
    return at
  }
  return -1
}

function endOfRun(window: Window, bit: number, from: number, start: number): number {
  const known = window.runEnd(bit)
  let at = Math.max(known, from)
  while (at - from <= longest) {
    const byte = window.peek(at, start)
    if (byte < 0 || ((charsetOf[byte] ?? 0) & bit) === 0) break
    at++
  }
  window.setRunEnd(bit, at)
  return at
}

/** Not one word or a name in capitals: keys have digits, or both cases. */
function looksMade(window: Window, start: number, end: number): boolean {
  let classes = 0
  for (let index = start; index < Math.min(end, start + maxLookedAt); index++) classes |= classOf[window.at(index)] ?? 0
  return (classes & digit) !== 0 || (classes & word) === (lower | upper)
}
