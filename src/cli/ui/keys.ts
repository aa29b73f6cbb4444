export type KeyName =
  | 'enter'
  | 'tab'
  | 'escape'
  | 'backspace'
  | 'delete'
  | 'up'
  | 'down'
  | 'left'
  | 'right'
  | 'word-left'
  | 'word-right'
  | 'home'
  | 'end'
  | 'page-up'
  | 'page-down'

export type Key =
  /** `alone`: nothing else came with it, so it was pressed, not pasted or typed ahead. */
  | { readonly kind: 'character'; readonly text: string; readonly alone: boolean }
  | { readonly kind: 'named'; readonly name: KeyName }
  | { readonly kind: 'control'; readonly letter: string }
  | { readonly kind: 'paste'; readonly text: string }

const pasteStart = '\u001b[200~'
const pasteEnd = '\u001b[201~'
const maxPasteLength = 1 << 20
/** A sequence longer than this is none (a terminal's longest answers have some tens). */
const maxSequenceLength = 64

// xterm's control sequences (ctlseqs, "PC-Style Function Keys"), and what linux, rxvt and tmux send instead.
const sequences: Readonly<Record<string, KeyName>> = {
  '[A': 'up',
  '[B': 'down',
  '[C': 'right',
  '[D': 'left',
  '[H': 'home',
  '[F': 'end',
  OA: 'up',
  OB: 'down',
  OC: 'right',
  OD: 'left',
  OH: 'home',
  OF: 'end',
  '[1~': 'home',
  '[7~': 'home',
  '[4~': 'end',
  '[8~': 'end',
  '[3~': 'delete',
  '[5~': 'page-up',
  '[6~': 'page-down',
  '[1;3C': 'word-right',
  '[1;5C': 'word-right',
  '[1;3D': 'word-left',
  '[1;5D': 'word-left',
  '[Z': 'tab',
  b: 'word-left',
  f: 'word-right',
}

/** Cuts what a terminal sends into keys. A lone escape stays pending until `flush`: it may be the start of a sequence. */
export class KeyReader {
  #pending = ''

  /** What has begun and is not whole yet. */
  get pending(): 'nothing' | 'escape' | 'paste' {
    if (this.#pending === '') return 'nothing'
    return this.#pending.startsWith(pasteStart) ? 'paste' : 'escape'
  }

  push(chunk: string): Key[] {
    const text = this.#pending + chunk
    this.#pending = ''
    const keys: Key[] = []
    let index = 0
    while (index < text.length) {
      if (text[index] === '\u001b') {
        const next = this.#escape(text, index, keys)
        if (next === undefined) {
          this.#pending = text.slice(index)
          break
        }
        index = next
        continue
      }
      const character = String.fromCodePoint(text.codePointAt(index) ?? 0)
      index += character.length
      const key = plain(character)
      if (key !== undefined) keys.push(key)
    }
    // Several keys in one read were pasted, typed ahead, or sent by a program.
    return keys.length === 1 && this.#pending === ''
      ? keys
      : keys.map(key => (key.kind === 'character' ? { ...key, alone: false } : key))
  }

  /** No more came for a while: a pending escape was the key, and a paste without its end is all there is of it. */
  flush(): Key[] {
    const pending = this.#pending
    this.#pending = ''
    if (pending === '') return []
    return pending.startsWith(pasteStart)
      ? [pasteOf(pending.slice(pasteStart.length))]
      : [{ kind: 'named', name: 'escape' }]
  }

  /** The index after the sequence that starts at `start`; undefined if it is not whole yet. */
  #escape(text: string, start: number, keys: Key[]): number | undefined {
    if (text.startsWith(pasteStart, start)) {
      const end = text.indexOf(pasteEnd, start + pasteStart.length)
      if (end === -1 && text.length - start < maxPasteLength) return undefined
      const body = text.slice(start + pasteStart.length, end === -1 ? undefined : end)
      keys.push(pasteOf(body))
      return end === -1 ? text.length : end + pasteEnd.length
    }
    const rest = text.slice(start + 1, start + 1 + maxSequenceLength)
    if (rest === '') return undefined
    const whole = /^(?:\[\[?[0-9;:<=>?]*[ -/]*[@-~]|O[@-~])/.exec(rest)?.[0]
    if (whole !== undefined) {
      const name = sequences[whole]
      if (name !== undefined) keys.push({ kind: 'named', name })
      return start + 1 + whole.length
    }
    if (/^(?:\[\[?[0-9;:<=>?]*[ -/]*|O)$/.test(rest) && rest.length < maxSequenceLength) return undefined
    if (rest.startsWith('\u001b')) {
      keys.push({ kind: 'named', name: 'escape' })
      return start + 1
    }
    // Alt and a key.
    const character = String.fromCodePoint(rest.codePointAt(0) ?? 0)
    const name = sequences[character]
    if (name !== undefined) keys.push({ kind: 'named', name })
    else if (character === '\u007f') keys.push({ kind: 'control', letter: 'w' })
    return start + 1 + character.length
  }
}

function pasteOf(text: string): Key {
  return { kind: 'paste', text: text.replace(/\r\n?/g, '\n') }
}

function plain(character: string): Key | undefined {
  const code = character.codePointAt(0) ?? 0
  if (character === '\r' || character === '\n') return { kind: 'named', name: 'enter' }
  if (character === '\t') return { kind: 'named', name: 'tab' }
  if (code === 0x7f || code === 0x08) return { kind: 'named', name: 'backspace' }
  if (code >= 1 && code <= 26) return { kind: 'control', letter: String.fromCharCode(code + 96) }
  if (code < 0x20 || (code >= 0x80 && code < 0xa0)) return undefined
  return { kind: 'character', text: character, alone: true }
}
