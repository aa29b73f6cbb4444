import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  c1,
  readAll,
  recordStatement,
  sampleAction,
  sampleOutcome,
  sampleRecorder,
  sampleStart,
  temporaryFolder,
} from '../../test/recording/sample.ts'
import { connectionId } from '../ids.ts'
import { readManifest } from './manifest.ts'
import { openRecorder } from './recorder.ts'
import { newSessionKey } from './session-key.ts'
import { verificationText } from './verification-text.ts'
import { verifyRecording } from './verify.ts'

afterEach(() => vi.restoreAllMocks())

const now = () => Date.now()

describe('recorder', () => {
  it('gives back what was recorded, in order', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    recorder.append({ kind: 'connection', connection: c1, resource: 'db-prod', peer: '127.0.0.1:4711' })
    const action = recordStatement(recorder, 'select 1', Buffer.from('one row'))
    expect(action).toBe(3)
    await recorder.close('client went away', 0)

    const { events, problems, end } = await readAll(recorder.path)
    expect(problems).toEqual([])
    expect(events.map(placed => placed.event.kind)).toEqual([
      'session-start',
      'connection',
      'action',
      'result',
      'outcome',
      'session-end',
    ])
    expect(events.map(placed => placed.sequence)).toEqual([1, 2, 3, 4, 5, 6])
    expect(events[3]?.event).toMatchObject({ action: 3, bytes: Buffer.from('one row') })
    expect(end).toMatchObject({ events: 6, head: recorder.head().head, torn: 0 })
    expect(fs.readdirSync(recorder.path).sort()).toEqual(['000001.segment', 'manifest.json'])
  })

  it('puts an action into the hands of the operating system when it is committed, and not with each event', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    const journal = path.join(recorder.path, '000001.journal')
    const before = fs.statSync(journal).size
    recorder.append(sampleAction('select 1'))
    expect(fs.statSync(journal).size).toBe(before)
    recorder.commit()
    expect((await readAll(recorder.path)).events.at(-1)?.event.kind).toBe('action')
    await recorder.close('', 0)
  })

  it('writes what nobody waits for within the flush time', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { flushMilliseconds: 5 } })
    recorder.append({ kind: 'note', connection: null, text: 'hello' })
    await vi.waitFor(async () => expect((await readAll(recorder.path)).events.length).toBe(2))
    await recorder.close('', 0)
  })

  it('coalesces result bytes of one action and keeps those of two connections apart', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    const one = recorder.append(sampleAction('select 1'))
    const two = recorder.append({ ...sampleAction('select 2'), connection: connectionId(2) })
    for (const [connection, action, text] of [
      [c1, one, 'a'],
      [c1, one, 'b'],
      [connectionId(2), two, 'x'],
      [c1, one, 'c'],
    ] as const)
      void recorder.result({ kind: 'result', connection, action, bytes: Buffer.from(text) })
    await recorder.close('', 0)
    const results = (await readAll(recorder.path)).events.flatMap(({ event }) =>
      event.kind === 'result' ? [[event.action, event.bytes.toString()]] : [],
    )
    expect(results).toEqual([
      [one, 'ab'],
      [two, 'x'],
      [one, 'c'],
    ])
  })

  it('does not keep a reference to the bytes it is given', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    const action = recorder.append(sampleAction('select 1'))
    const bytes = Buffer.from('before')
    void recorder.result({ kind: 'result', connection: c1, action, bytes })
    bytes.fill('x')
    await recorder.close('', 0)
    expect((await readAll(recorder.path)).events.find(({ event }) => event.kind === 'result')?.event).toMatchObject({
      bytes: Buffer.from('before'),
    })
  })

  it('keeps a result up to the limit, says where it cut, and digests the rest', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { keepResultBytes: 10 } })
    const action = recorder.append(sampleAction('select 1'))
    for (const text of ['0123456', '789abc', 'def'])
      void recorder.result({ kind: 'result', connection: c1, action, bytes: Buffer.from(text) })
    recorder.append(sampleOutcome(action))
    await recorder.close('', 0)
    const { events } = await readAll(recorder.path)
    expect(events.map(({ event }) => event.kind)).toEqual([
      'session-start',
      'action',
      'result',
      'result-cut',
      'result-digest',
      'outcome',
      'session-end',
    ])
    expect(events[2]?.event).toMatchObject({ bytes: Buffer.from('0123456789') })
    expect(events[4]?.event).toMatchObject({
      action,
      kept: 10,
      bytes: 6,
      sha256: createHash('sha256').update('abcdef').digest('hex'),
    })
  })

  it('keeps all, or nothing, where the decision says so', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { keepResultBytes: 10, keepSessionBytes: 10 } })
    const rule = { name: 'exports', place: 'agentgate.yaml:9' }
    for (const keep of ['full', 'none', undefined] as const) {
      const results = keep === undefined ? undefined : { rule, keep }
      const action = recorder.append(
        sampleAction(`select '${keep ?? ''}'`, { outcome: 'allowed', rule: null, results }),
      )
      for (let piece = 0; piece < 3; piece++)
        void recorder.result({ kind: 'result', connection: c1, action, bytes: Buffer.from('0123456') })
      recorder.append(sampleOutcome(action))
    }
    await recorder.close('', 0)
    const { events } = await readAll(recorder.path)
    const kept = events.flatMap(({ event }) => (event.kind === 'result' ? [event.bytes.length] : []))
    const digests = events.flatMap(({ event }) => (event.kind === 'result-digest' ? [[event.kept, event.bytes]] : []))
    expect(kept).toEqual([21, 10])
    expect(digests).toEqual([
      [0, 21],
      [10, 11],
    ])
    expect(events.find(({ event }) => event.kind === 'action')?.event).toMatchObject({
      decision: { results: { rule } },
    })
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
  })

  it('keeps only the beginning of results once the session has used up its share', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { keepResultBytes: 200_000, keepSessionBytes: 300_000 } })
    const bytes = Buffer.alloc(50_000, 'x')
    for (let statement = 0; statement < 4; statement++) {
      const action = recorder.append(sampleAction('select 1'))
      for (let piece = 0; piece < 5; piece++) void recorder.result({ kind: 'result', connection: c1, action, bytes })
      recorder.append(sampleOutcome(action))
    }
    await recorder.close('', 0)
    const { events } = await readAll(recorder.path)
    const digests = events.flatMap(({ event }) => (event.kind === 'result-digest' ? [[event.kept, event.bytes]] : []))
    expect(digests).toEqual([
      [200_000, 50_000],
      [100_000, 150_000],
      [65_536, 184_464],
      [65_536, 184_464],
    ])
  })

  it.each([
    [
      'the connection',
      (recorder: ReturnType<typeof sampleRecorder>) =>
        recorder.append({ kind: 'connection-end', connection: c1, reason: '' }),
    ],
    ['the session', () => undefined],
  ])('digests what was cut of a statement that had not ended with %s', async (_, end) => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { keepResultBytes: 0 } })
    const action = recorder.append(sampleAction('select 1'))
    void recorder.result({ kind: 'result', connection: c1, action, bytes: Buffer.from('abc') })
    end(recorder)
    await recorder.close('', 0)
    const digests = (await readAll(recorder.path)).events.filter(({ event }) => event.kind === 'result-digest')
    expect(digests).toHaveLength(1)
  })

  it('keeps memory flat over a result far beyond what it keeps', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { keepResultBytes: 1 << 20 } })
    const action = recorder.append(sampleAction('copy big to stdout'))
    const bytes = Buffer.alloc(1 << 20, 'x')
    const before = process.memoryUsage.rss()
    for (let megabyte = 0; megabyte < 512; megabyte++)
      await recorder.result({ kind: 'result', connection: c1, action, bytes })
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 << 20)
    await recorder.close('', 0)
    expect(
      (await readAll(recorder.path)).events.find(({ event }) => event.kind === 'result-digest')?.event,
    ).toMatchObject({
      bytes: 511 << 20,
    })
  })

  it('records an event larger than its buffer, and refuses one larger than the format', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    recorder.append(sampleAction(`select '${'ä'.repeat(3_000_000)}'`))
    recorder.commit()
    expect(() => recorder.append(sampleAction('x'.repeat(70 << 20)))).toThrow(/more than a recording takes/)
    await recorder.close('', 0)
    expect(await verifyRecording(recorder.path, now())).toMatchObject({ result: 'whole' })
  })

  it('records any number of large events that nobody commits in between', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    for (let count = 0; count < 4; count++) recorder.append(sampleAction(`select '${'x'.repeat(25 << 20)}'`))
    recorder.commit()
    await recorder.close('', 0)
    expect(await verifyRecording(recorder.path, now())).toMatchObject({ result: 'whole', events: 6 })
  })

  it('refuses an event of more values than a reader takes', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    const action = sampleAction('select')
    const parameters = Array.from({ length: 1_100_000 }, () => null)
    expect(() => recorder.append({ ...action, view: { ...action.view, parameters } })).toThrow(/more values/)
    await recorder.close('', 0)
    expect(await verifyRecording(recorder.path, now())).toMatchObject({ result: 'whole' })
  })

  it('turns journals into segments by size and by time, and drops none', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { segmentBytes: 4096, segmentSeconds: 0.02 } })
    for (let count = 0; count < 200; count++) recordStatement(recorder, `select ${count}`, Buffer.alloc(100, 'x'))
    recorder.commit()
    await vi.waitFor(() => {
      expect(fs.readdirSync(recorder.path).filter(name => name.endsWith('.segment')).length).toBeGreaterThan(10)
      expect(fs.readdirSync(recorder.path).filter(name => name.endsWith('.journal'))).toHaveLength(1)
    })
    const files = fs.readdirSync(recorder.path).length
    recorder.append({ kind: 'note', connection: null, text: 'later' })
    await vi.waitFor(() => expect(fs.readdirSync(recorder.path).length).toBeGreaterThan(files))
    await recorder.close('', 0)
    const verification = await verifyRecording(recorder.path, now())
    expect(verificationText(verification, String)).toMatch(
      /^whole and unaltered: 603 events in \d+ segments, head [0-9a-f]{4}…[0-9a-f]{2}, not signed$/,
    )
  })

  it('asks for patience while sealing is behind', async () => {
    using folder = temporaryFolder()
    const held: (() => void)[] = []
    const recorder = sampleRecorder(folder.path, {
      limits: { segmentBytes: 1 << 20, behindBytes: 2 << 20 },
      sealer: {
        seal: () => new Promise(resolve => held.push(() => resolve({ segment: null, torn: 0 }))),
        close: () => Promise.resolve(),
      },
    })
    const action = recorder.append(sampleAction('copy'))
    const bytes = Buffer.alloc(1 << 20)
    const give = () => recorder.result({ kind: 'result', connection: c1, action, bytes })
    expect(give()).toBeUndefined()
    expect(give()).toBeUndefined()
    const behind = give()
    expect(behind).toBeInstanceOf(Promise)
    let released = false
    void behind?.then(() => (released = true))
    while (!released) {
      await vi.waitFor(() => expect(held.length).toBeGreaterThan(0))
      held.shift()?.()
      await new Promise(setImmediate)
    }
  })

  it('signs the manifest with the session key', async () => {
    using folder = temporaryFolder()
    const key = newSessionKey()
    const recorder = sampleRecorder(folder.path, { key })
    recordStatement(recorder, 'select 1', Buffer.alloc(0))
    await recorder.close('done', 0)
    expect(await readManifest(recorder.path)).toMatchObject({ kind: 'read', intact: true, key: key.publicKey })
    expect(await verifyRecording(recorder.path, now())).toMatchObject({ result: 'whole', signedBy: key.publicKey })
  })

  it('is open while it runs', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    expect(await verifyRecording(recorder.path, now())).toMatchObject({ result: 'open', events: 1 })
    await recorder.close('', 0)
  })

  it('can be read at any moment while it is written', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { segmentBytes: 3000 } })
    const reading = { enough: false }
    // As long as the reader needs, on however slow a machine; a millisecond between, as statements come.
    const writing = (async () => {
      let count = 0
      for (; !reading.enough; count++) {
        recordStatement(recorder, `select ${count}`, Buffer.alloc(50, 'x'))
        await new Promise(resolve => setTimeout(resolve, 1))
      }
      return count
    })()
    let last = 0
    for (let reads = 0; reads < 5; reads++) {
      const { events, problems } = await readAll(recorder.path)
      expect(problems).toEqual([])
      expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, index) => index + 1))
      expect(events.length).toBeGreaterThanOrEqual(last)
      last = events.length
    }
    reading.enough = true
    const count = await writing
    await recorder.close('', 0)
    expect(await verifyRecording(recorder.path, now())).toMatchObject({ result: 'whole', events: 3 * count + 2 })
  })

  it('ends once, however often it is asked to, and takes nothing after that', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    await Promise.all([recorder.close('one', 0), recorder.close('two', 0)])
    expect(() => recorder.append({ kind: 'note', connection: null, text: 'late' })).toThrow('the recording is closed')
    expect((await readAll(recorder.path)).events.filter(({ event }) => event.kind === 'session-end')).toHaveLength(1)
  })

  it('refuses to record into a folder that is there, and leaves that alone', () => {
    using folder = temporaryFolder()
    const start = sampleStart()
    fs.mkdirSync(path.join(folder.path, start.session))
    fs.writeFileSync(path.join(folder.path, start.session, 'mine'), '')
    expect(() => openRecorder({ folder: folder.path, start, onWarning: () => undefined })).toThrow(/already there/)
    expect(fs.readdirSync(path.join(folder.path, start.session))).toEqual(['mine'])
  })

  it('leaves nothing behind where it cannot start', () => {
    using folder = temporaryFolder()
    vi.spyOn(fs, 'writeSync').mockImplementation(() => {
      throw Object.assign(new Error('no'), { code: 'ENOSPC' })
    })
    expect(() => sampleRecorder(folder.path)).toThrow(/cannot start a recording in .*: the disk is full/)
    expect(fs.readdirSync(folder.path)).toEqual([])
  })
})
