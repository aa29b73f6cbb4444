import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { startPostgres, type PostgresServer } from '../../../src/demo/postgres-server.ts'

const debian15 = '/usr/lib/postgresql/15/bin'

/** Servers to test against, by name; one that is missing is reported as skipped. */
export const servers = [
  { name: 'PostgreSQL 15 (Debian)', available: existsSync(debian15), binaries: { bin: debian15 } },
  { name: 'PostgreSQL 18 (npm)', available: true, binaries: 'embedded' },
] as const

export type ServerName = (typeof servers)[number]

export interface TestServer extends PostgresServer {
  remove(): Promise<void>
}

export async function startServer(
  binaries: ServerName['binaries'],
  settings: Readonly<Record<string, string>> = {},
): Promise<TestServer> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-test-'))
  const server = await startPostgres({ binaries, folder, settings })
  return Object.assign(server, {
    remove: async () => {
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  })
}
