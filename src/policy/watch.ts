import type { LoadedPolicy, LoadOptions } from './load.ts'
import { pending } from './policy.ts'

export interface WatchOptions extends LoadOptions {
  readonly signal: AbortSignal
  /** New content that counts: trusted, or pinned. */
  readonly onChange: (loaded: LoadedPolicy) => void
  /** One line for people: a change that does not count (yet), and why. Once per content. */
  readonly onNotice: (text: string) => void
}

/** Watches the files of a policy and the trust in them until `signal` aborts. Never throws later: it gives notice. */
export function watchPolicy(_loaded: LoadedPolicy, _options: WatchOptions): void {
  return pending('watching a policy')
}
