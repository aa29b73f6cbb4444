import { systemWord } from '../failure.ts'
import { SyncFailed } from './target.ts'

/** For people: why an upload failed. */
export function failureText(error: unknown): string {
  return error instanceof SyncFailed ? error.message : systemWord(error)
}
