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
