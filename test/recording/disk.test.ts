import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { SyncPlace } from '../../src/policy/sync-place.ts'
import type { Recorder, RecorderOptions } from '../../src/recording/recorder.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { openTarget } from '../../src/recording/sync/place.ts'
import { syncAll, type SyncResult } from '../../src/recording/sync/sync-all.ts'
import { syncSession, writeSyncState } from '../../src/recording/sync/sync-session.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import { describeWith } from '../support/needs.ts'
import { bucket, s3, s3Environment, S3Server } from './s3-server.ts'
import { recordStatement, sampleRecorder, temporaryFolder } from './sample.ts'
import { smallDisk } from './small-disk.ts'

const needed = 'needs to mount a tmpfs'

function record(folder: string, options: Partial<RecorderOptions> = {}): Recorder {
  return sampleRecorder(folder, { key: newSessionKey(), ...options })
}

function work(recorder: Recorder, times: number, bytes: number): void {
  for (let count = 0; count < times; count++) {
    recordStatement(recorder, `select ${count}`, randomBytes(bytes))
    recorder.commit()
  }
}

async function ended(folder: string, place: SyncPlace): Promise<Recorder> {
  const recorder = record(folder, { limits: { segmentBytes: 100_000 } })
  work(recorder, 6, 60_000)
  await recorder.close('done', 0)
  await writeSyncState(recorder.path, { place, verified: {} })
  return recorder
}

async function synced(folder: string): Promise<SyncResult | undefined> {
  const results: SyncResult[] = []
  for await (const result of syncAll(folder, s3Environment)) results.push(result)
  return results[0]
}

function expectSame(recorder: Recorder, copy: string): void {
  const names = fs.readdirSync(recorder.path).filter(name => /^\d+\.segment$|^manifest\.json$/.test(name))
  expect(fs.readdirSync(copy).sort()).toEqual(names.sort())
  for (const name of names)
    expect(fs.readFileSync(path.join(copy, name)).equals(fs.readFileSync(path.join(recorder.path, name)))).toBe(true)
}

describe('a disk that is full', () => {
  it('stops no sealing for good: the journal stays, and is sealed once there is room', async context => {
    using folder = temporaryFolder()
    using disk = smallDisk(folder.path, '4m')
    if (disk === undefined) return context.skip(needed)
    const warnings: string[] = []
    const recorder = record(folder.path, { onWarning: text => warnings.push(text) })
    work(recorder, 10, 140_000)
    disk.fill(65_536) // for the next journal, and not for a segment
    await expect(recorder.sealed()).rejects.toMatchObject({ code: 'RECORDING_FAILED' })
    expect(warnings.join()).toMatch(/cannot be sealed yet \(ENOSPC\); they are safe in the journal/)
    expect(fs.readdirSync(recorder.path).filter(name => name.endsWith('.journal'))).toHaveLength(2)
    expect(fs.readdirSync(recorder.path).filter(name => name.endsWith('.tmp'))).toEqual([])
    recordStatement(recorder, 'select now', Buffer.from('x'))
    recorder.commit()
    disk.empty()
    await recorder.close('done', 0)
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
  })

  it('says that it is the spool’s quota, of which it has warned', async context => {
    using folder = temporaryFolder()
    using disk = smallDisk(folder.path, '40m')
    if (disk === undefined) return context.skip(needed)
    const warnings: string[] = []
    const recorder = record(folder.path, { limits: { spoolBytes: 5_000_000 }, onWarning: text => warnings.push(text) })
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const fill = () => {
        for (;;) {
          vi.advanceTimersByTime(2000) // it looks at most once a second
          work(recorder, 1, 100_000)
        }
      }
      expect(fill).toThrow(/recordings have used up their 5\.0 MB/)
    } finally {
      vi.useRealTimers()
    }
    expect(warnings[0]).toMatch(/recordings have used 4\.\d MB of 5\.0 MB .*; once it is full nothing is forwarded/)
    await recorder.close('done', 0)
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
  })

  it('has no part uploaded twice or forgotten where it cannot be noted that it was', async context => {
    using folder = temporaryFolder()
    using remote = temporaryFolder()
    using disk = smallDisk(folder.path, '4m')
    if (disk === undefined) return context.skip(needed)
    const place = { to: `file://${remote.path}` }
    const recorder = await ended(folder.path, place)
    const state = fs.readFileSync(path.join(recorder.path, 'sync.json'), 'utf8')
    disk.fill()
    const target = await openTarget(place, {})
    await expect(syncSession(recorder.path, target, new AbortController().signal)).rejects.toThrow(/ENOSPC/)
    expect(fs.readFileSync(path.join(recorder.path, 'sync.json'), 'utf8')).toBe(state)
    expect(await synced(folder.path)).toMatchObject({ state: 'failed', error: 'the disk is full' })
    disk.empty()
    expect(await synced(folder.path)).toMatchObject({ state: 'synced', waiting: 0 })
    expectSame(recorder, path.join(remote.path, path.basename(recorder.path)))
  })
})

describeWith('a bucket’s disk that is full', [s3], () => {
  it('is loud, keeps the local copy, and has all of it once there is room', async context => {
    using folder = temporaryFolder()
    using remote = temporaryFolder()
    using disk = smallDisk(remote.path, '1m')
    if (disk === undefined) return context.skip(needed)
    await using server = await S3Server.start(remote.path)
    disk.fill()
    const recorder = await ended(folder.path, { to: `s3://${bucket}/team`, endpoint: server.endpoint })
    const failed = await synced(folder.path)
    expect(failed).toMatchObject({ state: 'failed', uploaded: 0 })
    expect(failed?.error).toMatch(/the bucket (cannot take it now|refuses it) \(\d{3} \w+\)/)
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
    disk.empty()
    disk.grow('20m')
    expect(await synced(folder.path)).toMatchObject({ state: 'synced', waiting: 0 })
    expectSame(recorder, path.join(remote.path, bucket, 'team', path.basename(recorder.path)))
  }, 40_000)
})

describe('fsync', () => {
  afterEach(() => void vi.restoreAllMocks())

  it.each([
    ['none', { data: 0, files: 0 }],
    ['segment', { data: 0, files: 1 }],
    ['event', { data: 5, files: 1 }],
  ] as const)('%s', async (fsync, least) => {
    using folder = temporaryFolder()
    const handle = await fs.promises.open(path.join(folder.path, 'any'), 'w')
    const prototype = Object.getPrototypeOf(handle) as typeof handle
    await handle.close()
    const files = vi.spyOn(prototype, 'sync')
    const data = vi.spyOn(fs, 'fdatasyncSync')
    const recorder = record(folder.path, { limits: { fsync } })
    work(recorder, 5, 100)
    if (fsync === 'event') expect(data.mock.calls.length).toBeGreaterThanOrEqual(least.data)
    else expect(data).not.toHaveBeenCalled()
    await recorder.close('done', 0)
    if (least.files === 0) expect(files).not.toHaveBeenCalled()
    // Each segment and the manifest, and the folder that has their names.
    else expect(files.mock.calls.length).toBeGreaterThanOrEqual(4)
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
  })
})
