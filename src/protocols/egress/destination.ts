import dns from 'node:dns/promises'
import net from 'node:net'
import { AgentgateError } from '../../errors.ts'
import type { EgressSettings } from './action.ts'
import { parseNetwork, refusedAddress, type Network } from './addresses.ts'
import { patternFor } from './hosts.ts'

/** Per address; a name that leads to many is given up after the last. */
const dialTimeoutMs = 10_000

/** Names to addresses, as getaddrinfo(3) has them; a test puts its own in. */
export type Resolve = (host: string) => Promise<readonly string[]>

export const systemResolve: Resolve = async host =>
  (await dns.lookup(host, { all: true, verbatim: true })).map(({ address }) => address)

/** Whether the policy's list has this host, asked before anything is resolved: a name itself can carry data out. */
export function isListed(settings: EgressSettings, host: string, port: number, usualPort: number): boolean {
  return patternFor(settings.hosts, host, port, usualPort) !== undefined
}

/**
 * Where a listed host is. All of its addresses must be open to clients, so that the same name cannot lead inside a moment
 * later; connections go to these addresses and never resolve again.
 * @throws AgentgateError TARGET_UNREACHABLE, DENIED
 */
export async function addressesOf(
  settings: EgressSettings,
  host: string,
  resolve: Resolve,
): Promise<readonly string[]> {
  const addresses = net.isIP(host) === 0 ? await resolved(host, resolve) : [host]
  const opened: readonly Network[] = [
    ...(settings.addresses ?? []),
    // What is listed as an address is meant as that address.
    ...settings.hosts.flatMap(pattern => parseNetwork(pattern.host) ?? []),
  ]
  for (const address of addresses) {
    const why = refusedAddress(address, opened)
    if (why !== undefined)
      throw new AgentgateError('DENIED', `${host} leads to ${address}, and ${why}`, {
        hint: 'if it is meant, name the address or its network under addresses: in the policy',
      })
  }
  return addresses
}

async function resolved(host: string, resolve: Resolve): Promise<readonly string[]> {
  try {
    const addresses = await resolve(host)
    if (addresses.length > 0) return addresses
  } catch (cause) {
    throw new AgentgateError('TARGET_UNREACHABLE', `the name ${host} is not known`, { cause })
  }
  throw new AgentgateError('TARGET_UNREACHABLE', `the name ${host} has no address`)
}

/** A connection to the first address that answers. @throws AgentgateError TARGET_UNREACHABLE */
export async function dial(addresses: readonly string[], port: number, signal: AbortSignal): Promise<net.Socket> {
  let last: unknown
  for (const address of addresses) {
    if (signal.aborted) break
    const socket = net.connect({ host: address, port, noDelay: true, keepAlive: true, allowHalfOpen: true })
    const give = () => socket.destroy(new Error('the client left'))
    signal.addEventListener('abort', give, { once: true })
    const timer = setTimeout(() => socket.destroy(new Error('no answer')), dialTimeoutMs)
    try {
      await new Promise<void>((done, reject) => socket.once('connect', done).once('error', reject))
      socket.on('error', () => undefined) // its 'close' says the same
      return socket
    } catch (error) {
      socket.on('error', () => undefined)
      socket.destroy()
      last = error
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', give)
    }
  }
  throw new AgentgateError('TARGET_UNREACHABLE', `nobody answers at ${addresses.join(', ')} port ${port}`, {
    cause: last,
  })
}
