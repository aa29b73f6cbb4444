import { isSafeUrl } from '../config/loopback.ts'
import { AgentgateError } from '../errors.ts'

const timeoutMs = 10_000
const maxAnswerBytes = 1_000_000

/** Certificates are verified whatever the environment says: node reads this variable at each connection. */
export function verifyTls(): void {
  delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
}

/** A JSON document of a provider's, by HTTPS, or by HTTP on loopback. @throws AgentgateError IDP_UNREACHABLE */
export async function fetchJson(url: string): Promise<unknown> {
  verifyTls()
  const unreachable = (why: string, cause?: unknown) =>
    new AgentgateError('IDP_UNREACHABLE', `the identity provider did not answer at ${new URL(url).origin} (${why})`, {
      hint: networkHint(why),
      cause,
    })
  if (!isSafeUrl(url)) throw unreachable('it is not https')
  let response: Response
  try {
    response = await fetch(url, {
      redirect: 'error',
      headers: { accept: 'application/json' },
      signal: AbortSignal.timeout(timeoutMs),
    })
  } catch (cause) {
    throw unreachable(networkReason(cause), cause)
  }
  if (response.status !== 200) throw unreachable(`status ${response.status}`)
  const text = await response.text().catch((cause: unknown) => {
    throw unreachable('it broke off', cause)
  })
  if (text.length > maxAnswerBytes) throw unreachable('its answer is too large')
  try {
    return JSON.parse(text)
  } catch {
    throw unreachable('its answer is not JSON')
  }
}

/** Only a word of node's own: ECONNREFUSED, CERT_HAS_EXPIRED. */
export function networkReason(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ('code' in cause && typeof cause.code === 'string' && /^[A-Z][A-Z0-9_]+$/.test(cause.code)) return cause.code
    if (cause.name === 'TimeoutError') return 'no answer'
  }
  return 'no answer'
}

/** @param reason as `networkReason` has it */
export function networkHint(reason: string): string {
  if (/^CERT_(NOT_YET_VALID|HAS_EXPIRED)$/.test(reason)) return 'is this machine’s clock right?'
  if (/^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_(GET|VERIFY))/.test(reason))
    return 'an authority of your own goes into NODE_EXTRA_CA_CERTS'
  return 'check the network, and issuers: in the policy'
}
