import { AgentgateError } from '../../errors.ts'
import type { StatementIndex } from './statement-index.ts'

const everyMilliseconds = 60_000

/** Has the index forget what is past its retention, from now on until the end. */
export class IndexUpkeep {
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> = Promise.resolve()

  constructor(index: StatementIndex, now: () => Date, onTrouble: (text: string) => void) {
    const expire = async () => {
      try {
        await index.expire(now().toISOString())
      } catch (error) {
        onTrouble(
          `the index keeps what is past its retention: ${error instanceof AgentgateError ? error.message : 'a bug'}`,
        )
      }
    }
    const start = () => (this.#running = this.#running.then(expire))
    this.#timer = setInterval(() => void start(), everyMilliseconds)
    this.#timer.unref()
    void start()
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#running
  }
}
