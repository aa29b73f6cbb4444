import { readFileSync } from 'node:fs'
import path from 'node:path'
import { AuditSwitch } from '../audit/audit-switch.ts'
import { Approvals } from '../broker/approvals.ts'
import { Requests } from '../broker/requests.ts'
import { BrokerServer } from '../broker/server.ts'
import { Sessions } from '../broker/sessions.ts'
import { openStore } from '../broker/open-store.ts'
import { Paths } from '../config/paths.ts'
import { BrokerClient } from '../control/broker-client.ts'
import { AgentgateError } from '../errors.ts'
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
  const policy = await loadPolicy(source)
  policy.requireTrusted()
  if (tcp !== undefined && policy.policy.solo)
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
  const audit = new AuditSwitch({ root: paths.auditDir(), env: io.env, version, onWarning: warn })
  audit.use(policy)
  const sessions = new Sessions({
    store,
    tell: audit.tell,
    env: io.env,
    policy,
    graceSeconds: flags.grace ?? defaultGraceSeconds,
    onTrouble: text => say({ event: 'notice', level: 'warning', text }, `warning: ${text}`),
  })
  const server = new BrokerServer({
    sessions,
    store,
    approvals: new Approvals(store, sessions),
    requests: new Requests(store, sessions),
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
    watchPolicy(policy, {
      ...source,
      signal: ended.signal,
      onChange: loaded => {
        sessions.replacePolicy(loaded)
        audit.use(loaded)
        audit.tell({
          kind: 'policy',
          change: 'in-effect',
          name: loaded.path,
          digest: loaded.digest,
          by: null,
          session: null,
        })
      },
      onNotice: text => say({ event: 'notice', level: 'warning', text }, `warning: ${text}`),
    })
    timer = setInterval(() => {
      // A store that fails for a moment ends nothing; what it refuses is refused to whoever asks.
      sessions.tick().then(
        () => {
          if (storeFailed)
            say({ event: 'notice', level: 'info', text: 'the store answers again' }, 'the store answers again')
          storeFailed = false
        },
        (error: unknown) => {
          const text = error instanceof AgentgateError ? error.message : 'a bug of agentgate'
          if (!storeFailed) say({ event: 'notice', level: 'warning', text }, `warning: ${text}`)
          storeFailed = true
        },
      )
    }, 1000)
    const addresses = [
      `unix:${socket}`,
      ...(tcp === undefined || port === undefined ? [] : [`https://${tcp.host}:${port}`]),
    ]
    say(
      { event: 'ready', addresses, policy: policy.digest, store: store.place },
      `broker ready at ${addresses.join(' and ')}, its store ${store.place}`,
    )
    await signalled
  } finally {
    clearInterval(timer)
    ended.abort()
    await server.close()
    await audit.close()
    await store.close()
  }
}

/** Several brokers share what they know over PostgreSQL. The longer name for where DATABASE_URL is an application's. */
function databaseUrl(io: Io): Secret | undefined {
  const url = io.env['AGENTGATE_DATABASE_URL'] ?? io.env['DATABASE_URL'] ?? ''
  return url === '' ? undefined : new Secret(url)
}

function tcpPlace(flags: BrokerFlags, io: Io) {
  const { listen, tlsCert, tlsKey } = flags
  if (listen === undefined) return undefined
  const [, host, port] = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(listen) ?? []
  if (host === undefined || port === undefined || Number(port) > 65_535)
    throw new AgentgateError('USAGE', `${listen} is no host:port`)
  if (tlsCert === undefined || tlsKey === undefined)
    throw new AgentgateError('USAGE', 'over the network a broker speaks TLS only: its certificate is missing', {
      hint: 'agentgate broker --listen … --tls-cert cert.pem --tls-key key.pem',
    })
  const read = (file: string) => {
    try {
      return readFileSync(path.resolve(io.cwd, file))
    } catch (cause) {
      throw new AgentgateError('USAGE', `${file} cannot be read`, { cause })
    }
  }
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port), certificate: read(tlsCert), key: read(tlsKey) }
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
