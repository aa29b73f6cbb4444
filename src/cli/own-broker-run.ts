import { rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Approvals } from '../broker/approvals.ts'
import { openStore } from '../broker/open-store.ts'
import { AuditDesk } from '../broker/audit-desk.ts'
import { PolicyDesk } from '../broker/policy-desk.ts'
import { Requests } from '../broker/requests.ts'
import { BrokerServer } from '../broker/server.ts'
import { Sessions } from '../broker/sessions.ts'
import type { Store } from '../broker/store.ts'
import { WitnessCalls } from '../broker/witness/routes.ts'
import { Witness } from '../broker/witness/witness.ts'
import { Paths, type Environment } from '../config/paths.ts'
import { writePrivateFile } from '../config/private-file.ts'
import type { Adoption } from '../control/broker-schema.ts'
import type { CredentialIssuer } from '../credentials/credential.ts'
import { openResource } from '../credentials/open-resource.ts'
import { AgentgateError } from '../errors.ts'
import { asResourceName, asScopeName } from '../ids.ts'
import { compileFiles, type LoadedPolicy } from '../policy/load.ts'
import { readPolicyFiles } from '../policy/policy-files.ts'
import type { PolicyKinds } from '../policy/policy.ts'
import { loadBrokerPolicy } from '../tunnel/broker-policy.ts'
import type { Io } from './command.ts'
import { loadProtocols } from './protocols.ts'
import { version } from './version.ts'

/** A tunnel of this machine that is not heard of for so long is gone. */
const graceSeconds = 10
const idleMs = 60_000

/** The broker of one user, until it has had nothing to do for a minute, or SIGTERM. */
export async function runOwnBroker(io: Io): Promise<void> {
  process.umask(0o077)
  const paths = new Paths(io.env)
  const kinds = await loadProtocols()
  // It is locked: of two that start at once the second ends here, before it touches a socket.
  const store = await openStore({ file: paths.ownBrokerStoreFile() })
  const say = (text: string) => io.stderr.write(`${new Date().toISOString()} ${text}\n`)
  const ended = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended.abort())
  const policy = await nothing(paths, io.env, kinds)
  // Its own policy names nobody who wants to hear of it; the tunnels tell theirs.
  const tell = () => undefined
  const sessions = new Sessions({ store, env: io.env, policy, graceSeconds, onTrouble: say, tell })
  const policies = await PolicyDesk.open({
    ...{ store, file: policy, takesPushes: false, kinds, env: io.env, network: false, onTrouble: say },
  })
  const witness = await Witness.open(store.receipts, null, () => store.now().getTime())
  const idle = async () => (await store.liveSessions()).length === 0
  const server = new BrokerServer({
    ...{ sessions, store, paths },
    approvals: new Approvals(store, sessions),
    requests: new Requests(store, sessions),
    policies,
    // Tunnels here have an outbox of their own.
    audit: new AuditDesk(store, () => false),
    witness: new WitnessCalls(witness, store, () => sessions.policy.policy),
    own: {
      about: async () => ({ version, idle: await idle() }),
      adopt: async adopted => await sessions.adopt(adopted, await issuersOf(adopted, paths, io.env, kinds)),
      retire: async () => {
        if (!(await idle())) return false
        ended.abort()
        return true
      },
    },
  })
  try {
    await sessions.tick()
    const sockets = paths.ownBrokerSockets()
    await server.listenUnix(sockets.session, 'ask')
    await server.listenUnix(sockets.control)
    await untilIdle(server, sessions, store, ended.signal, say)
  } finally {
    await server.close()
    await sessions.release()
    await witness.close()
    await store.close()
  }
}

async function untilIdle(
  server: BrokerServer,
  sessions: Sessions,
  store: Store,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<void> {
  while (!signal.aborted) {
    await sleep(1000, undefined, { signal }).catch(() => undefined)
    try {
      await sessions.tick()
      const left = performance.now() - server.askedAt > idleMs && sessions.here().length === 0
      if (left && (await store.liveSessions()).length === 0) return
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      say(`${error.message}; ${error.hint ?? ''}`)
    }
  }
}

/** A policy that gives nothing: what is here was opened by tunnels, each under its own. */
async function nothing(paths: Paths, env: Environment, kinds: PolicyKinds): Promise<LoadedPolicy> {
  const folder = paths.brokerPolicyDir('own')
  const file = path.join(folder, 'agentgate.yaml')
  writePrivateFile(file, 'version: 1\naccess: []\n')
  const files = readPolicyFiles(file, folder)
  return await compileFiles(files, { cwd: folder, env, kinds, digest: files.digest })
}

/** Of the credentials that somebody has to end: by the policy that the tunnel opened them under. */
async function issuersOf(
  adopted: Adoption,
  paths: Paths,
  env: Environment,
  kinds: PolicyKinds,
): Promise<ReadonlyMap<string, CredentialIssuer>> {
  const issuers = new Map<string, CredentialIssuer>()
  const minted = adopted.grants.filter(grant => grant.issuer === 'postgres-role')
  if (minted.length === 0) return issuers
  const place = paths.brokerPolicyDir(`session ${adopted.session}`)
  try {
    const loaded = await loadBrokerPolicy(adopted.policy, place, env, kinds)
    const policy = { ...loaded, folder: adopted.folder }
    for (const { grant, resource, scope } of minted) {
      const [name, scopeName] = [asResourceName(resource), asScopeName(scope)]
      if (name === undefined || scopeName === undefined) continue
      const { issuer } = await openResource(policy, name, scopeName, { env: { ...env, ...adopted.env } })
      issuers.set(grant, issuer)
    }
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
  return issuers
}
