import type { Protocol } from '../protocols/protocol.ts'

/** The protocols agentgate speaks, loaded when used: a new one is a folder and a line here. */
const registry: Readonly<Record<string, () => Promise<Protocol>>> = {
  postgres: async () => (await import('../protocols/postgres/postgres.ts')).postgres,
  http: async () => (await import('../protocols/http/http.ts')).http,
  egress: async () => (await import('../protocols/egress/egress.ts')).egress,
  tools: async () => (await import('../protocols/tools/tools.ts')).tools,
}

export const protocolKinds: readonly string[] = Object.keys(registry)

export async function loadProtocols(): Promise<ReadonlyMap<string, Protocol>> {
  const loaded = await Promise.all(Object.entries(registry).map(async ([kind, load]) => [kind, await load()] as const))
  return new Map(loaded)
}
