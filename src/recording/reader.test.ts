import { hash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import zlib from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readAll, recordStatement, sampleRecorder, temporaryFolder } from '../../test/recording/sample.ts'
import { canonicalJson } from './canonical-json.ts'
import { fileHead, genesis } from './format.ts'
import { RecordCutter } from './record-cutter.ts'
import { verifyRecording } from './verify.ts'

const runs = process.env['SLOW'] ? 5000 : 300
const later = Date.now() + 1e12
const session = 's_FUZZ000001'

let folder: ReturnType<typeof temporaryFolder>
let files: ReadonlyMap<string, Buffer>

beforeAll(async () => {
  folder = temporaryFolder()
  const recorder = sampleRecorder(folder.path, { limits: { segmentBytes: 1500 } })
  for (let count = 0; count < 5; count++) {
    recordStatement(recorder, `select ${count}`, Buffer.from(`row ${count}`))
    recorder.commit()
  }
  await recorder.close('', 0)
  files = new Map(fs.readdirSync(recorder.path).map(name => [name, fs.readFileSync(path.join(recorder.path, name))]))
})
afterAll(() => folder[Symbol.dispose]())

function put(content: ReadonlyMap<string, Buffer>): string {
  const at = path.join(folder.path, session)
  fs.rmSync(at, { recursive: true, force: true })
  fs.mkdirSync(at)
  for (const [name, bytes] of content) fs.writeFileSync(path.join(at, name), bytes)
  return at
}

/** Whether anything at all was thrown is what is tested; what is said of it is up to the caller. */
async function verify(content: ReadonlyMap<string, Buffer>): Promise<string> {
  return (await verifyRecording(put(content), later)).result
}

/** Records that follow from one another, whatever is in them. */
function chained(heads: readonly (Buffer | string)[]): { readonly raw: Buffer; readonly head: Buffer } {
  let chain = genesis(session)
  const raw: Buffer[] = []
  for (const text of heads) {
    const head = Buffer.from(text)
    const start = Buffer.alloc(8)
    start.writeUInt32BE(4 + head.length + 8, 0)
    start.writeUInt32BE(head.length, 4)
    const record = Buffer.concat([start, head])
    chain = hash('sha256', Buffer.concat([record, chain]), 'buffer')
    raw.push(record, chain.subarray(0, 8))
  }
  return { raw: Buffer.concat(raw), head: chain }
}

function segment(raw: Buffer, more: Record<string, unknown>, payload: Buffer = zlib.brotliCompressSync(raw)): Buffer {
  const previous = genesis(session).toString('hex')
  const header = {
    session,
    number: 1,
    first: 1,
    previous,
    count: 1,
    head: previous,
    raw: raw.length,
    codec: 'brotli',
    digest: hash('sha256', payload),
    ...more,
  }
  return Buffer.concat([Buffer.from(`agentgate-segment 1\n${canonicalJson(header)}\n`), payload])
}

describe('records', () => {
  it('are the same at any split of the bytes', () => {
    const { raw } = chained(['{"at":1,"kind":"a"}', '{"at":2}', 'x'.repeat(500), '{}'])
    const cut = (chunks: readonly Buffer[]) => {
      const cutter = new RecordCutter(1, genesis(session))
      const found: [number, string][] = []
      for (const chunk of chunks) {
        cutter.push(chunk)
        for (let record = cutter.next(); record !== undefined; record = cutter.next())
          found.push([record.sequence, record.head.toString()])
      }
      return { found, left: cutter.left }
    }
    const expected = cut([raw])
    expect(expected.found).toHaveLength(4)
    fc.assert(
      fc.property(fc.array(fc.nat(raw.length), { maxLength: 20 }), cuts => {
        const places = [0, ...cuts.sort((a, b) => a - b), raw.length]
        expect(cut(places.slice(1).map((end, index) => raw.subarray(places[index], end)))).toEqual(expected)
      }),
      { numRuns: runs },
    )
  })
})

describe('whatever a folder holds, reading it ends, and verify does not pass it', () => {
  it('random bytes under the names of a recording', async () => {
    const head = fileHead('journal', {
      session,
      number: 1,
      first: 1,
      previous: genesis(session).toString('hex'),
    })
    const name = fc.constantFrom(
      '000001.journal',
      '000001.segment',
      '000002.journal',
      '000007.segment',
      'manifest.json',
      'owner.json',
    )
    const bytes = fc
      .tuple(fc.boolean(), fc.uint8Array({ maxLength: 200 }))
      .map(([headed, tail]) => (headed ? Buffer.concat([head, tail]) : Buffer.from(tail)))
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, bytes), async content => {
        expect(['altered', 'unfinished', 'open']).toContain(await verify(new Map(Object.entries(content))))
      }),
      { numRuns: runs },
    )
  })

  it('a recording with some of its bytes changed, put in, or taken out', async () => {
    const names = [...files.keys()]
    const edit = fc.record({
      name: fc.constantFrom(...names),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      remove: fc.nat(40),
      insert: fc.uint8Array({ maxLength: 40 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async edits => {
        const content = new Map(files)
        for (const { name, at, remove, insert } of edits) {
          const bytes = content.get(name) ?? Buffer.alloc(0)
          const place = Math.floor(at * bytes.length)
          content.set(name, Buffer.concat([bytes.subarray(0, place), insert, bytes.subarray(place + remove)]))
        }
        const same = names.every(name => content.get(name)?.equals(files.get(name) ?? Buffer.alloc(0)))
        if (!same) expect(await verify(content)).toBe('altered')
      }),
      { numRuns: runs },
    )
  })

  it('records whose chain holds, with any JSON in them', async () => {
    const kind = fc.constantFrom('session-start', 'action', 'result', 'outcome', 'session-end', 'client', 'later')
    const head = fc.oneof(
      fc.json(),
      fc
        .record({ at: fc.nat(), kind, connection: fc.jsonValue(), action: fc.jsonValue(), view: fc.jsonValue() })
        .map(event => JSON.stringify(event)),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(head, { minLength: 1, maxLength: 5 }), async heads => {
        const { raw, head } = chained(heads)
        const bytes = segment(raw, { count: heads.length, head: head.toString('hex') })
        expect(['altered', 'unfinished']).toContain(await verify(new Map([['000001.segment', bytes]])))
      }),
      { numRuns: runs },
    )
  })

  it('a payload that is not what the header says, in either codec', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.constantFrom('zstd', 'brotli'), async (bytes, codec) => {
        const magic = codec === 'zstd' ? [0x28, 0xb5, 0x2f, 0xfd] : []
        const payload = Buffer.from([...magic, ...bytes])
        const content = segment(Buffer.alloc(1000), { codec, raw: 1000 }, payload)
        expect(await verify(new Map([['000001.segment', content]]))).toBe('altered')
      }),
      { numRuns: runs },
    )
  })
})

describe('a hostile file takes no more memory than the format allows', () => {
  async function grows(content: Buffer, name = '000001.segment'): Promise<number> {
    const at = put(new Map([[name, content]]))
    const before = process.memoryUsage.rss()
    let peak = before
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 5)
    const { events, problems } = await readAll(at)
    peak = Math.max(peak, process.memoryUsage.rss())
    clearInterval(watch)
    expect(events).toEqual([])
    expect(problems.length).toBeGreaterThan(0)
    return (peak - before) / (1 << 20)
  }
  const bomb = (megabytes: number) =>
    zlib.brotliCompressSync(Buffer.alloc(megabytes << 20), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } })

  it('one that unpacks to far more than it says', async () => {
    expect(await grows(segment(Buffer.alloc(1000), {}, bomb(500)))).toBeLessThan(100)
  })

  it('one that says more than is allowed', async () => {
    expect(await grows(segment(Buffer.alloc(0), { raw: 2 ** 40 }, bomb(1)))).toBeLessThan(100)
  })

  it('a record that says it is long, in a file that is not', async () => {
    const start = Buffer.from('03ffffff03fffff0', 'hex')
    const head = fileHead('journal', { session, number: 1, first: 1, previous: genesis(session).toString('hex') })
    const at = put(new Map([['000001.journal', Buffer.concat([head, start])]]))
    expect((await readAll(at)).end.torn).toBe(8)
  })

  it('an event of nothing but brackets', async () => {
    const { raw, head } = chained(['['.repeat(20 << 20)])
    expect(await grows(segment(raw, { head: head.toString('hex') }))).toBeLessThan(300)
  })

  it('a pipe in the place of a file does not hang it', async () => {
    const { execFileSync } = await import('node:child_process')
    const at = put(new Map())
    execFileSync('mkfifo', [path.join(at, '000001.journal'), path.join(at, 'manifest.json')])
    expect((await readAll(at)).problems).toMatchObject([{ text: 'is not a file' }])
    expect(await verifyRecording(at, later)).toMatchObject({ result: 'altered' })
  })
})
