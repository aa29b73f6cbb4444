import type { TlsSettings } from '../config/tls.ts'
import type { ResourceDeclaration } from './declaration.ts'
import { formatAddress, isLoopback, type Address } from './schema-text.ts'

/** Nothing on the way between two ends of one machine; everything else is checked unless the file says otherwise. */
export function tlsModeOf(resource: Pick<ResourceDeclaration, 'tls'>, address: Address): TlsSettings['mode'] {
  const written = typeof resource.tls === 'string' ? resource.tls : resource.tls?.mode
  return written ?? (isLoopback(address) ? 'off' : 'verify-full')
}

/** `host:port`, with the kind's own port where the file names none. */
export function addressOf(resource: Pick<ResourceDeclaration, 'tls' | 'kind'>, address: Address): string {
  const { kind } = resource
  return formatAddress(address, kind.targetPort?.(tlsModeOf(resource, address)))
}

/** Where a resource without an address of its own leads; undefined for one that has one. */
export function reachOf(resource: Pick<ResourceDeclaration, 'kind' | 'settings'>): string | undefined {
  return resource.kind.reach?.(resource.settings).join(', ')
}
