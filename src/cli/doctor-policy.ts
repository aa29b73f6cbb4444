import { Paths } from '../config/paths.ts'
import { HeldCredential } from '../credentials/held-credential.ts'
import { openResource } from '../credentials/open-resource.ts'
import { newGrantId, type ResourceName, type ScopeName } from '../ids.ts'
import { checkPolicy } from '../policy/check.ts'
import { loadPolicy, type LoadedPolicy } from '../policy/load.ts'
import { positionOf } from '../policy/problem.ts'
import type { Protocol } from '../protocols/protocol.ts'
import { connectTo } from '../tunnel/tunnel.ts'
import type { Io } from './command.ts'
import { showUntil } from './duration.ts'
import { auditFindings } from './doctor-audit.ts'
import { failed, type Finding } from './doctor-finding.ts'
import type { Globals } from './globals.ts'
import { whoFor } from './principal.ts'
import { loadProtocols } from './protocols.ts'

/** Time enough to have a certificate renewed by hand. */
const certificateWarnDays = 14
const dayMs = 86_400_000

/** The policy here, and each target that it names (or only those named). */
export async function* policyFindings(names: readonly string[], globals: Globals, io: Io): AsyncGenerator<Finding> {
  const protocols = await loadProtocols()
  let loaded: LoadedPolicy
  try {
    loaded = await loadPolicy({
      path: globals.policy,
      digest: globals.policyDigest,
      cwd: io.cwd,
      env: io.env,
      kinds: protocols,
    })
  } catch (error) {
    yield failed(error, { check: 'policy' })
    return
  }
  const trust = loaded.trust.kind === 'pinned' ? 'has the digest asked for' : 'trusted'
  yield { check: 'policy', state: 'ok', text: `policy ${trust} (${loaded.digest.slice(0, 15)}…)` }
  for (const problem of checkPolicy(loaded.policy))
    yield {
      check: 'policy',
      state: problem.severity === 'error' ? 'fail' : 'warn',
      text: `policy: ${problem.place.source.shown}:${positionOf(problem.place).line} ${problem.message}`,
      hint: 'agentgate policy check',
    }
  yield* auditFindings(loaded, io)
  if (!loaded.policy.solo) {
    const findings = await identityFindings(loaded, io)
    yield* findings
    // Every target would only say the same again.
    if (findings.some(({ state }) => state === 'fail')) return
  }
  const wanted = names.length === 0 ? [...loaded.policy.resources.keys()] : names
  for (const name of wanted) {
    let resource
    try {
      resource = loaded.policy.resource(name)
    } catch (error) {
      yield failed(error, { check: 'target', resource: name })
      continue
    }
    const protocol = protocols.get(resource.kind)
    const [scope] = resource.scopes.keys()
    if (protocol === undefined || scope === undefined) continue
    try {
      yield* await targetFindings(loaded, resource.name, scope, protocol, io)
    } catch (error) {
      yield failed(error, { check: 'target', resource: name })
    }
  }
}

/** Whom the policy sees, where identity providers say it; and where a login is kept. */
async function identityFindings(loaded: LoadedPolicy, io: Io): Promise<readonly Finding[]> {
  const [{ identify }, { Keychain, keychainTrouble }] = await Promise.all([
    import('../identity/identify.ts'),
    import('../config/keychain.ts'),
  ])
  const findings: Finding[] = []
  try {
    const { issuers } = loaded.policy.declaration
    const { principal, issuer, expiresAt, from } = await identify(issuers, new Paths(io.env), io.env)
    const until = showUntil(expiresAt, new Date())
    findings.push({
      check: 'identity',
      state: 'ok',
      text: `identity: ${principal.name} by ${issuer.issuer}, until ${until}`,
    })
    // A job keeps no login.
    if (from !== 'login') return findings
  } catch (error) {
    findings.push(failed(error, { check: 'identity' }))
  }
  const kept = await new Keychain(io.env).get('doctor')
  findings.push({
    check: 'keychain',
    state: 'ok',
    text:
      kept.kind === 'ok'
        ? 'keychain: it answers, and keeps logins'
        : `keychain: ${kept.why === 'off' ? 'turned off' : keychainTrouble(kept.why)}; logins are kept in a file of yours alone`,
  })
  return findings
}

async function targetFindings(
  loaded: LoadedPolicy,
  name: ResourceName,
  scope: ScopeName,
  protocol: Protocol,
  io: Io,
): Promise<readonly Finding[]> {
  const { issuer, ...target } = await openResource(loaded, name, scope, { env: io.env })
  // As a session would have it: what the issuer cannot do shows here.
  const held = await HeldCredential.mint(issuer, {
    grant: newGrantId(),
    subject: {
      principal: (await whoFor(loaded, io.env)).principal,
      actor: null,
      confined: false,
      purpose: 'agentgate doctor',
      ticket: null,
    },
    scope: target.scope,
    ttlSeconds: 60,
  })
  const what = { check: 'target', resource: name } as const
  const findings: Finding[] = []
  try {
    const served = { ...target, credential: held.current }
    await protocol.prepare(served)
    const upstream = async () => await connectTo(served.name, served.address)
    const { label, warnings, certificateEnd } = await protocol.probe(served, upstream)
    const days = certificateEnd === undefined ? undefined : Math.floor((certificateEnd.getTime() - Date.now()) / dayMs)
    const certificate = days === undefined ? '' : `, certificate valid ${days} d`
    const soon = days !== undefined && days < certificateWarnDays
    findings.push(
      {
        ...what,
        state: soon ? 'warn' : 'ok',
        text: `${name}: reachable, ${label}${certificate}`,
        ...(days === undefined ? {} : { certificateDays: days }),
        ...(soon ? { hint: 'have it renewed: connections are refused once it has expired' } : {}),
      },
      ...warnings.map((warning): Finding => ({ ...what, state: 'warn', text: `${name}: ${warning}` })),
    )
  } finally {
    const error = await held.end()
    if (error !== undefined) findings.push(failed(error, what))
  }
  return findings
}
