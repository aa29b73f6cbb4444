import { PassThrough } from 'node:stream'
import tls from 'node:tls'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { readClientHello } from './client-hello.ts'

/** What node's own TLS client sends first. */
async function helloFor(servername: string | undefined): Promise<Buffer> {
  const sent = new PassThrough()
  const duplex = new PassThrough()
  duplex.write = (chunk: unknown) => sent.write(chunk)
  const client = tls.connect({ socket: duplex, ...(servername === undefined ? {} : { servername }) })
  client.on('error', () => undefined)
  const chunk = await new Promise<Buffer>(resolve => sent.once('data', resolve))
  client.destroy()
  return chunk
}

/** The same handshake message in records of other sizes. */
function inRecords(hello: Buffer, sizes: readonly number[]): Buffer {
  const message = hello.subarray(5)
  const records: Buffer[] = []
  for (let at = 0, turn = 0; at < message.length; turn++) {
    const part = message.subarray(at, at + (sizes[turn % sizes.length] ?? 1))
    records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part)
    at += part.length
  }
  return Buffer.concat(records)
}

/** Adds an extension to a hello of one record, lengths put right. */
function withExtension(hello: Buffer, type: number, content: Buffer): Buffer {
  const extension = Buffer.concat([
    Buffer.from([type >> 8, type & 255, content.length >> 8, content.length & 255]),
    content,
  ])
  const grown = Buffer.concat([hello, extension])
  grown.writeUInt16BE(grown.length - 5, 3)
  grown.writeUIntBE(grown.length - 9, 6, 3)
  let at = 9 + 34
  at += 1 + grown.readUInt8(at)
  at += 2 + grown.readUInt16BE(at)
  at += 1 + grown.readUInt8(at)
  grown.writeUInt16BE(grown.readUInt16BE(at) + extension.length, at)
  return grown
}

describe('the first message of a TLS client', () => {
  let hello: Buffer
  beforeAll(async () => void (hello = await helloFor('registry.npmjs.org')))
  const wanted = { kind: 'hello', serverName: 'registry.npmjs.org', encrypted: false }

  it('says where it goes', () => expect(readClientHello(hello)).toEqual(wanted))

  it('may name nobody', async () =>
    expect(readClientHello(await helloFor(undefined))).toMatchObject({ kind: 'hello', serverName: undefined }))

  it('says the same in records of any size, and more is waited for at any cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 5 }),
        fc.nat(),
        (sizes, cut) => {
          const bytes = inRecords(hello, sizes)
          expect(readClientHello(bytes)).toEqual(wanted)
          expect(readClientHello(Buffer.concat([bytes, Buffer.from('more')]))).toEqual(wanted)
          expect(readClientHello(bytes.subarray(0, cut % bytes.length))).toEqual({ kind: 'more' })
        },
      ),
    )
  })

  it('is told apart from what is none', () => {
    expect(readClientHello(Buffer.from('GET / HTTP/1.1\r\n'))).toEqual({ kind: 'not-tls' })
    expect(readClientHello(Buffer.from('SSH-2.0-x\r\n'))).toEqual({ kind: 'not-tls' })
    expect(readClientHello(Buffer.from([22, 3, 1, 0, 0]))).toEqual({ kind: 'malformed' })
    expect(readClientHello(Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]))).toEqual({ kind: 'malformed' })
  })

  it('is not believed where it names two hosts', () => {
    const name = Buffer.from('evil.example')
    const content = Buffer.concat([Buffer.from([0, name.length + 3, 0, 0, name.length]), name])
    expect(readClientHello(withExtension(hello, 0, content))).toEqual({ kind: 'malformed' })
  })

  it('is known to hide where it goes', () =>
    expect(readClientHello(withExtension(hello, 0xfe0d, Buffer.alloc(10)))).toEqual({ ...wanted, encrypted: true }))

  it('never throws, whatever comes', () => {
    const kinds = ['more', 'not-tls', 'malformed', 'hello']
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), bytes => {
        expect(kinds).toContain(readClientHello(Buffer.from(bytes)).kind)
      }),
    )
    fc.assert(
      fc.property(fc.nat(), fc.nat(255), (at, value) => {
        const changed = Buffer.from(hello)
        changed[at % changed.length] = value
        expect(kinds).toContain(readClientHello(changed).kind)
      }),
    )
  })
})
