import type { Key } from './keys.ts'

/** Looked for across the pieces that a terminal was sent. */
const maxTail = 1000

/** What somebody looks for in a replay: typed after `/`, found in what is shown from then on, whatever the case. */
export class ReplaySearch {
  #typed: string | null = null
  #wanted = ''
  #looking = false
  #tail = ''

  /** What has been typed so far; null: nobody is typing. */
  get typed(): string | null {
    return this.#typed
  }

  /** Nobody waits for anything until it has been found. */
  get looking(): boolean {
    return this.#looking
  }

  get wanted(): string {
    return this.#wanted
  }

  begin(): void {
    this.#looking = false
    this.#typed = ''
  }

  /** A key while it is typed. `over`: it was given up. */
  press(key: Key): 'typing' | 'looking' | 'over' {
    const typed = this.#typed ?? ''
    if (key.kind === 'character' || key.kind === 'paste')
      this.#typed = `${typed}${key.text.split(/[\r\n]/, 1)[0] ?? ''}`
    else if (key.kind === 'named' && key.name === 'backspace' && typed !== '')
      this.#typed = Array.from(typed).slice(0, -1).join('')
    else if (key.kind === 'named' && key.name === 'enter') {
      this.#typed = null
      if (typed !== '') this.#wanted = typed.toLowerCase()
      return this.again() ? 'looking' : 'over'
    } else if (key.kind === 'named' && (key.name === 'escape' || key.name === 'backspace')) {
      this.#typed = null
      return 'over'
    }
    return 'typing'
  }

  /** The same once more; false where nothing has been looked for yet. */
  again(): boolean {
    this.#tail = ''
    this.#looking = this.#wanted !== ''
    return this.#looking
  }

  /** Whether what is looked for stands in what has just been shown. */
  found(shown: string): boolean {
    if (!this.#looking) return false
    const text = this.#tail + shown.toLowerCase()
    this.#tail = text.slice(-Math.min(maxTail, this.#wanted.length))
    if (!text.includes(this.#wanted)) return false
    this.#looking = false
    return true
  }
}
