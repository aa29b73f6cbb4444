import type { DisplayEvent, FrameDecoder } from '../../protocol.ts'
import { readDataRow, readErrorFields, readRowDescription, type Field } from '../wire/backend-messages.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { FrameReader, headerBytes } from '../wire/frame-reader.ts'
import { backend } from '../wire/message-type.ts'

/** Rows shown as one table; a longer result comes as several. */
const tableRows = 500
const maxShownBytes = 4096
const maxMessageBytes = 0x3fffffff

/** Turns the recorded answer to one action into tables and lines. What was cut off or thinned out is shown as such. */
export class ResultDecoder implements FrameDecoder {
  readonly #reader = new FrameReader()
  readonly #body = new BodyReader()
  #fields: readonly Field[] = []
  #rows: (string | null)[][] = []
  #copied: Buffer[] = []
  #broken = false

  push(bytes: Buffer): DisplayEvent[] {
    if (this.#broken) return []
    const events: DisplayEvent[] = []
    this.#reader.push(bytes)
    try {
      while (this.#reader.header(maxMessageBytes) && this.#reader.whole()) {
        const { bytes: frames, start, length, type } = this.#reader
        this.#reader.skip(length)
        this.#take(type, this.#body.over(frames, start + headerBytes, start + length), events)
      }
    } catch {
      this.#broken = true
      this.#flush(events)
      events.push({ kind: 'text', text: '(the recorded answer cannot be read from here on)' })
    }
    return events
  }

  end(): DisplayEvent[] {
    const events: DisplayEvent[] = []
    this.#flush(events)
    if (!this.#broken && this.#reader.size > 0) events.push({ kind: 'text', text: '(the recorded answer ends here)' })
    return events
  }

  #take(type: number, body: BodyReader, events: DisplayEvent[]): void {
    switch (type) {
      case backend.RowDescription:
        this.#flush(events)
        this.#fields = readRowDescription(body)
        return
      case backend.DataRow:
        this.#rows.push(readDataRow(body).map((value, index) => showValue(value, this.#fields[index])))
        if (this.#rows.length >= tableRows) this.#flush(events)
        return
      case backend.CopyData:
        this.#copied.push(Buffer.from(body.slice(body.left)))
        if (this.#copied.length >= tableRows) this.#flush(events)
        return
      case backend.CopyInResponse:
        this.#flush(events)
        events.push({ kind: 'text', text: '(from the client:)' })
        return
      case backend.CommandComplete: {
        const tag = body.utf8String()
        // A table without rows is worth its head.
        this.#flush(events, tag.startsWith('SELECT') && this.#fields.length > 0)
        this.#fields = []
        events.push({ kind: 'text', text: tag })
        return
      }
      case backend.ErrorResponse: {
        this.#flush(events)
        const fields = readErrorFields(body)
        const lines = [`${fields.get('S') ?? 'ERROR'}:  ${fields.get('M') ?? ''}`]
        const more = [
          ['DETAIL', 'D'],
          ['HINT', 'H'],
          ['CONTEXT', 'W'],
        ] as const
        for (const [label, code] of more) {
          const text = fields.get(code)
          if (text !== undefined) lines.push(`${label}:  ${text}`)
        }
        events.push({ kind: 'text', text: lines.join('\n') })
        return
      }
      case backend.PortalSuspended:
        this.#flush(events)
        events.push({ kind: 'text', text: '(more rows were not asked for yet)' })
        return
      default:
    }
  }

  #flush(events: DisplayEvent[], headOnly = false): void {
    if (this.#rows.length > 0 || headOnly) {
      const width = this.#rows[0]?.length ?? this.#fields.length
      const columns = Array.from({ length: width }, (_, index) => this.#fields[index]?.name ?? `column ${index + 1}`)
      events.push({ kind: 'table', text: `${this.#rows.length} rows`, columns, rows: this.#rows })
      this.#rows = []
    }
    if (this.#copied.length > 0) {
      const text = Buffer.concat(this.#copied)
      events.push({ kind: 'text', text: text.toString('utf8').replace(/\n$/, '') })
      this.#copied = []
    }
  }
}

function showValue(value: Buffer | null, field: Field | undefined): string | null {
  if (value === null) return null
  const cut = value.length > maxShownBytes ? ` … (${value.length} bytes)` : ''
  if (field?.format !== 'binary') return value.toString('utf8', 0, maxShownBytes) + cut
  switch (field.typeOid) {
    case 16: // bool
      return value[0] === 0 ? 'f' : 't'
    case 20: // int8
      return value.length === 8 ? value.readBigInt64BE().toString() : hex(value)
    case 21: // int2
      return value.length === 2 ? String(value.readInt16BE()) : hex(value)
    case 23: // int4
      return value.length === 4 ? String(value.readInt32BE()) : hex(value)
    case 26: // oid
      return value.length === 4 ? String(value.readUInt32BE()) : hex(value)
    case 700: // float4
      return value.length === 4 ? String(value.readFloatBE()) : hex(value)
    case 701: // float8
      return value.length === 8 ? String(value.readDoubleBE()) : hex(value)
    case 18: // "char"
    case 19: // name
    case 25: // text
    case 114: // json
    case 1042: // bpchar
    case 1043: // varchar
      return value.toString('utf8', 0, maxShownBytes) + cut
    case 2950: // uuid
      return value.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
    default:
      return hex(value)
  }
}

function hex(value: Buffer): string {
  return `\\x${value.toString('hex', 0, 64)}${value.length > 64 ? ` … (${value.length} bytes)` : ''}`
}
