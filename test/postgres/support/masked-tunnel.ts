import type { Mask, MaskStrategy } from '../../../src/policy/action.ts'
import { loadServices } from '../../../src/protocols/postgres/relay/services.ts'
import type { ServedResource } from '../../../src/protocols/protocol.ts'
import type { PostgresServer } from '../../../src/demo/postgres-server.ts'
import { openTunnel, type TestTunnel, type TunnelOptions } from './tunnel.ts'

/** A tunnel with the real analysis and masking, to a server of its own. */
export async function openMaskedTunnel(
  server: Pick<PostgresServer, 'port' | 'user' | 'password'>,
  masks: readonly Mask[],
  more: Partial<TunnelOptions> = {},
): Promise<TestTunnel> {
  const services = await loadServices({ name: 'db', settings: { database: '*' } } as ServedResource)
  return await openTunnel({
    address: `127.0.0.1:${server.port}`,
    user: server.user,
    password: server.password,
    masks,
    ...services,
    ...more,
  })
}

export function maskOn(columns: readonly string[], strategy: MaskStrategy = { kind: 'redact' }): Mask {
  return { name: 'contact data', place: 'agentgate.yaml:9', columns, fields: [], detect: [], with: strategy }
}
