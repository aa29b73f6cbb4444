import { ProtocolError } from '../../../errors.ts'
import type { BodyReader } from './body-reader.ts'
import { frontend, target } from './message-type.ts'

/** Parse: a text to be prepared under a name. `textStart`/`textEnd` lie in the reader's bytes. */
export interface ParseMessage {
  readonly name: string
  readonly textStart: number
  readonly textEnd: number
  readonly parameterTypes: readonly number[]
}

const none: readonly number[] = []

export function readParse(body: BodyReader): ParseMessage {
  const name = body.rawString()
  const textStart = body.at
  const textEnd = body.stringEnd()
  const count = body.uint16()
  const parameterTypes = count === 0 ? none : Array.from({ length: checked(count * 4, body) / 4 }, () => body.uint32())
  body.finish()
  return { name, textStart, textEnd, parameterTypes }
}

/** Bind: values for a prepared statement. Values are views into the message. */
export interface BindMessage {
  readonly portal: string
  readonly statement: string
  /** None: all text; one: for all; else one a value. */
  readonly formats: readonly number[]
  readonly values: readonly (Buffer | null)[]
  readonly resultFormats: readonly number[]
}

const noValues: readonly null[] = []

export function readBind(body: BodyReader): BindMessage {
  const portal = body.rawString()
  const statement = body.rawString()
  const formats = readFormats(body)
  const count = body.uint16()
  let values: (Buffer | null)[] | typeof noValues = noValues
  if (count > 0) {
    checked(count * 4, body)
    const read: (Buffer | null)[] = []
    for (let index = 0; index < count; index++) {
      const length = body.int32()
      if (length < -1) throw new ProtocolError('postgres', `a value of ${length} bytes`)
      read.push(length < 0 ? null : body.slice(length))
    }
    values = read
  }
  const resultFormats = readFormats(body)
  body.finish()
  if (formats.length > 1 && formats.length !== count)
    throw new ProtocolError('postgres', `${formats.length} formats for ${count} values`)
  return { portal, statement, formats, values, resultFormats }
}

const allText: readonly number[] = [0]
const allBinary: readonly number[] = [1]

function readFormats(body: BodyReader): readonly number[] {
  const count = body.uint16()
  if (count === 0) return none
  checked(count * 2, body)
  if (count === 1) return oneFormat(body.uint16())
  return Array.from({ length: count }, () => checkedFormat(body.uint16()))
}

function oneFormat(format: number): readonly number[] {
  return checkedFormat(format) === 0 ? allText : allBinary
}

function checkedFormat(format: number): number {
  if (format > 1) throw new ProtocolError('postgres', `format code ${format}`)
  return format
}

/** A count is believed only where its bytes are there: no list grows from a lie. */
function checked(bytes: number, body: BodyReader): number {
  if (bytes > body.left) throw new ProtocolError('postgres', 'a message shorter than its fields')
  return bytes
}

/** Describe and Close: what is meant, and its name. */
export function readTarget(body: BodyReader): { readonly kind: 'statement' | 'portal'; readonly name: string } {
  const kind = body.uint8()
  const name = body.rawString()
  body.finish()
  if (kind === target.Statement) return { kind: 'statement', name }
  if (kind === target.Portal) return { kind: 'portal', name }
  throw new ProtocolError('postgres', `nothing of kind ${kind}`)
}

export function readExecute(body: BodyReader): { readonly portal: string; readonly maxRows: number } {
  const portal = body.rawString()
  const maxRows = body.int32()
  body.finish()
  return { portal, maxRows }
}

/** A message of `type` from its parts: strings get their zero, numbers are given as Buffers. */
export function frame(type: number, ...parts: readonly (string | Buffer)[]): Buffer {
  const pieces = parts.map(part => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part))
  const length = pieces.reduce((sum, piece) => sum + piece.length, 4)
  const head = Buffer.alloc(5)
  head.writeUInt8(type, 0)
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, ...pieces], length + 1)
}

export function int16(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2)
  values.forEach((value, index) => bytes.writeUInt16BE(value & 0xffff, index * 2))
  return bytes
}

export function int32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  values.forEach((value, index) => bytes.writeUInt32BE(value >>> 0, index * 4))
  return bytes
}

export const queryMessage = (text: string) => frame(frontend.Query, text)
export const parseMessage = (name: string, text: string, types: readonly number[] = []) =>
  frame(frontend.Parse, name, text, int16(types.length), int32(...types))
export const describeMessage = (kind: keyof typeof target, name: string) =>
  frame(frontend.Describe, Buffer.of(target[kind]), name)
export const closeMessage = (kind: keyof typeof target, name: string) =>
  frame(frontend.Close, Buffer.of(target[kind]), name)
export const executeMessage = (portal: string, maxRows = 0) => frame(frontend.Execute, portal, int32(maxRows))
export const syncMessage = frame(frontend.Sync)
export const flushMessage = frame(frontend.Flush)
export const terminateMessage = frame(frontend.Terminate)

export function bindMessage(bind: BindMessage): Buffer {
  const values = bind.values.flatMap(value => (value === null ? [int32(-1)] : [int32(value.length), value]))
  return frame(
    frontend.Bind,
    bind.portal,
    bind.statement,
    int16(bind.formats.length, ...bind.formats),
    int16(bind.values.length),
    ...values,
    int16(bind.resultFormats.length, ...bind.resultFormats),
  )
}
