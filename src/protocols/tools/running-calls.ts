import type { ToolCall } from './action.ts'

/** A call that was let through and whose result is still to come. */
export interface RunningCall {
  /** Number of the action's event. */
  readonly event: number
  readonly startedMs: number
}

/** An agent runs few tools at once; what is forgotten has no result beside it in the record. */
const maxRunning = 256

/**
 * The calls of one session that run, by what the agent names them by: each hook is a connection of its own, so that a call
 * and its result come by different ones.
 */
export class RunningCalls {
  readonly #running = new Map<string, RunningCall>()

  start(call: ToolCall, running: RunningCall): void {
    const name = nameOf(call)
    const [oldest] = this.#running.keys()
    if (this.#running.size >= maxRunning && oldest !== undefined) this.#running.delete(oldest)
    this.#running.set(name, running)
  }

  /** Each ends once. */
  end(call: ToolCall): RunningCall | undefined {
    const name = nameOf(call)
    const running = this.#running.get(name)
    this.#running.delete(name)
    return running
  }
}

/** Older agents give a call no name: what it asks for has to do. */
function nameOf({ tool_use_id: id, tool_name: tool, tool_input: input }: ToolCall): string {
  return id ?? JSON.stringify([tool, input])
}
