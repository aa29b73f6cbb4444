import { existsSync } from 'node:fs'
import { Paths } from '../config/paths.ts'
import { BrokerClient, type BrokerAddress } from '../control/broker-client.ts'
import { AgentgateError } from '../errors.ts'
import type { IdentityIssuer } from '../identity/identity-issuer.ts'
import type { Io } from './command.ts'

/** The broker that sessions are to be had from: AGENTGATE_BROKER, with AGENTGATE_BROKER_CA for a certificate of one's own. */
export function brokerHere(io: Pick<Io, 'env'>): BrokerAddress | undefined {
  const address = io.env['AGENTGATE_BROKER'] ?? ''
  const caFile = io.env['AGENTGATE_BROKER_CA'] ?? ''
  if (address === '') return undefined
  return { address, ...(caFile === '' ? {} : { caFile }) }
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
  return await brokerClient(brokerHere(io) ?? ownBroker(io), io)
}

/** @throws AgentgateError BROKER_UNREACHABLE */
function ownBroker(io: Pick<Io, 'env'>): BrokerAddress {
  const socket = new Paths(io.env).brokerSocket()
  if (!existsSync(socket))
    throw new AgentgateError('BROKER_UNREACHABLE', 'there is no broker here', {
      hint: 'start one: agentgate broker; or name one: AGENTGATE_BROKER=https://…',
    })
  return { address: `unix:${socket}` }
}

/** For what administers: the broker that is named, else this user's own. @throws AgentgateError BROKER_UNREACHABLE */
export async function administeringClient(io: Pick<Io, 'env'>): Promise<BrokerClient> {
  const named = brokerHere(io)
  if (named?.address.startsWith('https:') === true) return await brokerClient(named, io)
  return new BrokerClient(named ?? ownBroker(io), null)
}
