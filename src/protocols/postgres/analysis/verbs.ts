// What people may write in `statement:`, and what effects are called (docs/policy.md says what counts as each).

export const readVerbs = [
  'select',
  'copy-out',
  'explain',
  'show',
  'lock-shared',
  'fetch',
  'move',
  'listen',
  'unlisten',
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
  'large-object',
  'lock',
] as const
export const ddlVerbs = [
  'create',
  'alter',
  'rename',
  'drop',
  'comment',
  'grant',
  'revoke',
  'reindex',
  'cluster',
  'refresh',
  'security-label',
  'import',
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
/** What changes nothing in the database itself; what CALL and DO do besides is told apart from them. */
export const plainVerbs = [
  'set',
  'reset',
  'discard',
  'call',
  'do',
  'execute',
  'prepare',
  'deallocate',
  'declare',
  'close',
  'copy',
] as const
export const transactionVerbs = ['begin', 'commit', 'rollback', 'savepoint', 'release'] as const

const changing = new Set<string>([...writeVerbs, ...ddlVerbs, ...adminVerbs])

/** Whether an effect of this kind may alter the target: about what a READ ONLY transaction refuses. */
export function changes(verb: string): boolean {
  return changing.has(verb)
}
