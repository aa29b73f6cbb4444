import { AgentgateError } from '../errors.ts'
import { Deadline, type Clock } from './clock.ts'

/** For so long a broker may take to say what its clock says. */
const doubtMs = 10_000

/** How long a session may start new actions: until its grant expires, is revoked, or the session closes. */
export class Lease {
  readonly #clock: Clock
  #deadline: Deadline
  #ended: AgentgateError | undefined
  #held: AgentgateError | undefined
  /** A broker says how long it lasts. */
  #led = false
  #doubtedAtMs: number | undefined

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
      if (this.#inDoubt()) return clockJumped()
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

  /** A broker's word on what is left, by its own clock: that decides, whatever the clock of this machine says. */
  sync(seconds: number): void {
    this.#led = true
    this.#doubtedAtMs = undefined
    if (this.#ended === undefined) this.#deadline = new Deadline(this.#clock, seconds)
  }

  /** This machine slept, or its clock was set: the broker is heard before anything is ended, and nothing starts until then. */
  #inDoubt(): boolean {
    if (!this.#led || this.#deadline.passedSteadily) return false
    this.#doubtedAtMs ??= this.#clock.monotonic()
    return this.#clock.monotonic() - this.#doubtedAtMs < doubtMs
  }

  renew(seconds: number): void {
    if (this.refusal() === undefined) this.#deadline = new Deadline(this.#clock, seconds)
  }

  end(error: AgentgateError): void {
    this.#ended ??= error
  }
}

function clockJumped(): AgentgateError {
  return new AgentgateError(
    'BROKER_UNREACHABLE',
    'the clock of this machine has jumped, and the broker has not said yet whether access still holds',
    {
      hint: 'it goes on by itself within seconds, or ends',
    },
  )
}
