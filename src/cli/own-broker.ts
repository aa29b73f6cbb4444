import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Paths, type Environment } from '../config/paths.ts'
import { privateFolder } from '../config/private-file.ts'
import type { BrokerAddress } from '../control/broker-address.ts'
import { BrokerClient } from '../control/broker-client.ts'
import { AgentgateError } from '../errors.ts'
import { version } from './version.ts'

const startWithinMs = 15_000
const lookEveryMs = 25

/** What it needs to find its files and the keychain; a session's secrets come with the session. */
const passedOn =
  /^(HOME|PATH|LANG|LC_\w+|TZ|USER|LOGNAME|AGENTGATE_HOME|XDG_\w+|DBUS_SESSION_BUS_ADDRESS|NODE_EXTRA_CA_CERTS)$/

/**
 * This user's own broker by its control.sock, started where there is none; an older one that has nothing to do makes way.
 * @throws AgentgateError BROKER_UNREACHABLE
 */
export async function ensureOwnBroker(env: Environment): Promise<BrokerAddress> {
  const paths = new Paths(env)
  const address = { address: `unix:${paths.ownBrokerSockets().control}` }
  const client = new BrokerClient(address, null)
  const running = await aboutIt(client)
  if (running !== undefined && (running.version === version || !running.idle || !(await client.retire())))
    return address
  const log = path.join(privateFolder(path.join(paths.stateDir(), 'log')), 'own-broker.log')
  const deadline = performance.now() + startWithinMs
  let child: ReturnType<typeof spawn> | undefined
  while (performance.now() < deadline) {
    // Of several that start at once one gets the store, and the others end.
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) child = start(env, log)
    if ((await aboutIt(client)) !== undefined) return address
    await sleep(lookEveryMs)
  }
  throw new AgentgateError('BROKER_UNREACHABLE', 'the broker that starts by itself did not', { hint: `see ${log}` })
}

async function aboutIt(client: BrokerClient) {
  try {
    return await client.own()
  } catch (error) {
    if (error instanceof AgentgateError) return undefined
    throw error
  }
}

function start(env: Environment, log: string): ReturnType<typeof spawn> {
  const descriptor = openSync(log, 'a', 0o600)
  const child = spawn(process.execPath, [process.argv[1] ?? '', 'broker', '--own'], {
    detached: true, // it outlives this command and its terminal
    stdio: ['ignore', descriptor, descriptor],
    cwd: '/',
    env: Object.fromEntries(Object.entries(env).filter(([name]) => passedOn.test(name))),
  })
  closeSync(descriptor)
  child.on('error', () => undefined)
  child.unref()
  return child
}
