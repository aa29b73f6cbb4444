import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../../errors.ts'
import {
  errorFrame,
  readCopyResponse,
  readDataRow,
  readErrorFields,
  readParameterDescription,
  readRowDescription,
  rowDescription,
  type Field,
} from './backend-messages.ts'
import { BodyReader } from './body-reader.ts'
import { bindMessage, parseMessage, readBind, readExecute, readParse, readTarget } from './frontend-messages.ts'
import { backend } from './message-type.ts'
import { cancelPacket, OpeningReader, startupPacket } from './startup.ts'

const runs = process.env['SLOW'] ? 50_000 : 500
const bodyOf = (message: Buffer) => new BodyReader().over(message, 5, message.length)
const ascii = fc.string({ unit: 'grapheme-ascii' })

const readers: [string, (body: BodyReader) => unknown][] = [
  ['Parse', readParse],
  ['Bind', readBind],
  ['Describe', readTarget],
  ['Execute', readExecute],
  ['RowDescription', readRowDescription],
  ['DataRow', readDataRow],
  ['ParameterDescription', readParameterDescription],
  ['CopyResponse', readCopyResponse],
  ['ErrorResponse', readErrorFields],
]

test.each(readers)('%s of random bytes is a message or a ProtocolError', (_, read) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      try {
        read(new BodyReader().over(Buffer.from(bytes), 0, bytes.length))
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError)
      }
    }),
    { numRuns: runs },
  )
})

describe('what is written is read', () => {
  test('Parse', () => {
    fc.assert(
      fc.property(ascii, ascii, fc.array(fc.nat()), (name, text, types) => {
        const message = parseMessage(name, text, types)
        const read = readParse(bodyOf(message))
        expect(read).toMatchObject({ name, parameterTypes: types })
        expect(message.toString('latin1', read.textStart, read.textEnd)).toBe(text)
      }),
    )
  })

  test('Bind', () => {
    const formats = fc.array(fc.constantFrom(0, 1), { maxLength: 1 })
    const value = fc.option(fc.uint8Array().map(bytes => Buffer.from(bytes)))
    fc.assert(
      fc.property(
        ascii,
        ascii,
        formats,
        fc.array(value),
        fc.array(fc.constantFrom(0, 1)),
        (portal, statement, one, values, resultFormats) => {
          const bind = { portal, statement, formats: one, values, resultFormats }
          expect(readBind(bodyOf(bindMessage(bind)))).toEqual(bind)
        },
      ),
    )
  })

  test('RowDescription', () => {
    const field: fc.Arbitrary<Field> = fc.record({
      name: ascii,
      tableOid: fc.nat(),
      columnNumber: fc.integer({ min: -7, max: 1600 }),
      typeOid: fc.nat(),
      typeSize: fc.integer({ min: -2, max: 64 }),
      typeModifier: fc.integer({ min: -1, max: 1000 }),
      format: fc.constantFrom('text', 'binary'),
    })
    fc.assert(
      fc.property(fc.array(field), fields => {
        expect(readRowDescription(bodyOf(rowDescription(fields)))).toEqual(fields)
      }),
    )
  })

  test('ErrorResponse', () => {
    const fields = new Map([
      ['S', 'ERROR'],
      ['C', '42501'],
      ['M', 'no'],
    ])
    expect(readErrorFields(bodyOf(errorFrame(backend.ErrorResponse, fields)))).toEqual(fields)
  })
})

describe('openings', () => {
  const read = (bytes: Buffer, step: number) => {
    const reader = new OpeningReader()
    for (let at = 0; at < bytes.length; at += step) {
      reader.push(bytes.subarray(at, at + step))
      const opening = reader.next()
      if (opening !== undefined) return { opening, rest: Buffer.concat([reader.drain(), bytes.subarray(at + step)]) }
    }
    return undefined
  }

  test.each([1, 3, 1000])('a start-up packet in pieces of %i', step => {
    const parameters: [string, string][] = [
      ['user', 'maria'],
      ['options', '-c a=b'],
    ]
    const packet = Buffer.concat([startupPacket(2, parameters), Buffer.from('more')])
    expect(read(packet, step)).toMatchObject({
      opening: { kind: 'startup', major: 3, minor: 2, parameters },
      rest: Buffer.from('more'),
    })
  })

  test.each([4, 32, 256])('a cancel request with a key of %i bytes', size => {
    const key = Buffer.alloc(size, 7)
    expect(read(cancelPacket(-5, key), 1000)?.opening).toEqual({ kind: 'cancel', processId: -5, key })
  })

  test.each<[string, Buffer]>([
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n')],
    ['a length of 0', Buffer.alloc(8)],
    ['a length above the limit', Buffer.from('0000ffff00030000', 'hex')],
    ['a cancel key of 3 bytes', cancelPacket(1, Buffer.alloc(3))],
    ['a cancel key of 257 bytes', cancelPacket(1, Buffer.alloc(257))],
    ['a start-up packet without an end', startupPacket(0, [['user', 'x']]).fill(1, 8)],
  ])('%s is refused', (_, bytes) => {
    expect(() => read(bytes, 1000)).toThrow(ProtocolError)
  })

  test('random bytes give an opening, a wait or a ProtocolError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), bytes => {
        try {
          read(Buffer.from(bytes), 7)
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
        }
      }),
      { numRuns: runs },
    )
  })
})
