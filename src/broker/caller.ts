import type { Actor, Principal } from '../policy/subject.ts'

/** Who asks the broker something. */
export interface Caller {
  readonly principal: Principal
  /** Who acts for them, proven by their token; what is only asserted stands in a request. */
  readonly actor: Actor | null
  readonly administers: boolean
  /** May see what there is of everybody's, and change nothing. */
  readonly audits: boolean
  /** Sees what is theirs, and answers nothing. */
  readonly suspended: boolean
}
