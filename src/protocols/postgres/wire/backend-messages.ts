import type { BodyReader } from './body-reader.ts'
import { frame, int16, int32 } from './frontend-messages.ts'
import { backend } from './message-type.ts'

/** One column as the server describes it. */
export interface Field {
  readonly name: string
  /** 0 where it is not simply a table's column. */
  readonly tableOid: number
  readonly columnNumber: number
  readonly typeOid: number
  readonly typeSize: number
  readonly typeModifier: number
  readonly format: 'text' | 'binary'
}

export function readRowDescription(body: BodyReader): Field[] {
  const count = body.uint16()
  const fields: Field[] = []
  for (let index = 0; index < count; index++) {
    fields.push({
      name: body.utf8String(),
      tableOid: body.uint32(),
      columnNumber: body.int16(),
      typeOid: body.uint32(),
      typeSize: body.int16(),
      typeModifier: body.int32(),
      format: body.uint16() === 0 ? 'text' : 'binary',
    })
  }
  body.finish()
  return fields
}

export function rowDescription(fields: readonly Field[]): Buffer {
  return frame(
    backend.RowDescription,
    int16(fields.length),
    ...fields.flatMap(field => [
      field.name,
      int32(field.tableOid),
      int16(field.columnNumber),
      int32(field.typeOid),
      int16(field.typeSize),
      int32(field.typeModifier),
      int16(field.format === 'text' ? 0 : 1),
    ]),
  )
}

export function readParameterDescription(body: BodyReader): number[] {
  const types = Array.from({ length: Math.min(body.uint16(), body.left / 4) }, () => body.uint32())
  body.finish()
  return types
}

/** The values of a DataRow as views. */
export function readDataRow(body: BodyReader): (Buffer | null)[] {
  const count = body.uint16()
  const values: (Buffer | null)[] = []
  for (let index = 0; index < count; index++) {
    const length = body.int32()
    values.push(length < 0 ? null : body.slice(length))
  }
  body.finish()
  return values
}

/** Format of a copy, and of its columns. */
export function readCopyResponse(body: BodyReader): { readonly binary: boolean; readonly columns: readonly number[] } {
  const binary = body.uint8() === 1
  const columns = Array.from({ length: Math.min(body.uint16(), body.left / 2) }, () => body.uint16())
  body.finish()
  return { binary, columns }
}

/** Fields of an ErrorResponse or NoticeResponse by their letter (PG 18 docs §54.8). */
export type ErrorFields = ReadonlyMap<string, string>

export function readErrorFields(body: BodyReader): ErrorFields {
  const fields = new Map<string, string>()
  for (;;) {
    const code = body.uint8()
    if (code === 0) break
    fields.set(String.fromCharCode(code), body.utf8String())
  }
  body.finish()
  return fields
}

export function errorFrame(type: number, fields: ErrorFields): Buffer {
  const parts: (string | Buffer)[] = []
  for (const [code, text] of fields) parts.push(Buffer.from(code), text.replaceAll('\0', ''))
  return frame(type, ...parts, Buffer.of(0))
}

export interface ErrorParts {
  readonly severity: 'ERROR' | 'FATAL'
  readonly sqlstate: string
  readonly message: string
  readonly detail?: string | undefined
  readonly hint?: string | undefined
  readonly position?: number | undefined
}

export function errorResponse(parts: ErrorParts): Buffer {
  return errorFrame(backend.ErrorResponse, fieldsOf(parts.severity, parts))
}

export function notice(parts: Omit<ErrorParts, 'severity'>): Buffer {
  return errorFrame(backend.NoticeResponse, fieldsOf('NOTICE', parts))
}

function fieldsOf(severity: string, parts: Omit<ErrorParts, 'severity'>): ErrorFields {
  const fields = new Map([
    ['S', severity],
    ['V', severity],
    ['C', parts.sqlstate],
    ['M', parts.message],
  ])
  if (parts.detail !== undefined) fields.set('D', parts.detail)
  if (parts.hint !== undefined) fields.set('H', parts.hint)
  if (parts.position !== undefined) fields.set('P', String(parts.position))
  return fields
}

export const authenticationOk = frame(backend.Authentication, int32(0))
export const authenticationSasl = (mechanisms: readonly string[]) =>
  frame(backend.Authentication, int32(10), ...mechanisms, Buffer.of(0))
export const authenticationSaslContinue = (data: string) => frame(backend.Authentication, int32(11), Buffer.from(data))
export const authenticationSaslFinal = (data: string) => frame(backend.Authentication, int32(12), Buffer.from(data))
export const parameterStatus = (name: string, value: string) => frame(backend.ParameterStatus, name, value)
export const backendKeyData = (processId: number, key: Buffer) => frame(backend.BackendKeyData, int32(processId), key)
export const negotiateProtocolVersion = (minor: number, unsupported: readonly string[]) =>
  // PG 18 docs §54.7 call it the newest minor version; servers send the whole version number.
  frame(backend.NegotiateProtocolVersion, int32((3 << 16) | minor), int32(unsupported.length), ...unsupported)
export const readyForQuery = (status: 'I' | 'T' | 'E') => frame(backend.ReadyForQuery, Buffer.from(status))
