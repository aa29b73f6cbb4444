import { Paths } from '../config/paths.ts'
import { parseBrokerAddress, type BrokerAddress } from '../control/broker-address.ts'
import { NoBroker } from '../control/broker-client.ts'
import { AgentgateError } from '../errors.ts'
import type { IdentityIssuer } from '../identity/identity-issuer.ts'
import { KnownBrokers } from '../identity/known-brokers.ts'
import { issuersOf } from '../identity/showing-client.ts'
import { authorityIn, brokerHere, readAuthority } from './broker-client.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { trustedIssuers } from './trusted-issuers.ts'

/** Where a login is for. */
export interface LoginPlace {
  /** Undefined: the policy here. */
  readonly broker: BrokerAddress | undefined
  /** Commands go to it from then on. */
  readonly use: boolean
  readonly issuers: readonly IdentityIssuer[]
}

/**
 * The broker that is named, else the one in use, else the policy here.
 * @param ca file with the authority that vouches for it; what was kept at the last login where not said
 * @throws AgentgateError USAGE, BROKER_UNREACHABLE, DENIED
 */
export async function loginPlace(
  address: string | undefined,
  ca: string | undefined,
  globals: Globals,
  io: Io,
): Promise<LoginPlace> {
  const brokers = new KnownBrokers(new Paths(io.env))
  if (address !== undefined) {
    const wanted = parseBrokerAddress(address)
    const given = ca === undefined ? authorityIn(io) : readAuthority(ca, io)
    const broker = { address: wanted, ca: given ?? brokers.find(wanted)?.ca ?? undefined }
    return { broker, use: true, issuers: await issuersAt(broker) }
  }
  if (ca !== undefined)
    throw new AgentgateError('USAGE', '--ca is for the broker that is logged in to', {
      hint: 'agentgate login https://broker.example.com --ca ca.pem',
    })
  const broker = brokerHere(io, globals)
  if (broker === undefined) return { broker, use: false, issuers: await trustedIssuers(globals, io) }
  const others = brokers.list().filter(each => each.address !== broker.address)
  // A variable alone must not have somebody's tokens made for whoever set it.
  if (others.length > 0 && brokers.find(broker.address) === undefined)
    throw new AgentgateError(
      'DENIED',
      `AGENTGATE_BROKER is ${broker.address}, and you have logged in to ${others.map(each => each.address).join(' and ')} only`,
      { hint: `if you mean that one: agentgate login ${broker.address}` },
    )
  return { broker, use: false, issuers: await issuersAt(broker) }
}

async function issuersAt(broker: BrokerAddress): Promise<readonly IdentityIssuer[]> {
  const issuers = await issuersOf(broker).catch((error: unknown) => {
    if (!(error instanceof NoBroker)) throw error
    throw new AgentgateError('BROKER_UNREACHABLE', `what answers at ${broker.address} is no agentgate broker`, {
      hint: 'nothing was sent to it; an identity provider is named by --issuer',
      cause: error,
    })
  })
  if (issuers.length > 0) return issuers
  throw new AgentgateError(
    'USAGE',
    `${broker.address} names no issuers: there you are who your operating system says`,
    {
      hint: 'agentgate whoami',
    },
  )
}
