import type { Environment } from '../config/paths.ts'
import { Paths } from '../config/paths.ts'
import type { BrokerAddress } from '../control/broker-address.ts'
import { BrokerClient } from '../control/broker-client.ts'
import type { IdentityIssuer } from './identity-issuer.ts'

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

/** Which logins are for a broker: this user's own, by its socket, goes by the same ones as the policy here. */
export function loginsFor({ address }: BrokerAddress, env: Environment): string | null {
  return address === `unix:${new Paths(env).brokerSocket()}` ? null : address
}

/** A client that shows who asks: on a unix socket its owner, else by a token. @throws AgentgateError NOT_LOGGED_IN */
export async function showingClient(broker: BrokerAddress, env: Environment): Promise<BrokerClient> {
  const issuers = await issuersOf(broker)
  if (broker.address.startsWith('unix:') && issuers.length === 0) return new BrokerClient(broker, null)
  const { tokenToShow } = await import('./identify.ts')
  const token = await tokenToShow(issuers, loginsFor(broker, env), new Paths(env), env)
  return new BrokerClient(broker, token)
}
