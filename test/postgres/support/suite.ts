import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import type { Mask } from '../../../src/policy/action.ts'
import { openMaskedTunnel } from './masked-tunnel.ts'
import { RawClient } from './raw-client.ts'
import { startServer, type ServerName, type TestServer } from './server.ts'
import type { TestTunnel, TunnelOptions } from './tunnel.ts'

/** What the tests of one suite use; there from the first test on. */
export interface Suite {
  readonly server: TestServer
  readonly tunnel: TestTunnel
  /** Past the tunnel. */
  readonly admin: pg.Client
}

/** A server with `setup` run on it and a tunnel to it, for as long as the suite takes; its tests are skipped where there is none. */
export function useServer(
  { available, binaries }: ServerName,
  setup: string,
  masks: readonly Mask[] = [],
  more: Partial<TunnelOptions> = {},
): Suite {
  const suite = {} as { -readonly [Key in keyof Suite]: Suite[Key] }
  beforeAll(async () => {
    if (!available) return
    suite.server = await startServer(binaries)
    suite.admin = new pg.Client({ connectionString: suite.server.url.reveal() })
    await suite.admin.connect()
    await suite.admin.query(setup)
    suite.tunnel = await openMaskedTunnel(suite.server, masks, more)
  })
  afterAll(async () => {
    if (!available) return
    await suite.admin.end()
    await suite.tunnel.close()
    await suite.server.remove()
  })
  beforeEach(context => {
    if (!available) context.skip()
  })
  return suite
}

/** One client to the server and one through the tunnel; after each test they are as new. */
export function useClients(suite: Suite): { readonly direct: RawClient; readonly through: RawClient } {
  let direct: RawClient | undefined
  let through: RawClient | undefined
  const open = async (client: RawClient | undefined, to: { port: number; password: string }) =>
    client === undefined || client.closed ? await RawClient.connect(to) : client
  beforeEach(async () => {
    const { server, tunnel } = suite
    direct = await open(direct, { port: server.port, password: server.password.reveal() })
    through = await open(through, { port: tunnel.port, password: tunnel.secret })
  })
  afterEach(async () => {
    for (const client of [direct, through]) {
      if (client === undefined || client.closed) continue
      await client.query('rollback')
      await client.query('discard all')
    }
  })
  return {
    get direct() {
      return direct as RawClient
    },
    get through() {
      return through as RawClient
    },
  }
}
