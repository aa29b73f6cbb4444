import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../../errors.ts'
import { FrameReader } from './frame-reader.ts'
import { frame } from './frontend-messages.ts'

const runs = process.env['SLOW'] ? 20_000 : 300
const limit = 1_000_000

const messages = fc.array(fc.tuple(fc.integer({ min: 1, max: 255 }), fc.uint8Array({ maxLength: 20_000 })), {
  maxLength: 20,
})

/** Cuts bytes at the given places. */
function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map(cut => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length))
}

function readWhole(reader: FrameReader): string[] {
  const read: string[] = []
  while (reader.header(limit) && reader.whole()) {
    read.push(reader.bytes.toString('hex', reader.start, reader.start + reader.length))
    reader.skip(reader.length)
  }
  return read
}

describe('FrameReader', () => {
  test('gives the same messages however the stream is cut', () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat()), (list, cuts) => {
        const frames = list.map(([type, body]) => frame(type, Buffer.from(body)))
        const reader = new FrameReader()
        const read: string[] = []
        for (const chunk of split(Buffer.concat(frames), cuts)) {
          reader.push(chunk)
          read.push(...readWhole(reader))
        }
        expect(read).toEqual(frames.map(bytes => bytes.toString('hex')))
        expect(reader.size).toBe(0)
      }),
      { numRuns: runs },
    )
  })

  test('lets messages through in pieces, and pushes while others wait', () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat()), fc.infiniteStream(fc.boolean()), (list, cuts, pulls) => {
        const stream = Buffer.concat(list.map(([type, body]) => frame(type, Buffer.from(body))))
        const reader = new FrameReader()
        const read: Buffer[] = []
        let left = 0
        const pull = () => {
          for (;;) {
            if (left === 0) {
              if (!reader.header(limit)) return
              left = reader.length
            }
            const count = reader.some(left)
            if (count === 0) return
            read.push(Buffer.from(reader.bytes.subarray(reader.start, reader.start + count)))
            reader.skip(count)
            left -= count
          }
        }
        for (const chunk of split(stream, cuts)) {
          reader.push(chunk)
          if (pulls.next().value) pull()
        }
        pull()
        expect(Buffer.concat(read).equals(stream)).toBe(true)
      }),
      { numRuns: runs },
    )
  })

  test('random bytes give messages, a wait or a ProtocolError', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 })), chunks => {
        const reader = new FrameReader()
        try {
          for (const chunk of chunks) {
            reader.push(Buffer.from(chunk))
            readWhole(reader)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
        }
      }),
      { numRuns: runs },
    )
  })

  test('a megabyte that comes byte by byte is kept in few pieces, and in linear time', () => {
    const reader = new FrameReader()
    const bytes = frame(0x51, Buffer.alloc(1_000_000 - 4))
    const before = process.memoryUsage().arrayBuffers
    let early = 0
    for (let at = 0; at < bytes.length; at++) {
      if (reader.header(limit) && reader.whole()) early += 1
      reader.push(bytes.subarray(at, at + 1))
    }
    expect(early).toBe(0)
    expect(reader.header(limit) && reader.whole()).toBe(true)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8_000_000)
  }, 10_000)

  test.each([0, 3, limit + 1, 0xffffffff])('a length of %i ends it', length => {
    const reader = new FrameReader()
    const bytes = Buffer.alloc(5, 0x51)
    bytes.writeUInt32BE(length, 1)
    reader.push(bytes)
    expect(() => reader.header(limit)).toThrow(ProtocolError)
  })
})
