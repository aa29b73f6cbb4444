import { type FieldMasker, NotJson } from '../../masking/json-fields.ts'

const maxEventBytes = 1024 * 1024
const newline = 0x0a
const recordSeparator = 0x1e
const empty = Buffer.alloc(0)

/** Hides fields in JSON that comes line by line (`lines`), or in the data of server-sent events (`events`), as it comes. */
export class LineFieldMasker {
  readonly #fields: FieldMasker
  readonly #format: 'lines' | 'events'
  #held: Buffer[] = []
  #heldBytes = 0
  /** Lines of an event that is not whole; its data is one text (WHATWG HTML §9.2.6). */
  #event: Buffer[] = []

  constructor(fields: FieldMasker, format: 'lines' | 'events') {
    this.#fields = fields
    this.#format = format
  }

  /** @throws NotJson also where a line or event is longer than any. */
  push(chunk: Buffer): Buffer {
    const out: Buffer[] = []
    let at = 0
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, at)) {
      const line = Buffer.concat([...this.#held, chunk.subarray(at, end + 1)])
      this.#held = []
      this.#heldBytes = this.#event.reduce((sum, each) => sum + each.length, 0)
      out.push(this.#line(line))
      at = end + 1
    }
    if (at < chunk.length) this.#held.push(chunk.subarray(at))
    this.#heldBytes += chunk.length - at
    if (this.#heldBytes > maxEventBytes) throw new NotJson()
    return out.length === 1 ? (out[0] ?? empty) : Buffer.concat(out)
  }

  end(): Buffer {
    const rest = Buffer.concat(this.#held)
    this.#held = []
    const last = rest.length === 0 ? empty : this.#line(rest)
    return Buffer.concat([last, this.#endEvent()])
  }

  #line(line: Buffer): Buffer {
    if (this.#format === 'lines') return this.#masked(line)
    this.#event.push(line)
    this.#heldBytes += line.length
    return line.toString('latin1').trim() === '' ? this.#endEvent() : empty
  }

  #endEvent(): Buffer {
    const lines = this.#event
    this.#event = []
    this.#heldBytes = 0
    const isData = lines.map(line => /^data(?::|\r?\n|$)/.test(line.toString('latin1', 0, 6)))
    const first = isData.indexOf(true)
    if (first < 0) return Buffer.concat(lines)
    const data = lines
      .filter((_, index) => isData[index])
      .map(line =>
        line
          .toString('latin1')
          .replace(/^data:? ?/, '')
          .replace(/\r?\n$/, ''),
      )
      .join('\n')
    const before = Buffer.from(data, 'latin1')
    const after = this.#masked(before)
    if (after === before) return Buffer.concat(lines)
    // One line a line: what was hidden may have gone over several.
    const shown = after
      .toString('latin1')
      .split('\n')
      .map(text => Buffer.from(`data: ${text}\n`, 'latin1'))
    return Buffer.concat(lines.flatMap((line, index) => (index === first ? shown : isData[index] ? [] : [line])))
  }

  /** The same buffer where nothing is hidden. */
  #masked(bytes: Buffer): Buffer {
    // RFC 7464 puts a record separator before each text.
    const start = bytes[0] === recordSeparator ? 1 : 0
    try {
      const after = this.#fields.mask(bytes.subarray(start))
      return start === 0 || after.length === bytes.length - 1 ? after : Buffer.concat([bytes.subarray(0, 1), after])
    } catch (error) {
      if (error instanceof NotJson && hasNoFields(bytes, this.#format)) return bytes
      throw error
    }
  }
}

/** An empty line; in events also words such as `[DONE]`. */
function hasNoFields(bytes: Buffer, format: 'lines' | 'events'): boolean {
  const text = bytes.toString('latin1').trim()
  return text === '' || (format === 'events' && (!/^[{[]/.test(text) || /^\[\w+\]$/.test(text)))
}
