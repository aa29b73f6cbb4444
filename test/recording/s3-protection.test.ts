import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { newSessionKey } from '../../src/recording/session-key.ts'
import type { SyncPlace } from '../../src/policy/sync-place.ts'
import { syncAll, type SyncResult } from '../../src/recording/sync/sync-all.ts'
import { openSyncedRecorder } from '../../src/recording/sync/synced-recorder.ts'
import { describeWith } from '../support/needs.ts'
import { makeBucket, moto, s3, s3Environment, s3Request, S3Server, startMoto } from './s3-server.ts'
import { recordStatement, sampleStart, temporaryFolder } from './sample.ts'

const day = 86_400

/** Records something to there; what came of it, and the names of what is to be there. */
async function record(
  place: SyncPlace,
): Promise<{ result: SyncResult | undefined; keys: string[]; warnings: string[] }> {
  using local = temporaryFolder()
  const warnings: string[] = []
  const recorder = await openSyncedRecorder(
    { folder: local.path, start: sampleStart(), key: newSessionKey(), onWarning: text => warnings.push(text) },
    place,
    s3Environment,
  )
  recordStatement(recorder, 'select 1', Buffer.from('x'))
  recorder.commit()
  await recorder.close('done', 0)
  const results: SyncResult[] = []
  for await (const one of syncAll(local.path, s3Environment)) results.push(one)
  const session = path.basename(recorder.path)
  expect(fs.existsSync(path.join(recorder.path, '000001.segment'))).toBe(true)
  return { result: results[0], keys: ['000001.segment', 'manifest.json'].map(name => `${session}/${name}`), warnings }
}

describeWith('Object Lock and encryption of a bucket', [s3, moto], () => {
  let disk: ReturnType<typeof temporaryFolder>
  let versions: ReturnType<typeof temporaryFolder>
  let server: S3Server
  let aws: Awaited<ReturnType<typeof startMoto>>
  beforeAll(async () => {
    disk = temporaryFolder()
    versions = temporaryFolder()
    server = await S3Server.start(disk.path, ['--versioning-dir', versions.path])
    await makeBucket(server.endpoint, 'locked', { 'x-amz-bucket-object-lock-enabled': 'true' })
    await makeBucket(server.endpoint, 'plain')
    aws = await startMoto()
    await makeBucket(aws.endpoint, 'plain')
  }, 90_000)
  afterAll(async () => {
    await aws[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
    disk[Symbol.dispose]()
    versions[Symbol.dispose]()
  })

  it.each(['governance', 'compliance'] as const)(
    'locks each object, %s, as long as it is kept',
    async mode => {
      const place = { to: 's3://locked', endpoint: server.endpoint, 'object-lock': mode, retainSeconds: 30 * day }
      const { result, keys, warnings } = await record(place)
      expect({ result, warnings }).toMatchObject({ result: { state: 'synced', waiting: 0, error: null }, warnings: [] })
      for (const key of keys) {
        const head = await s3Request(server.endpoint, 'HEAD', `/locked/${key}`)
        expect(head.headers.get('x-amz-object-lock-mode')).toBe(mode.toUpperCase())
        const until = Date.parse(head.headers.get('x-amz-object-lock-retain-until-date') ?? '')
        expect(until).toBeGreaterThan(Date.now() + 30 * day * 1000)
        expect(until).toBeLessThan(Date.now() + 32 * day * 1000)
        const version = head.headers.get('x-amz-version-id') ?? ''
        const deleted = await s3Request(server.endpoint, 'DELETE', `/locked/${key}?versionId=${version}`)
        expect(deleted.status).toBe(403)
      }
    },
    30_000,
  )

  it('is loud where the bucket has no Object Lock, and keeps everything here', async () => {
    const place = {
      to: 's3://plain',
      endpoint: server.endpoint,
      'object-lock': 'compliance',
      retainSeconds: day,
    } as const
    const { result, warnings } = await record(place)
    expect(result).toMatchObject({ state: 'failed', uploaded: 0 })
    // It refuses the first time, and has the object all the same: then it is seen not to be locked.
    const says = /was asked for object-lock: does the bucket have that\?|does not say that \S+ is locked/
    expect(result?.error).toMatch(says)
    expect(warnings.join()).toMatch(says)
  }, 30_000)

  it.each([
    ['s3', 'AES256', null],
    ['kms', 'aws:kms', null],
    [{ kms: 'alias/recordings' }, 'aws:kms', 'alias/recordings'],
  ] as const)('has each object encrypted: %j', async (encryption, algorithm, key) => {
    const { result, keys } = await record({ to: 's3://plain/team', endpoint: aws.endpoint, encryption })
    expect(result).toMatchObject({ state: 'synced', waiting: 0, error: null })
    for (const name of keys) {
      const head = await s3Request(aws.endpoint, 'HEAD', `/plain/team/${name}`)
      expect(head.headers.get('x-amz-server-side-encryption')).toBe(algorithm)
      if (key !== null) expect(head.headers.get('x-amz-server-side-encryption-aws-kms-key-id')).toContain(key)
    }
  })

  it('is loud where the bucket lets the wish for encryption by', async () => {
    const { result } = await record({ to: 's3://plain', endpoint: server.endpoint, encryption: 'kms' })
    expect(result).toMatchObject({ state: 'failed' })
    expect(result?.error).toMatch(/encryption/)
  }, 30_000)
})
