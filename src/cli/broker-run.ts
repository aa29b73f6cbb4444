import { readFileSync } from 'node:fs'
import path from 'node:path'
import { AuditSwitch } from '../audit/audit-switch.ts'
import type { Queued } from '../audit/outbox-reader.ts'
import { Approvals } from '../broker/approvals.ts'
import { AuditDesk } from '../broker/audit-desk.ts'
import { PolicyDesk } from '../broker/policy-desk.ts'
import { Requests } from '../broker/requests.ts'
import { BrokerServer } from '../broker/server.ts'
import { Sessions } from '../broker/sessions.ts'
import { openStore } from '../broker/open-store.ts'
import type { Store } from '../broker/store.ts'
import { IndexUpkeep } from '../broker/witness/index-upkeep.ts'
import { ReceiptUpload } from '../broker/witness/receipt-upload.ts'
import { WitnessCalls } from '../broker/witness/routes.ts'
import { Witness } from '../broker/witness/witness.ts'
import { Paths } from '../config/paths.ts'
import { BrokerClient } from '../control/broker-client.ts'
import { AgentgateError } from '../errors.ts'
import { lockedOut } from '../policy/check.ts'
import { loadPolicy } from '../policy/load.ts'
import { watchPolicy } from '../policy/watch.ts'
import { Secret } from '../secret.ts'
import type { BrokerFlags } from './broker.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { loadProtocols } from './protocols.ts'
import { escapeLine } from './ui/escape.ts'
import { version } from './version.ts'

const defaultGraceSeconds = 300

/** Until SIGINT or SIGTERM. */
export async function runBroker(flags: BrokerFlags, globals: Globals, io: Io): Promise<void> {
  // SQLite makes its files itself, and as anyone's to read.
  process.umask(0o077)
  const paths = new Paths(io.env)
  const tcp = tcpPlace(flags, io)
  const kinds = await loadProtocols()
  const source = { path: globals.policy, digest: globals.policyDigest, cwd: io.cwd, env: io.env, kinds }
  const file = await loadPolicy(source)
  file.requireTrusted()
  if (tcp !== undefined && file.policy.solo)
    throw new AgentgateError(
      'USAGE',
      'the policy names no issuers, so nobody could say who they are over the network',
      {
        hint: 'issuers: [ { issuer: https://…, audience: … } ]: docs/identity.md',
      },
    )
  const socket = paths.brokerSocket()
  await refuseSecond(socket)
  const say = (event: object, text: string) => {
    if (globals.json) io.stdout.write(`${JSON.stringify({ at: new Date().toISOString(), ...event })}\n`)
    else io.stderr.write(`${escapeLine(text)}\n`)
  }
  const url = databaseUrl(io)
  const store = await openStore(url === undefined ? { file: paths.brokerStoreFile() } : { url })
  const warn = (text: string) => say({ event: 'notice', level: 'warning', text }, `warning: ${text}`)
  const policies = await PolicyDesk.open({
    ...{ store, file, kinds, env: io.env },
    takesPushes: flags.pushedPolicy ?? false,
    network: tcp !== undefined,
    onTrouble: warn,
  }).catch(async (error: unknown) => {
    await store.close()
    throw error
  })
  const policy = policies.current
  const locked = lockedOut(policy.policy)
  if (locked !== undefined) warn(locked)
  const audit = new AuditSwitch({ root: paths.auditDir(), env: io.env, version, onWarning: warn })
  audit.use(policy)
  const sessions = new Sessions({
    store,
    tell: audit.tell,
    env: io.env,
    policy,
    graceSeconds: flags.grace ?? defaultGraceSeconds,
    onTrouble: warn,
  })
  policies.follow((loaded, by) => {
    sessions.replacePolicy(loaded)
    audit.use(loaded)
    const { digest } = loaded
    const name = by === null ? loaded.path : 'that was pushed'
    audit.tell({ kind: 'policy', change: 'in-effect', name, digest, by, session: null })
  })
  const witness = await openWitness(store, flags, io)
  const receipts = new ReceiptUpload({
    store: store.receipts,
    env: io.env,
    place: () => sessions.policy.policy.recording.sync,
    onTrouble: warn,
  })
  const upkeep = new IndexUpkeep(store.statements, () => store.now(), warn)
  const server = new BrokerServer({
    sessions,
    store,
    approvals: new Approvals(store, sessions),
    requests: new Requests(store, sessions),
    policies,
    audit: new AuditDesk(store, events => audit.take(events as readonly Queued[])),
    witness: new WitnessCalls(witness, store, () => sessions.policy.policy),
    paths,
  })
  const ended = new AbortController()
  const signalled = new Promise<void>(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve())
  })
  let timer: NodeJS.Timeout | undefined
  let storeFailed = false
  try {
    await sessions.tick()
    await server.listenUnix(socket)
    const port = tcp === undefined ? undefined : await server.listenTcp(tcp)
    const monitoring = flags.metrics === undefined ? undefined : placeOf(flags.metrics)
    const monitoringPort =
      monitoring === undefined ? undefined : await server.listenMonitoring(monitoring.host, monitoring.port)
    watchPolicy(file, {
      ...source,
      signal: ended.signal,
      onChange: loaded => policies.replaceFile(loaded),
      onNotice: warn,
    })
    timer = setInterval(() => {
      // A store that fails for a moment ends nothing; what it refuses is refused to whoever asks.
      Promise.all([sessions.tick(), policies.look()]).then(
        () => {
          if (storeFailed)
            say({ event: 'notice', level: 'info', text: 'the store answers again' }, 'the store answers again')
          storeFailed = false
        },
        (error: unknown) => {
          const text = error instanceof AgentgateError ? error.message : 'a bug of agentgate'
          sessions.metrics.count('storeFailures')
          if (!storeFailed) say({ event: 'notice', level: 'warning', text }, `warning: ${text}`)
          storeFailed = true
        },
      )
    }, 1000)
    const addresses = [
      `unix:${socket}`,
      ...(tcp === undefined || port === undefined ? [] : [`https://${tcp.host}:${port}`]),
    ]
    const metrics = monitoring === undefined ? null : `http://${monitoring.host}:${monitoringPort ?? 0}/metrics`
    say(
      { event: 'ready', addresses, policy: policy.digest, store: store.place, metrics },
      `broker ready at ${addresses.join(' and ')}, its store ${store.place}`,
    )
    await signalled
  } finally {
    clearInterval(timer)
    ended.abort()
    await witness.close()
    await server.close()
    await audit.close()
    await receipts.close()
    await upkeep.close()
    await sessions.release()
    await store.close()
  }
}

/** Several brokers share what they know over PostgreSQL. The longer name for where DATABASE_URL is an application's. */
function databaseUrl(io: Io): Secret | undefined {
  const url = io.env['AGENTGATE_DATABASE_URL'] ?? io.env['DATABASE_URL'] ?? ''
  return url === '' ? undefined : new Secret(url)
}

/** The key in a file, so that who has the store cannot sign with it; else the store's own. */
async function openWitness(store: Store, flags: BrokerFlags, io: Io): Promise<Witness> {
  const { witnessKey } = flags
  const pem = witnessKey === undefined ? null : readFile(witnessKey, io).toString('utf8')
  try {
    return await Witness.open(store.receipts, pem, () => store.now().getTime())
  } catch (cause) {
    await store.close()
    if (cause instanceof AgentgateError || witnessKey === undefined) throw cause
    throw new AgentgateError('USAGE', `${witnessKey} holds no Ed25519 key`, {
      hint: `openssl genpkey -algorithm ed25519 -out ${witnessKey}`,
      cause,
    })
  }
}

function readFile(file: string, io: Io): Buffer {
  try {
    return readFileSync(path.resolve(io.cwd, file))
  } catch (cause) {
    throw new AgentgateError('USAGE', `${file} cannot be read`, { cause })
  }
}

function tcpPlace(flags: BrokerFlags, io: Io) {
  const { listen, tlsCert, tlsKey } = flags
  if (listen === undefined) return undefined
  const { host, port } = placeOf(listen)
  if (tlsCert === undefined || tlsKey === undefined)
    throw new AgentgateError('USAGE', 'over the network a broker speaks TLS only: its certificate is missing', {
      hint: 'agentgate broker --listen … --tls-cert cert.pem --tls-key key.pem',
    })
  const certificate = readFile(tlsCert, io)
  return { host, port, certificate, key: readFile(tlsKey, io) }
}

function placeOf(text: string): { readonly host: string; readonly port: number } {
  const [, host, port] = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(text) ?? []
  if (host === undefined || port === undefined || Number(port) > 65_535)
    throw new AgentgateError('USAGE', `${text} is no host:port`)
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
}

/** Two on one store would each end what the other granted. */
async function refuseSecond(socket: string): Promise<void> {
  try {
    await new BrokerClient({ address: `unix:${socket}` }, null).issuers()
  } catch (error) {
    if (error instanceof AgentgateError && error.code === 'BROKER_UNREACHABLE') return
    throw error
  }
  throw new AgentgateError('USAGE', 'a broker of yours runs already', { hint: 'AGENTGATE_HOME keeps two apart' })
}
