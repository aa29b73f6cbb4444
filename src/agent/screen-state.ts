/** DEC private modes that programs set and a shell's prompt does not expect, by what undoes them. */
const undo: ReadonlyMap<number, 'h' | 'l'> = new Map([
  ...[1, 9, 47, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004, 2026].map(
    mode => [mode, 'l'] as const,
  ),
  [25, 'h'], // the cursor
  [7, 'h'], // wrapping
])

const escape = 0x1b
const maxParameterBytes = 64

type Position = 'ground' | 'escape' | 'control' | 'string' | 'string-escape' | 'charset' | 'character'

/**
 * Follows what a child writes to its terminal, just enough to know two things: whether something of ours may be written
 * now without landing inside a sequence or character, and what a child that had to be killed left set.
 */
export class ScreenState {
  readonly #changed = new Set<number>()
  #keyboardLevels = 0
  #position: Position = 'ground'
  #parameters = ''
  #continuation = 0

  /** Not inside an escape sequence or a character. */
  get between(): boolean {
    return this.#position === 'ground'
  }

  /** What brings the terminal back to how a shell expects it; empty where nothing was left. */
  get undo(): string {
    const modes = [...this.#changed].map(mode => `\u001b[?${mode}${undo.get(mode) ?? 'l'}`)
    if (this.#keyboardLevels > 0) modes.push(`\u001b[<${this.#keyboardLevels}u`)
    return modes.length === 0 ? '' : `${this.between ? '' : '\u001b\\'}${modes.join('')}\u001b[0m`
  }

  push(bytes: Buffer): void {
    let index = 0
    while (index < bytes.length) {
      if (this.#position === 'ground') {
        const next = bytes.indexOf(escape, index)
        if (next === -1) {
          this.#endsInCharacter(bytes, index)
          return
        }
        this.#position = 'escape'
        index = next + 1
        continue
      }
      this.#step(bytes[index] ?? 0)
      index += 1
    }
  }

  // A chunk may end within a UTF-8 character (RFC 3629 §3).
  #endsInCharacter(bytes: Buffer, from: number): void {
    for (let back = 1; back <= 3 && bytes.length - back >= from; back++) {
      const byte = bytes[bytes.length - back] ?? 0
      if (byte < 0x80) return
      if (byte >= 0xc0) {
        const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
        if (length > back) {
          this.#position = 'character'
          this.#continuation = length - back
        }
        return
      }
    }
  }

  // ECMA-48 §5.3–5.6, as far as needed to find where a sequence ends.
  #step(byte: number): void {
    switch (this.#position) {
      case 'ground':
        return
      case 'character':
        this.#continuation -= 1
        if (this.#continuation === 0 || (byte & 0xc0) !== 0x80) this.#position = 'ground'
        return
      case 'escape':
        this.#parameters = ''
        if (byte === 0x5b) this.#position = 'control'
        else if (byte === 0x5d || byte === 0x50 || byte === 0x58 || byte === 0x5e || byte === 0x5f)
          this.#position = 'string'
        else if (byte >= 0x20 && byte <= 0x2f) this.#position = 'charset'
        else if (byte !== escape) this.#position = 'ground'
        return
      case 'charset':
        if (byte >= 0x30) this.#position = 'ground'
        return
      case 'control':
        if (byte === escape) this.#position = 'escape'
        else if (byte >= 0x40 && byte <= 0x7e) {
          this.#control(byte)
          this.#position = 'ground'
        } else if (this.#parameters.length < maxParameterBytes) this.#parameters += String.fromCharCode(byte)
        return
      case 'string':
        if (byte === 0x07 || byte === 0x18 || byte === 0x1a) this.#position = 'ground'
        else if (byte === escape) this.#position = 'string-escape'
        return
      case 'string-escape':
        this.#position = byte === 0x5c ? 'ground' : 'escape'
        if (this.#position === 'escape') this.#step(byte)
        return
      default:
        this.#position satisfies never
    }
  }

  #control(final: number): void {
    const letter = String.fromCharCode(final)
    if ((letter === 'h' || letter === 'l') && this.#parameters.startsWith('?'))
      for (const text of this.#parameters.slice(1).split(';')) {
        const normal = undo.get(Number(text))
        if (normal === letter) this.#changed.delete(Number(text))
        else if (normal !== undefined) this.#changed.add(Number(text))
      }
    // The kitty keyboard protocol's stack (sw.kovidgoyal.net/kitty/keyboard-protocol).
    if (letter === 'u' && this.#parameters.startsWith('>')) this.#keyboardLevels += 1
    if (letter === 'u' && this.#parameters.startsWith('<'))
      this.#keyboardLevels = Math.max(0, this.#keyboardLevels - (Number(this.#parameters.slice(1)) || 1))
  }
}
