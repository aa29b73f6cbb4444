import type { Secret } from '../secret.ts'
import { Store } from './store.ts'
import { migrations, type Tables } from './store-tables.ts'

/**
 * On the PostgreSQL of `url`, else in `file`.
 * @throws AgentgateError STATE_UNSAFE (damaged, in use, of a newer version), STORE_FAILED, USAGE (the url)
 */
export async function openStore(at: { readonly file: string } | { readonly url: Secret }): Promise<Store> {
  if ('url' in at) {
    const { openPostgres } = await import('./postgres-engine.ts')
    return new Store(await openPostgres<Tables>(at.url, migrations))
  }
  const { openSqlite } = await import('./sqlite-engine.ts')
  return new Store(await openSqlite<Tables>(at.file, migrations))
}
