import type { Duplex } from 'node:stream'
import { AgentgateError, ProtocolError } from '../../../errors.ts'
import type { Secret } from '../../../secret.ts'
import type { Context, ServedResource } from '../../protocol.ts'
import { backendNote } from '../../protocol.ts'
import type { Resolution } from '../analysis/analysed.ts'
import { defaultDatabase, mayUseDatabase } from '../analysis/schema.ts'
import {
  authenticationOk,
  backendKeyData,
  errorFrame,
  errorResponse,
  parameterStatus,
  readyForQuery,
  type ErrorFields,
} from '../wire/backend-messages.ts'
import { backend } from '../wire/message-type.ts'
import { scramVerifier, type ScramVerifier } from '../wire/scram.ts'
import { cancelPacket } from '../wire/startup.ts'
import type { Analyser, ResultMasker } from './analyser.ts'
import { CancelRegistry } from './cancel-registry.ts'
import { authenticate, ClientRejected, greet, reject } from './client-login.ts'
import { Conversation, type SqlAsker } from './conversation.ts'
import { findFacts, noteSeen } from './facts.ts'
import { localCertificate, type LocalCertificate } from './local-certificate.ts'
import { askLoggedIn } from './login-query.ts'
import { denial, sqlstateOf } from './refusal.ts'
import { Relay } from './relay.ts'
import { readResolution, resolutionSql } from './resolution.ts'
import { ServerConnection } from './server-connection.ts'
import { logIn, secureConnection, ServerRefused, type LoggedIn } from './server-login.ts'
import { roleParameters, settingsOf } from './settings.ts'
import { readStartupParameters } from './startup-parameters.ts'
import { Target } from './target.ts'

/** What connections of one process share: nothing of it outlives the process. */
export class PostgresRelay {
  readonly #analyser: Analyser
  readonly #masker: ResultMasker
  readonly #cancels = new CancelRegistry()
  readonly #verifiers = new WeakMap<Secret, Promise<ScramVerifier>>()
  readonly #targets = new WeakMap<ServedResource, Map<string, Target>>()
  #certificate: LocalCertificate | undefined

  constructor(analyser: Analyser, masker: ResultMasker) {
    this.#analyser = analyser
    this.#masker = masker
  }

  /** One client connection, from first byte to last. */
  async accept(client: Duplex, context: Context): Promise<void> {
    client.on('error', () => undefined) // 'close' follows
    let stream = client
    try {
      const greeting = await greet(client, () => (this.#certificate ??= localCertificate()), context.signal)
      switch (greeting.kind) {
        case 'gone':
          return
        case 'cancel':
          this.#cancels.cancel(greeting.processId, greeting.key, context.session)
          return
        case 'client':
          stream = greeting.stream
          await this.#serve(greeting, context)
          return
        default:
          greeting satisfies never
      }
    } catch (error) {
      if (!(error instanceof ClientRejected)) sayWhy(stream, error)
    } finally {
      await closed(stream)
      client.destroy()
    }
  }

  async #serve(
    greeting: Extract<Awaited<ReturnType<typeof greet>>, { kind: 'client' }>,
    context: Context,
  ): Promise<void> {
    const { stream, parameters, endPoint } = greeting
    const { resource, signal } = context
    const user = parameters.get('user') ?? ''
    if (user === '')
      reject(stream, {
        severity: 'FATAL',
        sqlstate: '28000',
        message: 'no PostgreSQL user name in the start-up packet',
      })
    if (!(await authenticate(stream, await this.#verifier(context.clientSecret), endPoint, user, signal))) return

    const database = chooseDatabase(stream, parameters, resource)
    const startup = readStartupParameters(parameters)
    if ('refusal' in startup) reject(stream, { severity: 'FATAL', ...startup.refusal })
    const upstream = async () => await context.upstream()
    const login = await logIn({
      resource,
      upstream,
      database,
      parameters: [...startup.forwarded, ...roleParameters(resource)],
      minor: greeting.minor,
      signal,
    })
    try {
      const { resolution, backendPid } = readResolution(await askLoggedIn(login, resolutionSql))
      checkServer(resolution, backendPid, login, resource)
      claim(context, backendPid, context.connection)
      const target = this.#target(context, database, upstream)
      const catalogue = target.catalogue === undefined || target.stale ? await target.refresh() : target.catalogue
      const conversation = new Conversation(context, target, resolution, catalogue, login.parameters)
      await decideSettings(stream, startup.statements, conversation)
      await this.#carry(stream, login, conversation, greeting.minor)
    } finally {
      login.stream.destroy()
    }
  }

  async #carry(stream: Duplex, login: LoggedIn, conversation: Conversation, minor: number): Promise<void> {
    const { context } = conversation
    const relay = new Relay(stream, login.stream, conversation, async () => await cancelAtServer(context, login))
    const cancel = this.#cancels.add(login.processId, minor >= 2 ? 32 : 4, context.session, () => {
      if (!relay.cancelHeld()) void cancelAtServer(context, login).catch(() => undefined) // as ever, nobody hears of it
    })
    try {
      const reported = [...login.parameters].map(([name, value]) => parameterStatus(name, value))
      stream.write(
        Buffer.concat([
          authenticationOk,
          ...reported,
          backendKeyData(login.processId, cancel.key),
          readyForQuery(login.status),
        ]),
      )
      await relay.run()
    } finally {
      cancel.remove()
    }
  }

  async #verifier(secret: Secret): Promise<ScramVerifier> {
    let verifier = this.#verifiers.get(secret)
    if (verifier === undefined) {
      verifier = scramVerifier(secret)
      this.#verifiers.set(secret, verifier)
    }
    return await verifier
  }

  #target(context: Context, database: string, upstream: () => Promise<Duplex>): Target {
    const { resource, signal } = context
    let targets = this.#targets.get(resource)
    if (targets === undefined) {
      targets = new Map()
      this.#targets.set(resource, targets)
    }
    let target = targets.get(database)
    if (target === undefined) {
      const open = async () => {
        const connection = await ServerConnection.open({
          resource,
          upstream,
          database,
          parameters: [['application_name', 'agentgate'], ...roleParameters(resource)],
          minor: 0,
        })
        claim(context, connection.login.processId, null)
        return connection
      }
      const made = new Target(this.#analyser, this.#masker, open)
      // Its own connection must not outlive the session.
      signal.addEventListener('abort', () => made.close(), { once: true })
      targets.set(database, made)
      target = made
    }
    return target
  }
}

function chooseDatabase(stream: Duplex, parameters: ReadonlyMap<string, string>, resource: ServedResource): string {
  const settings = settingsOf(resource)
  const user = parameters.get('user') ?? ''
  const named = parameters.get('database')
  // libpq sends the user's name where it was given no database.
  const wanted = named === undefined || named === '' ? (defaultDatabase(settings) ?? user) : named
  if (mayUseDatabase(settings, wanted)) return wanted
  const served = defaultDatabase(settings) ?? ''
  reject(stream, {
    severity: 'FATAL',
    sqlstate: '3D000', // invalid_catalog_name
    message: `refused by agentgate: ${resource.name} serves ${list(settings.database)}, not "${wanted}"`,
    hint: served === '' ? undefined : `name the database: PGDATABASE=${served}, or psql … ${served}`,
  })
}

const list = (database: string | readonly string[] | undefined) =>
  database === undefined
    ? 'no database that its policy names'
    : [database]
        .flat()
        .map(name => `"${name}"`)
        .join(', ')

/** On record, which connection at the server is the tunnel's; null: its own, for all of its connections. */
function claim(context: Context, backend: number, connection: Context['connection'] | null): void {
  void context.record({ kind: 'note', connection, text: backendNote(backend, context.resource.credential.user ?? '') })
  context.commit()
}

function checkServer(resolution: Resolution, backendPid: number, login: LoggedIn, resource: ServedResource): void {
  if (!resolution.standardConformingStrings)
    throw new AgentgateError(
      'TARGET_REFUSED',
      'standard_conforming_strings is off, so that a backslash can hide a quote',
      {
        hint: 'turn it on for this role and database: ALTER ROLE … SET standard_conforming_strings = on',
      },
    )
  if (backendPid !== login.processId && settingsOf(resource).pooler !== 'session')
    throw new AgentgateError('TARGET_REFUSED', `${resource.name}: a connection pooler stands before the server`, {
      hint: 'address the server itself, or set `pooler: session` if it gives each client a server connection of its own',
    })
}

/** Settings in a StartupMessage are decided on as the statements that would make them. */
async function decideSettings(
  stream: Duplex,
  statements: readonly string[],
  conversation: Conversation,
): Promise<void> {
  const { context, target } = conversation
  const asker: SqlAsker = {
    connection: context.connection,
    holdsLocks: () => false,
    onHold: () => AbortSignal.abort(), // nobody can be told to wait before the session has begun
    revise: async action => await Promise.resolve(action),
  }
  for (const text of statements) {
    const known = await target.read(text, conversation.resolution, conversation.catalogue)
    const { refusal } = known.analysed
    if (refusal !== null) {
      context.refuse(known.action, refusal.message)
      context.commit()
      reject(stream, { severity: 'FATAL', ...refusal })
    }
    const action = await findFacts(known.action, conversation)
    const decision = await context.decide(action, asker)
    if (decision.kind === 'allow') noteSeen(decision.action, conversation)
    context.commit()
    if (decision.kind === 'deny') reject(stream, { severity: 'FATAL', ...denial(decision) })
    void context.record({
      kind: 'outcome',
      connection: context.connection,
      action: decision.event,
      status: 'ok',
      tag: 'SET',
      rows: null,
      milliseconds: 0,
      masked: [],
    })
  }
}

async function cancelAtServer(context: Context, login: LoggedIn): Promise<void> {
  const { stream } = await secureConnection(context.resource, async () => await context.upstream())
  stream.on('error', () => undefined)
  stream.end(cancelPacket(login.processId, login.cancelKey))
  stream.resume()
  stream.on('end', () => stream.destroy())
  // The server closes it once the backend has been told (PG 18 docs §54.2.8).
  const timer = setTimeout(() => stream.destroy(), cancelTimeoutMs)
  await new Promise<void>(resolve => stream.once('close', () => resolve()))
  clearTimeout(timer)
}

const cancelTimeoutMs = 5000

function sayWhy(stream: Duplex, error: unknown): void {
  if (!stream.writable) return
  if (error instanceof ServerRefused) {
    stream.end(errorFrame(backend.ErrorResponse, shownFields(error.fields)))
    return
  }
  const known =
    error instanceof AgentgateError
      ? error
      : new AgentgateError('INTERNAL', 'an error of agentgate’s own', { cause: error })
  stream.end(
    errorResponse({
      severity: 'FATAL',
      sqlstate: sqlstateOf(known.code),
      message: known instanceof ProtocolError ? known.message : `agentgate: ${known.message}`,
      hint: known.hint,
    }),
  )
}

/** The server's own words, as they came: it names roles and databases, never a password. */
function shownFields(fields: ErrorFields): ErrorFields {
  return new Map([...fields].filter(([code]) => 'SVCMDH'.includes(code)))
}

/** What was written last is on its way, or nobody takes it. */
async function closed(stream: Duplex): Promise<void> {
  if (stream.destroyed) return
  await new Promise<void>(resolve => {
    const timer = setTimeout(resolve, 2000)
    stream.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
    if (!stream.writableEnded) stream.end()
    stream.resume()
  })
  stream.destroy()
}
