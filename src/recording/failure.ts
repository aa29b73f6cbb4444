import { AgentgateError } from '../errors.ts'

const reasons: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EIO: 'the disk reports an error',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOENT: 'the folder is not there',
  EEXIST: 'it is already there',
  EMFILE: 'too many open files',
  ENFILE: 'too many open files',
}

/** RECORDING_FAILED for a file operation: what could not be done, why, and what would help. */
export function failure(doing: string, cause: unknown): AgentgateError {
  if (cause instanceof AgentgateError) return cause
  const code = codeOf(cause)
  const hint =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'free some space; what cannot be recorded is not forwarded'
      : 'what cannot be recorded is not forwarded'
  return new AgentgateError('RECORDING_FAILED', `cannot ${doing}: ${systemWord(cause)}`, { cause, hint })
}

/** Why a file operation failed, in words. */
export function systemWord(cause: unknown): string {
  const code = codeOf(cause)
  return reasons[code] ?? code
}

function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : 'unknown'
}
