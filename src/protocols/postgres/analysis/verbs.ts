/** What people may write in `statement:`, and what each counts as (docs/postgres-rules.md). */
export const readVerbs = [
  'select',
  'copy-out',
  'explain',
  'show',
  'set',
  'reset',
  'discard',
  'listen',
  'lock-shared',
  'fetch',
  'move',
  'call',
  'do',
] as const
export const writeVerbs = [
  'insert',
  'update',
  'delete',
  'merge',
  'truncate',
  'copy-in',
  'nextval',
  'setval',
  'refresh',
  'large-object',
  'lock',
] as const
export const ddlVerbs = [
  'create',
  'alter',
  'drop',
  'comment',
  'grant',
  'revoke',
  'reindex',
  'cluster',
  'security-label',
] as const
export const adminVerbs = [
  'vacuum',
  'analyze',
  'checkpoint',
  'load',
  'admin',
  'notify',
  'server-file',
  'set-role',
  'prepare-transaction',
  'unknown',
] as const

const changing = new Set<string>([...writeVerbs, ...ddlVerbs, ...adminVerbs])

/** Whether an effect of this kind may alter the target: about what a READ ONLY transaction refuses. */
export function changes(verb: string): boolean {
  return changing.has(verb)
}

export const transactionVerbs: ReadonlySet<string> = new Set(['begin', 'commit', 'rollback', 'savepoint', 'release'])
