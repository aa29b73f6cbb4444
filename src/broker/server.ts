import { createHash } from 'node:crypto'
import { chmodSync, rmSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type net from 'node:net'
import { z } from 'zod'
import type { Paths } from '../config/paths.ts'
import * as schema from '../control/broker-schema.ts'
import { AgentgateError, type ErrorCode } from '../errors.ts'
import { principalOf } from '../identity/claims.ts'
import { osUser } from '../identity/os-user.ts'
import { TokenVerifier } from '../identity/verify-token.ts'
import { parseJson, readBounded } from '../json-body.ts'
import { isWho } from '../policy/access.ts'
import type { ParsedWho } from '../policy/schema.ts'
import type { Principal } from '../policy/subject.ts'
import { approvalAnswer, approvalRequest, editPreview } from '../control/schema.ts'
import { answerAccess } from './access-calls.ts'
import { versionOf, type Approvals } from './approvals.ts'
import { sendHealth, sendMetrics, serveMonitoring, watchCall } from './monitoring.ts'
import type { Requests } from './requests.ts'
import { RateLimit } from './rate-limit.ts'
import { principalToWire, type Caller, type Sessions } from './sessions.ts'
import type { Store, StoredGrant } from './store.ts'
import type { WitnessCalls } from './witness/routes.ts'

/** A request for approval holds its statement. */
const maxBodyBytes = 1 << 20
const beatMs = 1000
const longPollMs = 20_000
const lookEveryMs = 1000
/** A token that was good is good for so long, as far as looking it up again goes; never beyond its own end. */
const rememberTokenMs = 30_000
const maxRememberedTokens = 10_000
const refusedEveryMs = 1000

export interface ServerOptions {
  readonly sessions: Sessions
  readonly store: Store
  readonly approvals: Approvals
  readonly requests: Requests
  readonly witness: WitnessCalls
  readonly paths: Paths
  /** Where it started by itself: what this user's own processes say to it. */
  readonly own?: OwnCalls
}

export interface OwnCalls {
  about(): Promise<schema.OwnBroker>
  adopt(adopted: schema.Adoption): Promise<void>
  retire(): Promise<boolean>
}

type Door = 'network' | 'administer' | 'ask'

export interface TcpPlace {
  readonly host: string
  readonly port: number
  readonly certificate: Buffer
  readonly key: Buffer
}

/** The broker's HTTP API. Whoever opens a listener closes the server. */
export class BrokerServer {
  readonly #options: ServerOptions
  readonly #verifier: TokenVerifier
  readonly #tokens = new Map<string, { readonly principal: Principal; readonly until: number }>()
  readonly #servers: { readonly server: http.Server | https.Server; readonly socket?: string }[] = []
  readonly #end = new AbortController()
  /** Hashes of tokens that were told of. */
  readonly #told = new Set<string>()
  #toldRefusedAt = -Infinity
  readonly #calls = new RateLimit(50, 500)
  /** A whole office may come from one address. */
  readonly #failures = new RateLimit(20, 500)

  constructor(options: ServerOptions) {
    this.#options = options
    this.#verifier = new TokenVerifier(options.paths)
  }

  /** When somebody last asked something. */
  askedAt = performance.now()

  /** Whoever can open it is this user; `ask`: may look and ask, and neither approve nor end. */
  async listenUnix(socket: string, rights: 'administer' | 'ask' = 'administer'): Promise<void> {
    rmSync(socket, { force: true })
    const server = http.createServer({ requestTimeout: 10_000 }, this.#handler(rights))
    await listening(server, () => server.listen(socket))
    chmodSync(socket, 0o600)
    this.#servers.push({ server, socket })
  }

  /** Always TLS. Returns the port. */
  async listenTcp(place: TcpPlace): Promise<number> {
    const server = https.createServer(
      { cert: place.certificate, key: place.key, requestTimeout: 10_000, minVersion: 'TLSv1.2' },
      this.#handler('network'),
    )
    await listening(server, () => server.listen(place.port, place.host))
    this.#servers.push({ server })
    return (server.address() as net.AddressInfo).port
  }

  /** For scrapers and load balancers: without TLS, and nothing but health, readiness and metrics. Returns the port. */
  async listenMonitoring(host: string, port: number): Promise<number> {
    const server = serveMonitoring(this.#options.sessions, this.#options.store)
    await listening(server, () => server.listen(port, host))
    this.#servers.push({ server })
    return (server.address() as net.AddressInfo).port
  }

  async close(): Promise<void> {
    this.#end.abort()
    await Promise.all(
      this.#servers.map(async ({ server, socket }) => {
        server.closeAllConnections()
        await new Promise<void>(resolve => server.close(() => resolve()))
        if (socket !== undefined) rmSync(socket, { force: true })
      }),
    )
  }

  #handler(door: Door): http.RequestListener {
    const { metrics } = this.#options.sessions
    return (request, response) => {
      this.askedAt = performance.now()
      watchCall(metrics, request, response)
      this.#respond(door, request, response).catch((error: unknown) => {
        metrics.count('errors', { code: error instanceof AgentgateError ? error.code : 'INTERNAL' })
        if (response.headersSent) response.destroy()
        else refuse(response, error)
      })
    }
  }

  async #respond(door: Door, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { sessions, approvals } = this.#options
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://broker')
    const route = `${request.method ?? 'GET'} ${pathname}`
    switch (route) {
      case 'GET /healthz':
      case 'GET /readyz': {
        sendHealth(response, pathname, sessions.vouches)
        return
      }
      case 'GET /v1/witness':
        send(response, 200, this.#options.witness.key())
        return
      case 'GET /v1/issuers': {
        send(response, 200, {
          issuers: sessions.policy.policy.declaration.issuers.map(({ issuer, audience, clientId, scopes }) => ({
            issuer,
            audience,
            clientId,
            scopes: scopes ?? null,
          })),
        })
        return
      }
      default:
    }
    const held = /^POST \/v1\/sessions\/(s_[0-9A-Z]{4,32})\/approvals(?:\/(a_[0-9A-Z]{4,32})\/end)?$/.exec(route)
    if (held?.[1] !== undefined) {
      await this.#ofSessionToken(held[1], request)
      if (held[2] === undefined) {
        await approvals.ask(held[1], await read(approvalRequest, request))
        send(response, 200, { sessions: 1 })
        return
      }
      const { outcome } = await read(schema.approvalEnd, request)
      send(response, 200, { claimed: await approvals.end(held[1], held[2], outcome) })
      return
    }
    const check =
      /^POST \/v1\/sessions\/(s_[0-9A-Z]{4,32})\/approvals\/(a_[0-9A-Z]{4,32})\/checks\/(k_[0-9A-Z]{4,32})$/.exec(route)
    if (check?.[1] !== undefined) {
      await this.#ofSessionToken(check[1], request)
      await approvals.checked(check[1], check[2] ?? '', check[3] ?? '', await read(editPreview, request))
      send(response, 200, { sessions: 1 })
      return
    }
    const seen = /^POST \/v1\/sessions\/(s_[0-9A-Z]{4,32})\/(witness|statements)$/.exec(route)
    if (seen?.[1] !== undefined) {
      await this.#ofSessionToken(seen[1], request)
      const call = seen[2] === 'witness' ? 'witness' : 'statements'
      send(response, 200, await this.#options.witness.ofSession(call, seen[1], await read(z.unknown(), request)))
      return
    }
    const own = /^(GET|POST) \/v1\/sessions\/(s_[0-9A-Z]{4,32})\/(stream|renew|end)$/.exec(route)
    if (own?.[2] !== undefined) {
      await this.#ofSessionToken(own[2], request)
      await this.#ofSession(`${own[1] ?? ''} ${own[3] ?? ''}`, own[2], request, response)
      return
    }
    if (door === 'ask' && request.method !== 'GET' && route !== 'POST /v1/requests')
      throw new AgentgateError('DENIED', 'this socket tells and takes questions; who administers uses control.sock')
    const caller = await this.#caller(door, request)
    if (door === 'administer' && (await this.#ofOwner(route, request, response))) return
    await this.#ofCaller(route, searchParams, caller, request, response)
  }

  /** @throws AgentgateError NOT_LOGGED_IN, RATE_LIMITED */
  async #ofSessionToken(session: string, request: http.IncomingMessage): Promise<void> {
    await this.#counted(request.socket.remoteAddress ?? 'local', async () => {
      await this.#options.sessions.authenticate(session, bearerOf(request) ?? '')
    })
    this.#within(`session ${session}`)
  }

  /** @throws AgentgateError RATE_LIMITED */
  #within(key: string): void {
    if (this.#calls.take(key) !== undefined) throw tooOften()
  }

  /** Whoever guesses is slowed down, by where they are: nobody knows who they are. */
  async #counted<Result>(from: string, verify: () => Promise<Result>): Promise<Result> {
    if (!this.#failures.has(from)) throw tooOften()
    try {
      return await verify()
    } catch (error) {
      if (error instanceof AgentgateError && error.code === 'NOT_LOGGED_IN') this.#failures.take(from)
      throw error
    }
  }

  async #verifiedWithin(token: string, from: string): Promise<Principal> {
    return await this.#counted(from, async () => await this.#verified(token))
  }

  async #ofSession(
    call: string,
    session: string,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<void> {
    const { sessions } = this.#options
    switch (call) {
      case 'GET stream': {
        await this.#stream(session, response)
        return
      }
      case 'POST renew': {
        const { grant, seconds } = await read(schema.renewRequest, request)
        send(response, 200, { credential: await sessions.renew(session, grant, seconds) })
        return
      }
      case 'POST end': {
        const { reason } = await read(schema.endRequest, request)
        send(response, 200, { sessions: await sessions.close(session, reason) })
        return
      }
      default:
        throw noSuchCall()
    }
  }

  async #ofCaller(
    route: string,
    query: URLSearchParams,
    caller: Caller,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<void> {
    const { sessions, store, approvals, requests } = this.#options
    const { name } = caller.principal
    const shown = /^GET \/v1\/approvals\/([ar]_[0-9A-Z]{4,32})$/.exec(route)?.[1]
    if (shown !== undefined) {
      const desk = shown.startsWith('r_') ? requests : approvals
      send(response, 200, await desk.status(shown, caller))
      return
    }
    const [, answered, preview] = /^POST \/v1\/approvals\/([ar]_[0-9A-Z]{4,32})(\/preview)?$/.exec(route) ?? []
    if (answered !== undefined) {
      const desk = answered.startsWith('r_') ? requests : approvals
      if (preview === undefined) {
        send(response, 200, await desk.answer(answered, caller, await read(approvalAnswer, request)))
        approvals.changed()
      } else {
        const { text } = await read(schema.previewRequest, request)
        send(response, 200, await desk.preview(answered, caller, text))
      }
      return
    }
    const [, asked, end] = /^(?:GET|POST) \/v1\/requests\/(r_[0-9A-Z]{4,32})(\/end)?$/.exec(route) ?? []
    if (asked !== undefined && (request.method === 'POST') === (end !== undefined)) {
      if (end === undefined) send(response, 200, await requests.one(asked, caller))
      else {
        const { reason } = await read(schema.endRequest, request)
        send(response, 200, await requests.end(asked, caller, reason))
        approvals.changed()
      }
      return
    }
    const receipts = /^GET \/v1\/sessions\/(s_[0-9A-Z]{4,32})\/receipts$/.exec(route)?.[1]
    if (receipts !== undefined) {
      send(response, 200, await this.#options.witness.receipts(receipts, caller))
      return
    }
    switch (route) {
      case 'POST /v1/requests': {
        send(response, 200, await requests.ask(caller.principal, await read(schema.accessRequest, request)))
        approvals.changed()
        return
      }
      case 'GET /v1/requests': {
        if (query.has('all')) auditor(caller)
        send(response, 200, { requests: await requests.list(query.has('all') ? undefined : name) })
        return
      }
      case 'POST /v1/statements':
        send(response, 200, await this.#options.witness.search(await read(z.unknown(), request), caller))
        return
      case 'POST /v1/sessions': {
        const asked = await read(schema.openRequest, request)
        const opened = await sessions.open(caller.principal, asked)
        try {
          const witness = await this.#options.witness.certify(opened, asked)
          // Whoever asked went away meanwhile: nobody will ever know its token.
          if (response.destroyed) await sessions.close(opened.session, 'its tunnel went away')
          else send(response, 200, { ...opened, witness })
        } catch (error) {
          await sessions.close(opened.session, 'its recording could not be certified')
          throw error
        }
        return
      }
      case 'GET /v1/whoami': {
        send(response, 200, caller)
        return
      }
      case 'GET /v1/access': {
        send(response, 200, await answerAccess(caller, query, sessions, store))
        return
      }
      case 'GET /v1/grants': {
        const grants = await store.grants(caller.audits ? undefined : name)
        send(response, 200, { grants: grants.map(toRow) })
        return
      }
      case 'GET /metrics': {
        auditor(caller)
        await sendMetrics(response, sessions, store)
        return
      }
      case 'GET /v1/approvals':
        send(response, 200, await this.#waiting(caller, query.get('after'), response))
        return
      case 'GET /v1/principals':
        auditor(caller)
        {
          send(response, 200, { suspended: await store.suspensions() })
          return
        }
      case 'POST /v1/principals/suspend': {
        administrator(caller)
        const { principal, reason } = await read(schema.suspendRequest, request)
        send(response, 200, { sessions: await sessions.suspend(principal, name, reason) })
        return
      }
      case 'POST /v1/principals/resume': {
        administrator(caller)
        const { principal } = await read(schema.resumeRequest, request)
        if (!(await sessions.resume(principal, name)))
          throw new AgentgateError('USAGE', `${principal} is not suspended`, { hint: 'agentgate principals' })
        send(response, 200, { sessions: 0 })
        return
      }
      default:
    }
    const extended = /^POST \/v1\/sessions\/(s_[0-9A-Z]{4,32})\/extend$/.exec(route)?.[1]
    if (extended !== undefined) {
      const { seconds } = await read(schema.extendRequest, request)
      send(response, 200, await sessions.extend(caller.principal, extended, seconds))
      return
    }
    const ended = /^POST \/v1\/(?:grants\/(g_[0-9A-Z]{4,32})\/revoke|sessions\/(s_[0-9A-Z]{4,32})\/kill)$/.exec(route)
    if (ended === null) throw noSuchCall()
    const { reason } = await read(schema.endRequest, request)
    const what = ended[1] === undefined ? { session: ended[2] ?? '' } : { grant: ended[1] }
    send(response, 200, { sessions: await sessions.revoke(what, caller, reason) })
  }

  /** What waits for the caller; asked with a version, once it is another. */
  async #waiting(caller: Caller, after: string | null, response: http.ServerResponse) {
    const { approvals, requests } = this.#options
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    const end = performance.now() + longPollMs
    for (;;) {
      // What other brokers on the store were asked is found by looking.
      const look = AbortSignal.any([gone.signal, this.#end.signal, AbortSignal.timeout(lookEveryMs)])
      const change = approvals.change(look)
      const waiting = [...(await approvals.list(caller)), ...(await requests.waiting(caller))]
      const version = versionOf(waiting)
      if (version !== after || performance.now() > end || gone.signal.aborted || this.#end.signal.aborted)
        return { approvals: waiting, version }
      await change
    }
  }

  /** Whether it was one of those. */
  async #ofOwner(route: string, request: http.IncomingMessage, response: http.ServerResponse): Promise<boolean> {
    const { own } = this.#options
    if (own === undefined) return false
    if (route === 'GET /v1/own') send(response, 200, await own.about())
    else if (route === 'POST /v1/own/retire') send(response, 200, { retired: await own.retire() })
    else if (route === 'POST /v1/own/sessions') {
      await own.adopt(await read(schema.adoption, request))
      send(response, 200, { sessions: 1 })
    } else return false
    return true
  }

  /** @throws AgentgateError NOT_LOGGED_IN, DENIED, IDP_UNREACHABLE */
  async #caller(door: Door, request: http.IncomingMessage): Promise<Caller> {
    const token = bearerOf(request)
    if (token === undefined) {
      if (door === 'network')
        throw new AgentgateError('NOT_LOGGED_IN', 'the broker wants to know who asks', { hint: 'agentgate login' })
      const owner = await osUser()
      this.#within(`principal ${owner.name}`)
      const administers = door === 'administer'
      const suspended = !administers && (await this.#options.store.suspension(owner.name)) !== undefined
      return { principal: owner, administers, audits: administers, suspended }
    }
    const principal = await this.#verifiedWithin(token, request.socket.remoteAddress ?? 'local')
    this.#within(`principal ${principal.name}`)
    const { admins } = this.#options.sessions.policy.policy.declaration
    const subject = { principal, actor: null, confined: false, purpose: null, ticket: null }
    const suspended = (await this.#options.store.suspension(principal.name)) !== undefined
    const is = (who: ParsedWho | undefined) => !suspended && who !== undefined && isWho(who, subject)
    const administers = door === 'administer' || is(admins?.policy)
    return { principal, administers, audits: administers || is(admins?.auditor), suspended }
  }

  async #verified(token: string): Promise<Principal> {
    const key = createHash('sha256').update(token).digest('hex')
    const known = this.#tokens.get(key)
    if (known !== undefined && Date.now() < known.until) return known.principal
    const { declaration } = this.#options.sessions.policy.policy
    const { issuer, claims, expiresAt } = await this.#verifier
      .verify(token, declaration.issuers, each => [each.audience, each.clientId])
      .catch((error: unknown) => {
        this.#tellRefused(error)
        throw error
      })
    const principal = principalOf(claims, issuer)
    this.#tellLogin(key, principal, issuer.issuer)
    const seen = JSON.stringify(principalToWire(principal))
    await this.#options.store.requests.seen(principal.name, seen, this.#options.store.now().toISOString())
    if (this.#tokens.size >= maxRememberedTokens) this.#tokens.clear()
    this.#tokens.set(key, { principal, until: Math.min(Date.now() + rememberTokenMs, expiresAt.getTime()) })
    return principal
  }

  /** A token counts as a login when it is first shown. */
  #tellLogin(token: string, { name, groups }: Principal, issuer: string): void {
    if (this.#told.has(token)) return
    if (this.#told.size >= maxRememberedTokens) this.#told.clear()
    this.#told.add(token)
    this.#options.sessions.tell({ kind: 'login', user: { name, groups }, issuer, refused: null })
  }

  /** Not more often than each second: whoever has no token must not be able to fill the outbox. */
  #tellRefused(error: unknown): void {
    if (!(error instanceof AgentgateError) || performance.now() - this.#toldRefusedAt < refusedEveryMs) return
    this.#toldRefusedAt = performance.now()
    this.#options.sessions.tell({ kind: 'login', user: null, issuer: 'agentgate broker', refused: error.message })
  }

  async #stream(session: string, response: http.ServerResponse): Promise<void> {
    const { sessions } = this.#options
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.flushHeaders()
    const write = (event: schema.StreamEvent) => response.write(`${JSON.stringify(event)}\n`)
    // Before anything is awaited: whoever goes away meanwhile must not be listened for ever after.
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    // It may have gone while its token was looked at.
    if (response.destroyed) return
    const stop = await sessions.listen(session, event => {
      write(event)
      if (event.event === 'ended') response.end()
    })
    if (stop === undefined) {
      write({ event: 'ended', ...(await sessions.endOf(session)) })
      response.end()
      return
    }
    const beat = setInterval(() => {
      // Whoever does not read is not there.
      if (response.writableLength >= 1 << 20) response.destroy()
      else if (sessions.vouches) write({ event: 'beat', now: this.#options.store.now().toISOString() })
    }, beatMs)
    const over = () => {
      clearInterval(beat)
      stop()
    }
    gone.signal.addEventListener('abort', over, { once: true })
    if (gone.signal.aborted) over()
    if (sessions.vouches) write({ event: 'beat', now: this.#options.store.now().toISOString() })
    for (const event of await this.#options.approvals.decisionsOf(session)) write(event)
  }
}

async function listening(server: http.Server | https.Server, listen: () => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      server.off('error', reject)
      server.on('error', () => undefined)
      resolve()
    })
    listen()
  })
}

function bearerOf(request: http.IncomingMessage): string | undefined {
  return /^Bearer ([\w.~+/=-]+)$/.exec(request.headers.authorization ?? '')?.[1]
}

function administrator(caller: Caller): void {
  if (!caller.administers)
    throw new AgentgateError('DENIED', 'that is for administrators', {
      hint: 'admins: { policy: … } in the broker’s policy',
    })
}

function auditor(caller: Caller): void {
  if (!caller.audits)
    throw new AgentgateError('DENIED', 'that is for administrators and auditors', {
      hint: 'admins: { auditor: … } in the broker’s policy',
    })
}

function tooOften(): AgentgateError {
  return new AgentgateError('RATE_LIMITED', 'the broker is asked too often', { hint: 'come back in a second' })
}

function noSuchCall(): AgentgateError {
  return new AgentgateError('USAGE', 'the broker knows no such call')
}

const statuses: Partial<Record<ErrorCode, number>> = {
  RATE_LIMITED: 429,
  USAGE: 400,
  NOT_LOGGED_IN: 401,
  DENIED: 403,
  NO_SUCH_GRANT: 404,
  NO_SUCH_APPROVAL: 404,
  NO_SUCH_SESSION: 404,
  NO_SUCH_RESOURCE: 404,
  NO_SUCH_SCOPE: 404,
  REVOKED: 409,
  EXPIRED: 409,
  TARGET_UNREACHABLE: 502,
  TARGET_REFUSED: 502,
  IDP_UNREACHABLE: 502,
  STORE_FAILED: 503,
}

function refuse(response: http.ServerResponse, error: unknown): void {
  const { code, message, hint } =
    error instanceof AgentgateError
      ? error
      : { code: 'INTERNAL' as const, message: 'the broker has a bug', hint: undefined }
  if (code === 'RATE_LIMITED') response.setHeader('retry-after', '1')
  response.setHeader('connection', 'close') // what is left of a body is nobody's next request
  send(response, statuses[code] ?? 500, { error: { code, message, ...(hint === undefined ? {} : { hint }) } })
}

function send(response: http.ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body)
  response
    .writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      'cache-control': 'no-store',
    })
    .end(text)
}

async function read<T>(body: z.ZodType<T>, request: http.IncomingMessage): Promise<T> {
  const bytes = await readBounded(request, maxBodyBytes)
  if (bytes === undefined) throw new AgentgateError('USAGE', 'the body is too large')
  const content = parseJson(bytes.toString('utf8'))
  if (content === undefined) throw new AgentgateError('USAGE', 'the body is not JSON')
  const parsed = body.safeParse(content)
  if (!parsed.success) throw new AgentgateError('USAGE', 'the body is not what this call takes')
  return parsed.data
}

function toRow(grant: StoredGrant): schema.GrantRow {
  return {
    grant: grant.id,
    session: grant.session,
    principal: grant.principal,
    actor: grant.actor,
    resource: grant.resource,
    scope: grant.scope,
    state: grant.state,
    host: grant.host,
    purpose: grant.purpose,
    ticket: grant.ticket,
    createdAt: grant.created_at,
    expiresAt: grant.expires_at,
    endedAt: grant.ended_at,
    endedBy: grant.ended_by,
    reason: grant.reason,
  }
}
