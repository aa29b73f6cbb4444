import { StringDecoder } from 'node:string_decoder'

/**
 * `screen`: what moves the cursor, erases and colours stays, for replaying on a terminal; what would make that terminal
 * answer, set its title or clipboard, or report the mouse goes. `plain`: text and line breaks only.
 */
export type FilterMode = 'screen' | 'plain'

// xterm's control sequences (ctlseqs): cursor, erase, insert, delete, scroll, colours. None of them is answered.
const harmlessFinals = new Set('ABCDEFGHJKLMPSTX@dfmrsu')
/** Cursor shown, wrapping, alternate screen (47, 1047, 1049), blinking. */
const harmlessModes = new Set(['7', '12', '25', '47', '1047', '1049'])
/** Cursor saved and restored, index, reverse index, next line. */
const harmlessEscapes = new Set('78DME')
/** Longer ones are no sequence that anybody sends. */
const maxSequence = 64

type State = 'text' | 'escape' | 'csi' | 'charset' | 'string' | 'string-escape'

/** Makes what a terminal was sent safe to send to another; bytes in, text out, any split giving the same. */
export class TerminalFilter {
  readonly #mode: FilterMode
  readonly #decoder = new StringDecoder('utf8')
  #state: State = 'text'
  #sequence = ''
  #afterReturn = false
  #alternate = false

  constructor(mode: FilterMode) {
    this.#mode = mode
  }

  push(bytes: Buffer): string {
    let out = ''
    for (const character of this.#decoder.write(bytes)) out += this.#take(character, character.codePointAt(0) ?? 0)
    return out
  }

  /** Brings a terminal back from whatever a recording that was cut off left it in. */
  reset(): string {
    return `\u001b[0m\u001b[?25h\u001b[?7h\u001b(B${this.#alternate ? '\u001b[?1049l' : ''}\u001b[r`
  }

  #take(character: string, code: number): string {
    switch (this.#state) {
      case 'text':
        return this.#text(character, code)
      case 'escape':
        return this.#escape(character)
      case 'csi':
        return this.#csi(character, code)
      case 'charset':
        this.#state = 'text'
        return this.#mode === 'screen' && (character === 'B' || character === '0') ? `\u001b(${character}` : ''
      case 'string':
        if (code === 0x07 || code === 0x9c) this.#state = 'text'
        else if (code === 0x1b) this.#state = 'string-escape'
        return ''
      case 'string-escape':
        if (character === '\\') this.#state = 'text'
        else if (code !== 0x1b) this.#state = 'string'
        return ''
      default:
        return this.#state satisfies never
    }
  }

  #text(character: string, code: number): string {
    const afterReturn = this.#afterReturn
    this.#afterReturn = false
    if (code === 0x1b) {
      this.#state = 'escape'
      return ''
    }
    if (character === '\n') return '\n'
    if (character === '\t') return '\t'
    if (this.#mode === 'plain') {
      if (character === '\r') {
        this.#afterReturn = true
        return ''
      }
      if (isUnshowable(code)) {
        this.#afterReturn = afterReturn
        return ''
      }
      // A return alone writes over its line: what was there stays, on a line of its own.
      return afterReturn ? `\n${character}` : character
    }
    if (character === '\r' || character === '\b') return character
    return isUnshowable(code) ? '' : character
  }

  #escape(character: string): string {
    this.#state = 'text'
    if (character === '[') {
      this.#state = 'csi'
      this.#sequence = ''
      return ''
    }
    if (character === '(') {
      this.#state = 'charset'
      return ''
    }
    // OSC, DCS, SOS, PM, APC (ECMA-48 §8.3): their text goes up to its terminator.
    if (']PX^_'.includes(character)) {
      this.#state = 'string'
      return ''
    }
    if (character === '\u001b') {
      this.#state = 'escape'
      return ''
    }
    return this.#mode === 'screen' && harmlessEscapes.has(character) ? `\u001b${character}` : ''
  }

  #csi(character: string, code: number): string {
    if (code === 0x1b) {
      this.#state = 'escape'
      return ''
    }
    if (code < 0x20 || code > 0x7e || this.#sequence.length >= maxSequence) {
      this.#state = 'text'
      return ''
    }
    if (code < 0x40) {
      this.#sequence += character
      return ''
    }
    this.#state = 'text'
    if (this.#mode === 'plain') return ''
    const sequence = this.#sequence
    if (/^(?:\d{0,5}[;:]?)*$/.test(sequence))
      return harmlessFinals.has(character) ? `\u001b[${sequence}${character}` : ''
    const modes = /^\?([\d;]+)$/.exec(sequence)?.[1]?.split(';') ?? []
    const harmless = modes.length > 0 && modes.every(mode => harmlessModes.has(mode))
    if (!harmless || (character !== 'h' && character !== 'l')) return ''
    if (modes.some(mode => mode.endsWith('47') || mode === '1049')) this.#alternate = character === 'h'
    return `\u001b[${sequence}${character}`
  }
}

/** Controls, and what reorders or hides text (as in escape.ts). */
function isUnshowable(code: number): boolean {
  return (
    code < 0x20 ||
    (code >= 0x7f && code <= 0x9f) ||
    code === 0x061c ||
    (code >= 0x200b && code <= 0x200f) ||
    (code >= 0x2028 && code <= 0x202e) ||
    (code >= 0x2060 && code <= 0x206f) ||
    code === 0xfeff ||
    (code >= 0xe0000 && code <= 0xe0fff)
  )
}
