import { existsSync } from 'node:fs'
import { Paths, type Environment } from '../config/paths.ts'
import { BrokerClient, type BrokerAddress } from '../control/broker-client.ts'
import { AgentgateError } from '../errors.ts'
import type { IdentityIssuer } from '../identity/identity-issuer.ts'
import type { Io } from './command.ts'
import { envSwitch } from './globals.ts'

/** AGENTGATE_BROKER=none: no broker, and none that starts by itself. */
const noBroker = 'none'

/** The broker that sessions are to be had from: AGENTGATE_BROKER, with AGENTGATE_BROKER_CA for a certificate of one's own. */
export function brokerHere(io: Pick<Io, 'env'>): BrokerAddress | undefined {
  const address = io.env['AGENTGATE_BROKER'] ?? ''
  const caFile = io.env['AGENTGATE_BROKER_CA'] ?? ''
  if (address === '' || address === noBroker) return undefined
  return { address, ...(caFile === '' ? {} : { caFile }) }
}

/** Whether one may start by itself: not where it is said so, and not in CI, where nothing must stay behind. */
export function startsOwnBroker(env: Environment): boolean {
  return env['AGENTGATE_BROKER'] !== noBroker && !envSwitch(env['CI'])
}

/** As a broker tells them to whoever wants to log in; how claims are read is its own business. */
export async function issuersOf(broker: BrokerAddress): Promise<readonly IdentityIssuer[]> {
  const issuers = await new BrokerClient(broker, null).issuers()
  return issuers.map(({ issuer, audience, clientId, scopes }) => ({
    issuer,
    audience,
    clientId,
    scopes: scopes ?? undefined,
    nameClaim: undefined,
    groupsClaim: 'groups',
    keptClaims: [],
    conditions: [],
  }))
}

/** A client that shows who asks: on a unix socket its owner, else by a token. @throws AgentgateError NOT_LOGGED_IN */
export async function brokerClient(broker: BrokerAddress, io: Pick<Io, 'env'>): Promise<BrokerClient> {
  const issuers = await issuersOf(broker)
  if (broker.address.startsWith('unix:') && issuers.length === 0) return new BrokerClient(broker, null)
  const { tokenToShow } = await import('../identity/identify.ts')
  return new BrokerClient(broker, await tokenToShow(issuers, new Paths(io.env), io.env))
}

/** For what one asks of a broker for oneself: the one that is named, else this user's own. @throws AgentgateError */
export async function askingClient(io: Pick<Io, 'env'>): Promise<BrokerClient> {
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
      hint: 'start one: agentgate broker; or name one: AGENTGATE_BROKER=https://…',
    })
  }
  return { address: `unix:${socket}` }
}

/** For what administers: the broker that is named, else this user's own. @throws AgentgateError BROKER_UNREACHABLE */
export async function administeringClient(io: Pick<Io, 'env'>): Promise<BrokerClient> {
  const named = brokerHere(io)
  if (named?.address.startsWith('https:') === true) return await brokerClient(named, io)
  return new BrokerClient(named ?? (await ownBroker(io)), null)
}
