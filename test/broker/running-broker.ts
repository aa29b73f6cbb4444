import { Place } from '../support/agentgate.ts'
import type { Running } from '../support/processes.ts'

interface Ready {
  readonly addresses: readonly string[]
  readonly [key: string]: unknown
}

/** `agentgate broker` on a policy of its own, as a process of its own. */
export class RunningBroker {
  readonly place: Place
  readonly #more: readonly string[]
  readonly #pin: boolean
  #running: Running
  #ready: Ready

  private constructor(place: Place, more: readonly string[], pin: boolean, running: Running, ready: Ready) {
    this.place = place
    this.#more = more
    this.#pin = pin
    this.#running = running
    this.#ready = ready
  }

  /** @param prepare trusts the policy, so that it may change; else it is pinned by its digest. */
  static async start(
    policy: string,
    env: Readonly<Record<string, string>>,
    more: readonly string[] = [],
    prepare?: (place: Place) => Promise<void>,
  ): Promise<RunningBroker> {
    const place = new Place(policy, { DBUS_SESSION_BUS_ADDRESS: '', ...env })
    await prepare?.(place)
    const pin = prepare === undefined
    const { running, ready } = await launch(place, more, pin)
    return new RunningBroker(place, more, pin, running, ready)
  }

  get unix(): string {
    return this.#ready.addresses[0] ?? ''
  }

  get https(): string {
    return this.#ready.addresses[1] ?? ''
  }

  /** What it said of itself when it was. */
  get ready(): Ready {
    return this.#ready
  }

  get pid(): number {
    return this.#running.child.pid ?? 0
  }

  get said(): string {
    return this.#running.stdout() + this.#running.stderr()
  }

  async kill(): Promise<void> {
    this.#running.child.kill('SIGKILL')
    await this.#running.finished()
  }

  async restart(): Promise<void> {
    const { running, ready } = await launch(this.place, this.#more, this.#pin)
    this.#running = running
    this.#ready = ready
  }

  /** As its owner, by its socket. */
  async administer(...args: string[]) {
    return await this.place.run(args)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#running.child.exitCode === null && this.#running.child.signalCode === null) {
      this.#running.child.kill('SIGTERM')
      await this.#running.finished()
    }
  }
}

async function launch(place: Place, more: readonly string[], pin: boolean) {
  const policy = pin ? await place.trusted() : ['--policy', place.policy]
  const running = place.start(['broker', '--json', ...policy, ...more])
  const [line] = await running.said(/\{[^\n]*"event":"ready"[^\n]*\n/)
  return { running, ready: JSON.parse(line) as Ready }
}
