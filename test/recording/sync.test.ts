import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { openTarget } from '../../src/recording/sync/place.ts'
import { syncAll, type SyncResult } from '../../src/recording/sync/sync-all.ts'
import { isSynced, readSyncState, syncSession } from '../../src/recording/sync/sync-session.ts'
import { openSyncedRecorder } from '../../src/recording/sync/synced-recorder.ts'
import { readManifest } from '../../src/recording/manifest.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import type { Recorder } from '../../src/recording/recorder.ts'
import { describeWith } from '../support/needs.ts'
import { until } from '../support/processes.ts'
import { bucket, faultyProxy, s3, s3Environment, S3Server, type Fault } from './s3-server.ts'
import { recordStatement, sampleStart, temporaryFolder } from './sample.ts'

const never = () => new AbortController().signal
/** Of the recorder that was made last. */
let warnings: string[] = []

async function record(
  folder: string,
  place: { to: string; endpoint?: string },
  env: Readonly<Record<string, string>> = s3Environment,
): Promise<Recorder> {
  const own: string[] = []
  warnings = own
  return await openSyncedRecorder(
    {
      folder,
      start: sampleStart(),
      key: newSessionKey(),
      limits: { segmentBytes: 1500 },
      onWarning: text => own.push(text),
    },
    place,
    env,
  )
}

function work(recorder: Recorder, times = 6): void {
  for (let count = 0; count < times; count++) {
    recordStatement(recorder, `select ${count}`, Buffer.alloc(400, count))
    recorder.commit()
  }
}

/** Everything that never changes again, by name. */
function sealed(folder: string): Record<string, string> {
  const names = fs.readdirSync(folder).filter(name => name.endsWith('.segment') || name === 'manifest.json')
  return Object.fromEntries(names.map(name => [name, fs.readFileSync(path.join(folder, name)).toString('base64')]))
}

async function syncedAll(folder: string, env: Readonly<Record<string, string>> = s3Environment): Promise<SyncResult[]> {
  const results: SyncResult[] = []
  for await (const result of syncAll(folder, env)) results.push(result)
  return results
}

async function expectSynced(recorder: Recorder, copy: string): Promise<void> {
  expect(sealed(copy)).toEqual(sealed(recorder.path))
  expect(fs.readdirSync(copy).sort()).toEqual(Object.keys(sealed(recorder.path)).sort())
  expect(await verifyRecording(copy, Date.now())).toMatchObject({ result: 'whole' })
  const read = await readManifest(recorder.path)
  expect(read.kind === 'read' && (await isSynced(recorder.path, read.manifest))).toBe(true)
}

describe('sync to a folder', () => {
  it('copies each part as it is sealed, and the manifest at the end', async () => {
    using local = temporaryFolder()
    using remote = temporaryFolder()
    const recorder = await record(local.path, { to: `file://${remote.path}` })
    const copy = path.join(remote.path, path.basename(recorder.path))
    work(recorder)
    await until('the first segment', () => fs.existsSync(path.join(copy, '000001.segment')))
    expect(fs.existsSync(path.join(copy, 'manifest.json'))).toBe(false)
    await recorder.close('done', 0)
    await expectSynced(recorder, copy)
    expect(warnings).toEqual([])
  })

  it('never writes over what is there, and says so', async () => {
    using local = temporaryFolder()
    using remote = temporaryFolder()
    const recorder = await record(local.path, { to: `file://${remote.path}/later` })
    work(recorder)
    await recorder.close('done', 0)
    // A share that is not mounted is no place to make folders in.
    expect(fs.readdirSync(remote.path)).toEqual([])
    expect(warnings).toEqual([
      'the recording is not uploaded: the folder is not there; it stays here and is tried again',
    ])
    const copy = path.join(remote.path, 'later', path.basename(recorder.path))
    fs.mkdirSync(copy, { recursive: true })
    fs.writeFileSync(path.join(copy, '000002.segment'), 'something else')
    const [result] = await syncedAll(local.path)
    expect(result).toMatchObject({ state: 'failed', uploaded: 0 })
    expect(result?.error).toMatch(/has another s_\w+\/000002.segment, which is not written over$/)
    expect(fs.readFileSync(path.join(copy, '000002.segment'), 'utf8')).toBe('something else')
    const read = await readManifest(recorder.path)
    expect(read.kind === 'read' && (await isSynced(recorder.path, read.manifest))).toBe(false)
    fs.rmSync(path.join(copy, '000002.segment'))
    expect(await syncedAll(local.path)).toMatchObject([{ state: 'synced', waiting: 0 }])
    await expectSynced(recorder, copy)
  }, 20_000)
})

describeWith('sync to S3', [s3], () => {
  let disk: ReturnType<typeof temporaryFolder>
  let server: S3Server
  beforeAll(async () => {
    disk = temporaryFolder()
    server = await S3Server.start(disk.path)
  }, 30_000)
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    disk[Symbol.dispose]()
  })
  const copyOf = (recorder: Recorder) => path.join(server.folder, bucket, 'team', path.basename(recorder.path))
  const place = (endpoint = server.endpoint) => ({ to: `s3://${bucket}/team`, endpoint })

  it('uploads each part as it is sealed, and the manifest at the end', async () => {
    using local = temporaryFolder()
    const recorder = await record(local.path, place())
    work(recorder)
    await until('the first segment', () => fs.existsSync(path.join(copyOf(recorder), '000001.segment')))
    await recorder.close('done', 0)
    expect(warnings).toEqual([])
    await expectSynced(recorder, copyOf(recorder))
    expect(await syncedAll(local.path)).toMatchObject([{ state: 'synced', uploaded: 0, waiting: 0, error: null }])
  })

  it('goes on where it was when the server comes back', async () => {
    using local = temporaryFolder()
    const recorder = await record(local.path, place())
    work(recorder)
    await until('the first segment', () => fs.existsSync(path.join(copyOf(recorder), '000001.segment')))
    await server.down()
    work(recorder)
    await until('a warning', () => warnings.length > 0, 20_000)
    expect(warnings[0]).toMatch(/cannot reach the bucket \(ECONN\w+\); it stays here and is tried again/)
    await server.up()
    await until('being told', () => warnings.includes('recordings can be uploaded again'), 20_000)
    await recorder.close('done', 0)
    await expectSynced(recorder, copyOf(recorder))
  }, 60_000)

  it('gets there through refusals, slow-downs and cut uploads, nothing twice, nothing missing', async () => {
    using local = temporaryFolder()
    let count = 0
    await using proxy = await faultyProxy(server.port, (request): Fault => {
      count += 1
      if (count % 5 === 1) return { kind: 'status', status: 503 }
      if (count % 5 === 2 && request.method === 'PUT') return { kind: 'cut' }
      if (count % 5 === 3) return { kind: 'status', status: 429 }
      return { kind: 'pass' }
    })
    const recorder = await record(local.path, place(proxy.endpoint))
    await recorder.close('done', 0)
    for (let tries = 0; tries < 40; tries++) if ((await syncedAll(local.path))[0]?.state === 'synced') break
    await expectSynced(recorder, copyOf(recorder))
    expect(count).toBeGreaterThan(5)
  }, 60_000)

  it('an answer that is lost is not taken for a failed upload, nor uploaded again', async () => {
    using local = temporaryFolder()
    const deaf = new Set<string>()
    await using proxy = await faultyProxy(server.port, ({ method, url = '' }): Fault => {
      if (method !== 'PUT' || deaf.has(url)) return { kind: 'pass' }
      deaf.add(url)
      return { kind: 'deaf' }
    })
    const recorder = await record(local.path, place(proxy.endpoint))
    work(recorder)
    await recorder.close('done', 0)
    for (let tries = 0; tries < 20; tries++) if ((await syncedAll(local.path))[0]?.state === 'synced') break
    await expectSynced(recorder, copyOf(recorder))
    expect(deaf.size).toBe(fs.readdirSync(copyOf(recorder)).length)
  }, 60_000)

  it.each([
    ['refuses by its policy', 403, 'AccessDenied', /the bucket refuses it \(403 AccessDenied\)/],
    ['is full', 507, 'InsufficientStorage', /the bucket cannot take it now \(507 InsufficientStorage\)/],
    ['is over its quota', 403, 'QuotaExceeded', /the bucket refuses it \(403 QuotaExceeded\)/],
    ['is in another region', 301, 'PermanentRedirect', /the bucket refuses it \(301 PermanentRedirect\)/],
    ['is overloaded', 503, 'SlowDown', /the bucket cannot take it now \(503 SlowDown\)/],
  ])(
    'a bucket that %s in the middle is loud, and all comes right once that is mended',
    async (_, status, code, says) => {
      using local = temporaryFolder()
      let puts = 0
      let broken = true
      await using proxy = await faultyProxy(server.port, ({ method }): Fault => {
        puts += method === 'PUT' ? 1 : 0
        return broken && puts > 2 ? { kind: 'status', status, code } : { kind: 'pass' }
      })
      const recorder = await record(local.path, place(proxy.endpoint))
      work(recorder)
      await until('a warning', () => warnings.length > 0)
      expect(warnings[0]).toMatch(says)
      expect(warnings[0]).toMatch(/it stays here and is tried again$/)
      await recorder.close('done', 0)
      expect(await syncedAll(local.path)).toMatchObject([
        { state: 'failed', error: expect.stringMatching(says) as unknown },
      ])
      expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
      broken = false
      expect(await syncedAll(local.path)).toMatchObject([{ state: 'synced', waiting: 0 }])
      await expectSynced(recorder, copyOf(recorder))
    },
    60_000,
  )

  it('two machines write beside each other, and one that has another’s session stops', async () => {
    using one = temporaryFolder()
    using other = temporaryFolder()
    const recorders = await Promise.all(
      [one, other].map(async ({ path: folder }) => {
        const recorder = await record(folder, place())
        work(recorder, 12)
        await recorder.close('done', 0)
        return recorder
      }),
    )
    for (const recorder of recorders) await expectSynced(recorder, copyOf(recorder))
    // The same session's id on a third machine, with other content: what is there stays.
    using third = temporaryFolder()
    const [first] = recorders
    const forged = path.join(third.path, path.basename(first?.path ?? ''))
    fs.cpSync(recorders[1]?.path ?? '', forged, { recursive: true })
    fs.writeFileSync(path.join(forged, 'sync.json'), JSON.stringify({ place: place(), verified: {} }))
    const [result] = await syncedAll(third.path)
    expect(result).toMatchObject({ state: 'failed', uploaded: 0 })
    expect(result?.error).toMatch(/has another \S+, which is not written over/)
    if (first !== undefined) await expectSynced(first, copyOf(first))
  }, 60_000)

  it('two at once come to the same end', async () => {
    using local = temporaryFolder()
    const recorder = await record(local.path, place('http://127.0.0.1:1'))
    work(recorder)
    await recorder.close('done', 0)
    const state = await readSyncState(recorder.path)
    expect(state).toMatchObject({ verified: {} })
    const target = await openTarget(place(), s3Environment)
    await Promise.all([1, 2, 3].map(async () => await syncSession(recorder.path, target, never())))
    await expectSynced(recorder, copyOf(recorder))
  }, 30_000)

  it.each([
    ['a wrong key', { ...s3Environment, AWS_SECRET_ACCESS_KEY: 'wrong' }, bucket, /refuses it \(403/],
    ['no key', { HOME: '/nonexistent' }, bucket, /there are no AWS credentials/],
    ['no bucket', s3Environment, 'nowhere-at-all', /no such bucket \(404 NoSuchBucket\)/],
  ])(
    '%s is said at once, and the local copy stays',
    async (_, env, name, says) => {
      using local = temporaryFolder()
      const recorder = await record(local.path, { to: `s3://${name}/team`, endpoint: server.endpoint }, env)
      work(recorder)
      await until('a warning', () => warnings.length > 0)
      expect(warnings[0]).toMatch(says)
      const closing = recorder.close('done', 0)
      await closing
      expect(Object.keys(sealed(recorder.path)).length).toBeGreaterThan(2)
      const [result] = await syncedAll(local.path, env)
      expect(result).toMatchObject({ state: 'failed', uploaded: 0 })
      expect(result?.error).toMatch(says)
    },
    30_000,
  )
})
