import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Paths, type Environment } from '../config/paths.ts'
import { parseBrokerAddress, type BrokerAddress } from '../control/broker-address.ts'
import { BrokerClient } from '../control/broker-client.ts'
import { AgentgateError } from '../errors.ts'
import { KnownBrokers } from '../identity/known-brokers.ts'
import { showingClient } from '../identity/showing-client.ts'
import type { Io } from './command.ts'
import { envSwitch, type Globals } from './globals.ts'

/** AGENTGATE_BROKER=none: no broker, and none that starts by itself. */
const noBroker = 'none'

/** What these functions need of where agentgate runs. */
export type Surroundings = Pick<Io, 'env' | 'cwd'>

/**
 * The broker that sessions are to be had from: AGENTGATE_BROKER, else the one that was last logged in to by its address, unless
 * a policy is named. AGENTGATE_BROKER_CA goes with it.
 * @throws AgentgateError USAGE; DENIED where another authority than at login is to vouch for it
 */
export function brokerHere(io: Surroundings, globals?: Pick<Globals, 'policy'>): BrokerAddress | undefined {
  const named = io.env['AGENTGATE_BROKER'] ?? ''
  if (named === noBroker) return undefined
  const brokers = new KnownBrokers(new Paths(io.env))
  const known =
    named !== '' ? brokers.find(parseBrokerAddress(named)) : globals?.policy === undefined ? brokers.used : undefined
  if (named === '' && known === undefined) return undefined
  const ca = authorityIn(io)
  if (known === undefined) return { address: parseBrokerAddress(named), ca }
  if (ca !== undefined && ca !== known.ca)
    throw new AgentgateError(
      'DENIED',
      `AGENTGATE_BROKER_CA is not the authority that vouched for ${known.address} at login`,
      {
        hint: `take it away, or, where it is right: agentgate login ${known.address}`,
      },
    )
  return { address: known.address, ca: known.ca ?? undefined }
}

/** @throws AgentgateError USAGE */
export function readAuthority(file: string, io: Pick<Io, 'cwd'>): string {
  let text: string
  try {
    text = readFileSync(path.resolve(io.cwd, file), 'utf8')
  } catch (cause) {
    throw new AgentgateError('USAGE', `the broker’s authority cannot be read: ${file}`, { cause })
  }
  // Without one TLS would believe nobody, and say something else.
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text
  throw new AgentgateError('USAGE', `${file} holds no certificate`, { hint: 'the broker’s authority, as PEM' })
}

/** AGENTGATE_BROKER_CA, read. */
export function authorityIn(io: Surroundings): string | undefined {
  const file = io.env['AGENTGATE_BROKER_CA'] ?? ''
  return file === '' ? undefined : readAuthority(file, io)
}

/** Whether one may start by itself: not where it is said so, and not in CI, where nothing must stay behind. */
export function startsOwnBroker(env: Environment): boolean {
  return env['AGENTGATE_BROKER'] !== noBroker && !envSwitch(env['CI'])
}

/** A client that shows who asks: on a unix socket its owner, else by a token. @throws AgentgateError NOT_LOGGED_IN */
export async function brokerClient(broker: BrokerAddress, io: Pick<Io, 'env'>): Promise<BrokerClient> {
  return await showingClient(broker, io.env)
}

/** For what one asks of a broker for oneself: the one that is named, else this user's own. @throws AgentgateError */
export async function askingClient(io: Surroundings): Promise<BrokerClient> {
  return await brokerClient(brokerHere(io) ?? (await ownBroker(io)), io)
}

/** @throws AgentgateError BROKER_UNREACHABLE */
async function ownBroker(io: Pick<Io, 'env'>): Promise<BrokerAddress> {
  const socket = new Paths(io.env).brokerSocket()
  if (!existsSync(socket)) {
    if (startsOwnBroker(io.env)) {
      const { ensureOwnBroker } = await import('./own-broker.ts')
      return await ensureOwnBroker(io.env)
    }
    throw new AgentgateError('BROKER_UNREACHABLE', 'there is no broker here', {
      hint: 'start one: agentgate broker; or log in to one: agentgate login https://…',
    })
  }
  return { address: `unix:${socket}` }
}

/** For what administers: the broker that is named, else this user's own. @throws AgentgateError BROKER_UNREACHABLE */
export async function administeringClient(io: Surroundings): Promise<BrokerClient> {
  const named = brokerHere(io)
  if (named?.address.startsWith('https:') === true) return await brokerClient(named, io)
  return new BrokerClient(named ?? (await ownBroker(io)), null)
}
