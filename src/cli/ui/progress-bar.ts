import type { Io } from '../command.ts'
import { escapeLine } from './escape.ts'

/** Nothing that takes less shows a bar. */
const afterMilliseconds = 1000
const everyMilliseconds = 100
const cells = 20

export interface Progress {
  /** What is being done. */
  readonly label: string
  /** Bytes. */
  readonly done: number
  readonly total: number
}

/** A bar in the last line of a terminal: what, how much, how long. Lines of output go above it by way of `above`. */
export class ProgressBar {
  readonly #stream: Io['stderr']
  readonly #startedAt = performance.now()
  #drawnAt = 0
  #isShown = false

  constructor(stream: Io['stderr']) {
    this.#stream = stream
  }

  update(progress: Progress): void {
    const now = performance.now()
    if (!this.#stream.isTTY || now - this.#startedAt < afterMilliseconds || now - this.#drawnAt < everyMilliseconds)
      return
    this.#drawnAt = now
    this.#isShown = true
    const line = progressLine(progress, (now - this.#startedAt) / 1000, this.#stream.columns)
    this.#stream.write(`\r${line}\u001b[K`)
  }

  /** Takes the bar away, until the next update. */
  clear(): void {
    if (this.#isShown) this.#stream.write('\r\u001b[K')
    this.#isShown = false
    this.#drawnAt = 0
  }
}

export function progressLine({ label, done, total }: Progress, seconds: number, columns: number | undefined): string {
  const share = total === 0 ? 1 : Math.min(1, done / total)
  const full = Math.floor(share * cells)
  const left = done === 0 ? null : (seconds * (total - done)) / done
  const parts = [
    escapeLine(label),
    `${'█'.repeat(full)}${'░'.repeat(cells - full)}`,
    `${megabytes(done)} of ${megabytes(total)} MB`,
    ...(left === null ? [] : [`${showSeconds(left)} left`]),
  ]
  return parts.join('  ').slice(0, Math.max(1, (columns ?? 80) - 1))
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0)
}

function showSeconds(seconds: number): string {
  const whole = Math.ceil(seconds)
  return whole < 60 ? `${whole} s` : `${Math.ceil(whole / 60)} min`
}
