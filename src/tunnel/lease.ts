import { AgentgateError } from '../errors.ts'
import { Deadline, type Clock } from './clock.ts'

/** How long a session may start new actions: until its grant expires, is revoked, or the session closes. */
export class Lease {
  readonly #clock: Clock
  #deadline: Deadline
  #ended: AgentgateError | undefined
  #held: AgentgateError | undefined

  constructor(clock: Clock, seconds: number) {
    this.#clock = clock
    this.#deadline = new Deadline(clock, seconds)
  }

  get expiresAt(): Date {
    return this.#deadline.date
  }

  get leftMs(): number {
    return this.#ended === undefined ? this.#deadline.leftMs : 0
  }

  /** Why no new action may start; undefined while it may. Checked at each action: it costs two clock reads. */
  refusal(): AgentgateError | undefined {
    if (this.#ended === undefined && this.#deadline.passed) {
      const at = this.#deadline.date.toTimeString().slice(0, 5)
      this.#ended = new AgentgateError('EXPIRED', `access ended at ${at}`, {
        hint: 'open it again with: agentgate connect',
      })
    }
    return this.#ended ?? this.#held
  }

  /** No new action may start until this is taken back, by undefined. */
  hold(why: AgentgateError | undefined): void {
    this.#held = why
  }

  renew(seconds: number): void {
    if (this.refusal() === undefined) this.#deadline = new Deadline(this.#clock, seconds)
  }

  end(error: AgentgateError): void {
    this.#ended ??= error
  }
}
