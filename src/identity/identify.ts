import { readFileSync } from 'node:fs'
import { oneAtATime } from '../config/one-at-a-time.ts'
import type { Environment, Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { parseJson } from '../json-body.ts'
import { Secret } from '../secret.ts'
import { actorOf, principalOf, type OidcActor, type OidcPrincipal } from './claims.ts'
import type { IdentityIssuer } from './identity-issuer.ts'
import { LoginStore, type Login, type LoginKey } from './login-store.ts'
import { TokenVerifier, type VerifiedToken } from './verify-token.ts'

/** A token that would end while a session is being opened is renewed first. */
const renewBeforeMs = 60_000

export interface Identity {
  readonly principal: OidcPrincipal
  /** Proven by the token itself. */
  readonly actor: OidcActor | null
  readonly issuer: IdentityIssuer
  readonly expiresAt: Date
  readonly from: 'login' | 'workload' | 'client-credentials'
}

/**
 * Who this process acts for: a job by its own token or client, a person by their login.
 * @throws AgentgateError NOT_LOGGED_IN, LOGIN_FAILED, IDP_UNREACHABLE, DENIED (a condition on claims)
 */
export async function identify(issuers: readonly IdentityIssuer[], paths: Paths, env: Environment): Promise<Identity> {
  const presented = await presentedToken(issuers, env)
  if (presented === undefined) return await byLogin(issuers, paths, env)
  const { token, from } = presented
  return identityOf(await new TokenVerifier(paths).verify(token.reveal(), issuers, issuer => issuer.audience), from)
}

/**
 * The same as a token to show to a broker, which verifies it: nothing of a job's own token is looked up here.
 * @param broker whose login: that of another is never shown to it. null: of the policy here.
 * @throws AgentgateError NOT_LOGGED_IN, LOGIN_FAILED, IDP_UNREACHABLE
 */
export async function tokenToShow(
  issuers: readonly IdentityIssuer[],
  broker: string | null,
  paths: Paths,
  env: Environment,
): Promise<Secret> {
  return (await presentedToken(issuers, env))?.token ?? (await currentLogin(issuers, broker, paths, env)).token
}

interface Presented {
  readonly token: Secret
  readonly from: 'workload' | 'client-credentials'
}

/** A job's own, before any login of a person. */
async function presentedToken(issuers: readonly IdentityIssuer[], env: Environment): Promise<Presented | undefined> {
  const given = workloadToken(env) ?? (await githubToken(issuers, env))
  if (given !== undefined) return { token: given, from: 'workload' }
  const clientId = env['AGENTGATE_CLIENT_ID'] ?? ''
  const clientSecret = env['AGENTGATE_CLIENT_SECRET'] ?? ''
  if (clientId === '' || clientSecret === '') return undefined
  const issuer = chooseIssuer(issuers, env['AGENTGATE_ISSUER'])
  const { Provider } = await import('./provider.ts')
  const provider = await Provider.discover(issuer, clientId, new Secret(clientSecret))
  return { token: await provider.clientCredentials(), from: 'client-credentials' }
}

/** The issuer that is meant: the only one, or the one named by a part of its address. @throws AgentgateError USAGE */
export function chooseIssuer(issuers: readonly IdentityIssuer[], wanted: string | undefined): IdentityIssuer {
  const candidates =
    wanted === undefined || wanted === '' ? issuers : issuers.filter(each => each.issuer.includes(wanted))
  const [only] = candidates
  if (only !== undefined && candidates.length === 1) return only
  throw new AgentgateError(
    'USAGE',
    candidates.length === 0 ? 'the policy names no such issuer' : 'the policy names several issuers: which?',
    { hint: `one of ${issuers.map(each => each.issuer).join(', ')}` },
  )
}

async function byLogin(issuers: readonly IdentityIssuer[], paths: Paths, env: Environment): Promise<Identity> {
  return identityOf(await currentLogin(issuers, null, paths, env), 'login')
}

async function currentLogin(
  issuers: readonly IdentityIssuer[],
  broker: string | null,
  paths: Paths,
  env: Environment,
): Promise<VerifiedToken> {
  const store = new LoginStore(paths, env)
  let kept: AgentgateError | undefined
  const logins = store.list()
  for (const key of logins) {
    const { issuer, clientId } = key
    const known = issuers.find(each => each.issuer === issuer && each.clientId === clientId)
    if (known === undefined || key.broker !== broker) continue
    const login = await store.load(key).catch((error: unknown) => {
      if (!(error instanceof AgentgateError) || error.code !== 'NOT_LOGGED_IN') throw error
      kept ??= error // another login may do
      return undefined
    })
    if (login === undefined) continue
    const verified = await currentToken(login, known, store, paths)
    if (verified !== undefined) return verified
  }
  throw kept ?? notLoggedIn(broker, logins)
}

function notLoggedIn(broker: string | null, logins: readonly LoginKey[]): AgentgateError {
  if (broker === null) return new AgentgateError('NOT_LOGGED_IN', 'you are not logged in', { hint: 'agentgate login' })
  const others = [...new Set(logins.flatMap(each => each.broker ?? []))].filter(each => each !== broker)
  const elsewhere = others.length === 0 ? '' : `: your login is for ${others.join(' and ')}, and no other is shown it`
  return new AgentgateError('NOT_LOGGED_IN', `you are not logged in to ${broker}${elsewhere}`, {
    hint: `${others.length === 0 ? '' : 'is that the broker that you mean (AGENTGATE_BROKER)? then: '}agentgate login ${broker}`,
  })
}

/** Verified; renewed where it is about to end. Undefined: one has to log in again. */
async function currentToken(
  login: Login,
  issuer: IdentityIssuer,
  store: LoginStore,
  paths: Paths,
): Promise<VerifiedToken | undefined> {
  const verified = await verifyLogin(login, issuer, paths)
  if (verified !== undefined && verified.expiresAt.getTime() - Date.now() > renewBeforeMs) return verified
  if (login.refreshToken === null) return verified
  try {
    return await oneAtATime(`${paths.loginsFile}.refresh`, async () => await renew(login, issuer, store, paths))
  } catch (error) {
    // A provider that is away for a moment ends nothing that still counts.
    if (verified !== undefined && error instanceof AgentgateError && error.code === 'IDP_UNREACHABLE') return verified
    throw error
  }
}

async function renew(
  login: Login,
  issuer: IdentityIssuer,
  store: LoginStore,
  paths: Paths,
): Promise<VerifiedToken | undefined> {
  // Another process may have been first; a refresh token that is used twice ends the whole login (RFC 9700 §4.14.2).
  const newest = (await store.load(login)) ?? login
  if (newest.refreshToken?.reveal() !== login.refreshToken?.reveal()) return await verifyLogin(newest, issuer, paths)
  const { Provider } = await import('./provider.ts')
  const renewed = await (await Provider.discover(issuer)).refresh(newest)
  if (renewed === undefined) {
    await store.remove(login)
    return undefined
  }
  // From here on the old one is spent: what came for it is kept before anything else can fail.
  await store.save({ ...renewed, broker: login.broker })
  const fresh = await new TokenVerifier(paths).verify(renewed.idToken.reveal(), [issuer], each => each.clientId)
  if (!isOfSame(login, fresh)) {
    await store.remove(login)
    throw new AgentgateError('LOGIN_FAILED', `${issuer.issuer} renewed the login as somebody else’s`, {
      hint: 'agentgate login',
    })
  }
  return fresh
}

/** OpenID Connect Core §12.2: whose it is never changes. It was verified when it came. */
function isOfSame(login: Login, fresh: VerifiedToken): boolean {
  return subjectOf(login.idToken.reveal()) === fresh.claims['sub']
}

function subjectOf(token: string): unknown {
  const claims = parseJson(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'))
  return typeof claims === 'object' && claims !== null && 'sub' in claims ? claims.sub : undefined
}

/** Undefined: no longer good by itself, which a refresh may mend. */
async function verifyLogin(login: Login, issuer: IdentityIssuer, paths: Paths): Promise<VerifiedToken | undefined> {
  try {
    return await new TokenVerifier(paths).verify(login.idToken.reveal(), [issuer], each => each.clientId)
  } catch (error) {
    if (error instanceof AgentgateError && error.code === 'NOT_LOGGED_IN') return undefined
    throw error
  }
}

function identityOf(verified: VerifiedToken, from: Identity['from']): Identity {
  const { issuer, claims, expiresAt } = verified
  return { principal: principalOf(claims, issuer), actor: actorOf(claims), issuer, expiresAt, from }
}

/** AGENTGATE_ID_TOKEN, or a file that the platform keeps fresh: GitLab's id_tokens, Kubernetes' projected volumes. */
function workloadToken(env: Environment): Secret | undefined {
  const token = env['AGENTGATE_ID_TOKEN'] ?? ''
  if (token !== '') return new Secret(token.trim())
  const file = env['AGENTGATE_ID_TOKEN_FILE'] ?? ''
  if (file === '') return undefined
  try {
    return new Secret(readFileSync(file, 'utf8').trim())
  } catch (cause) {
    throw new AgentgateError('NOT_LOGGED_IN', `AGENTGATE_ID_TOKEN_FILE cannot be read: ${file}`, { cause })
  }
}

const githubIssuer = 'https://token.actions.githubusercontent.com'

/** A job on GitHub Actions with `permissions: id-token: write` asks its runner for one, meant for us. */
async function githubToken(issuers: readonly IdentityIssuer[], env: Environment): Promise<Secret | undefined> {
  const issuer = issuers.find(each => each.issuer === githubIssuer)
  const address = env['ACTIONS_ID_TOKEN_REQUEST_URL'] ?? ''
  const bearer = env['ACTIONS_ID_TOKEN_REQUEST_TOKEN'] ?? ''
  if (issuer === undefined || address === '' || bearer === '') return undefined
  const url = new URL(address)
  url.searchParams.set('audience', issuer.audience)
  try {
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${bearer}` },
      redirect: 'error',
      signal: AbortSignal.timeout(10_000),
    })
    const body: unknown = await response.json()
    if (typeof body === 'object' && body !== null && 'value' in body && typeof body.value === 'string')
      return new Secret(body.value)
    throw new Error(`status ${response.status}`)
  } catch (cause) {
    throw new AgentgateError('IDP_UNREACHABLE', 'the runner of GitHub Actions gave no ID token', {
      hint: 'the job needs: permissions: { id-token: write }',
      cause,
    })
  }
}
