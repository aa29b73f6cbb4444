import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { newContentKey } from '../../src/recording/encryption/content-key.ts'
import { erase, readErasure } from '../../src/recording/encryption/erasure.ts'
import { findKey } from '../../src/recording/encryption/find-key.ts'
import { readManifest } from '../../src/recording/manifest.ts'
import { recover } from '../../src/recording/recover.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { syncAll } from '../../src/recording/sync/sync-all.ts'
import { openSyncedRecorder } from '../../src/recording/sync/synced-recorder.ts'
import { bury } from '../../src/recording/tombstone.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import { Place } from '../support/agentgate.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { bucket, s3, s3Environment, S3Server } from './s3-server.ts'
import { recordStatement, sampleStart, temporaryFolder } from './sample.ts'

const secretText = 'select pancakes from breakfast'
const later = () => Date.now() + 3_600_000

let identity: string
let recipient: string
let place: Place
let folder: string
beforeAll(async () => {
  identity = await generateIdentity()
  recipient = await identityToRecipient(identity)
})
beforeEach(() => {
  place = new Place('version: 1\n')
  folder = path.join(place.home, 'data', 'recordings')
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
})
afterEach(() => fs.rmSync(place.folder, { recursive: true, force: true }))

/** One that is encrypted, and copied to `to`; returns its folder. */
async function recorded(to: string, env: Readonly<Record<string, string>> = {}, endpoint?: string): Promise<string> {
  const recorder = await begin(to, env, endpoint)
  await recorder.close('done', 0)
  return recorder.path
}

async function begin(to: string, env: Readonly<Record<string, string>> = {}, endpoint?: string) {
  const start = sampleStart()
  const live = path.join(place.folder, 'run', `${start.session}.key`)
  const recorder = await openSyncedRecorder(
    {
      folder,
      start,
      key: newSessionKey(),
      encryption: { ...(await newContentKey(start.session, [recipient])), liveKeyFile: live },
      onWarning: () => undefined,
    },
    { to, ...(endpoint === undefined ? {} : { endpoint }) },
    env,
  )
  recordStatement(recorder, secretText, Buffer.from('a row of syrup'))
  recorder.commit()
  return recorder
}

const copies = () => {
  const at = path.join(place.folder, 'copies')
  fs.mkdirSync(at, { recursive: true })
  return at
}
const asAuditor = () => ({ env: { AGENTGATE_AGE_IDENTITY: identity } })
const sessions = async (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  await place.run(['sessions', ...args], { env: { AGENTGATE_AGE_IDENTITY: identity, ...env } })

describe('sessions erase', () => {
  it('takes the content for good, here and in the copy, and leaves the chain whole', async () => {
    const to = copies()
    const at = await recorded(`file://${to}`)
    const session = path.basename(at)
    expect(fs.existsSync(path.join(to, session, 'key.age'))).toBe(true)
    expect((await sessions(['show', session])).stdout).toContain(secretText)

    const erased = await sessions(['erase', session, '--reason', 'request 17', '--yes'])
    expect(erased).toMatchObject({ code: 0, stderr: '' })
    expect(erased.stdout).toMatch(
      new RegExp(
        `^the content of ${session} was erased on \\S+ by \\S+ \\(request 17\\); its key is gone from file://`,
      ),
    )
    for (const where of [at, path.join(to, session)]) {
      expect(fs.readdirSync(where)).not.toContain('key.age')
      expect(await readErasure(where)).toMatchObject({ kind: 'read', erasure: { session, reason: 'request 17' } })
    }

    const verified = await sessions(['verify', session])
    expect(verified.code).toBe(0)
    expect(verified.stdout).toMatch(
      /whole and unaltered: .* encrypted, their content erased on \S+ by \S+: request 17\)/,
    )
    for (const args of [
      ['show', session],
      ['replay', '--text', session],
      ...['jsonl', 'csv', 'html', 'asciicast'].map(format => ['export', '--format', format, session]),
      ['show', session, '--from', `file://${to}`],
      ['replay', '--text', session, '--from', `file://${to}`],
    ]) {
      const { code, stdout, stderr } = await sessions(args)
      expect({ code, stdout, args }).toEqual({ code: 4, stdout: '', args })
      expect(stderr).toMatch(
        /^error: the content of s_\w+ was erased on \S+ by \S+ \(request 17\)\nhint: {2}that it is whole/,
      )
    }
    const listed = await sessions(['list', '--json'])
    expect(JSON.parse(listed.stdout)).toMatchObject({ session, erased: true, state: 'closed', statements: 1 })
    const grep = await sessions(['list', '--grep', 'pancakes'])
    expect({ code: grep.code, stdout: grep.stdout }).toEqual({ code: 0, stdout: '' })
    expect(grep.stderr).toMatch(/^warning: not searched: the content of s_\w+ was erased/)
    expect((await sessions(['verify', '--all', '--from', `file://${to}`])).code).toBe(0)
  }, 60_000)

  it('refuses what is open, held or not encrypted, without a reason, and without a yes; then nothing is gone', async () => {
    const at = await recorded(`file://${copies()}`)
    const session = path.basename(at)
    const refused = async (text: RegExp, args: readonly string[]) => {
      const { code, stdout, stderr } = await sessions(['erase', ...args])
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toMatch(text)
      expect((await findKey(at, [identity])).kind).toBe('key')
    }
    await refused(/--reason/, [session, '--yes'])
    await refused(/error: why\?/, [session, '--yes', '--reason', ' '])
    await refused(/there is no terminal to ask at/, [session, '--reason', 'x'])
    await sessions(['hold', session])
    await refused(/is held\nhint: {2}agentgate sessions release s_/, [session, '--reason', 'x', '--yes'])
    await refused(/is held/, [at, '--reason', 'x', '--yes'])
    await sessions(['release', session])
    await sessions(['hold', '--who', 'MARIA'])
    await refused(/is held\nhint: {2}agentgate sessions release --who/, [session, '--reason', 'x', '--yes'])
    await sessions(['release', '--who', 'maria'])
    const open = await begin(`file://${copies()}`)
    await refused(/is still being recorded/, [path.basename(open.path), '--reason', 'x', '--yes'])
    await open.close('', 0)
    expect((await sessions(['erase', session, '--reason', 'x', '--yes'])).code).toBe(0)
  }, 60_000)

  it('was cut off: is said, opens nothing, and is ended by erasing again; the first word stays', async () => {
    const at = await recorded(`file://${copies()}`)
    const session = path.basename(at)
    const key = fs.readFileSync(path.join(at, 'key.age'))
    await erase(at, session, { at: 1, by: 'maria', reason: 'first' })
    fs.writeFileSync(path.join(at, 'key.age'), key)
    expect(await verifyRecording(at, later())).toMatchObject({ result: 'altered' })
    expect(await findKey(at, [identity])).toMatchObject({ kind: 'erased' })
    expect((await sessions(['erase', session, '--reason', 'second', '--yes'])).stdout).toContain('(first)')
    expect(await verifyRecording(at, later())).toMatchObject({ result: 'whole', erasure: { reason: 'first' } })
  })

  it('leaves nothing of itself when the recording is deleted', async () => {
    const at = await recorded(`file://${copies()}`)
    await erase(at, path.basename(at), { at: 1, by: 'maria', reason: 'first' })
    const read = await readManifest(at)
    if (read.kind === 'read') await bury(at, read.manifest, { at: 1, by: 'maria', reason: 'retention' })
    expect(fs.readdirSync(at).filter(name => name !== 'sync.json')).toEqual(['tombstone.json'])
  })

  it('says so where the copy cannot be reached, and sync takes the key from there later', async () => {
    const to = copies()
    const at = await recorded(`file://${to}`)
    fs.renameSync(to, `${to}-away`)
    const { code, stderr } = await sessions(['erase', path.basename(at), '--reason', 'x', '--yes'])
    expect(code).toBe(6)
    expect(stderr).toMatch(/is erased here, and its copy in file:\S+ is not: .*\nhint: {2}agentgate sessions sync/)
    expect((await sessions(['list'])).stdout).toContain('not in bucket yet')
    fs.renameSync(`${to}-away`, to)
    expect(fs.readdirSync(path.join(to, path.basename(at)))).toContain('key.age')
    expect((await sessions(['sync'])).code).toBe(0)
    expect(fs.readdirSync(path.join(to, path.basename(at)))).not.toContain('key.age')
    expect((await sessions(['list'])).stdout).toMatch(/content erased, in bucket\n/)
  }, 30_000)

  it('finds a key that was removed by hand gone, and says that nobody says by whom', async () => {
    const at = await recorded(`file://${copies()}`)
    fs.rmSync(path.join(at, 'key.age'))
    const { code, stderr } = await sessions(['show', path.basename(at)])
    expect(code).toBe(4)
    expect(stderr).toContain('is gone: its key is not there any more')
    expect((await verifyRecording(at, later())).result).toBe('whole')
  })
})

describeWith('sessions erase in a bucket', [s3], () => {
  const owned = new Owned()
  let server: S3Server
  let root: ReturnType<typeof temporaryFolder>
  beforeAll(async () => {
    root = temporaryFolder()
    server = owned.add(await S3Server.start(root.path))
  })
  afterAll(async () => {
    await owned.close()
    root[Symbol.dispose]()
  })

  it('deletes the key there and leaves the rest; who may not delete is told', async () => {
    const at = await recorded(`s3://${bucket}/team`, s3Environment, server.endpoint)
    const session = path.basename(at)
    const inBucket = () => fs.readdirSync(path.join(root.path, bucket, 'team', session)).sort()
    const before = inBucket()
    expect(before).toContain('key.age')
    const wrong = await sessions(['erase', session, '--reason', 'x', '--yes'], {
      ...s3Environment,
      AWS_ACCESS_KEY_ID: 'nobody',
    })
    expect(wrong.code).toBe(6)
    expect(wrong.stderr).toMatch(/is erased here, and its copy in s3:\S+ is not/)
    expect(inBucket()).toContain('key.age')
    const { code, stdout } = await sessions(['erase', session, '--reason', 'x', '--yes'], s3Environment)
    expect({ code, stdout }).toMatchObject({ code: 0 })
    expect(inBucket()).toEqual([...before.filter(name => name !== 'key.age'), 'erased.json'].sort())
    const env = { ...s3Environment, AWS_ENDPOINT_URL: server.endpoint }
    const from = ['--from', `s3://${bucket}/team`]
    expect(await sessions(['verify', session, ...from], env)).toMatchObject({ code: 0 })
    expect((await sessions(['show', session, ...from], env)).stderr).toContain('was erased on')
  }, 30_000)
})

describe('what a power cut leaves of an encrypted recording', () => {
  it('is uploaded by the next start, though nobody here can seal it, and read there by who has an identity', async () => {
    const to = copies()
    const recorder = await begin(`file://${to}`)
    const session = path.basename(recorder.path)
    const crashed = path.join(place.folder, 'crashed')
    fs.mkdirSync(crashed)
    const at = path.join(crashed, session)
    fs.cpSync(recorder.path, at, { recursive: true })
    await recorder.close('', 0)
    fs.rmSync(path.join(to, session), { recursive: true, force: true })
    // The process is gone, and with it the memory that the key was in.
    const owner = path.join(at, 'owner.json')
    const content = JSON.parse(fs.readFileSync(owner, 'utf8')) as Record<string, unknown>
    fs.writeFileSync(owner, JSON.stringify({ ...content, pid: 2 ** 22 - 3, started: 1, key: '/nowhere' }))
    fs.writeFileSync(path.join(at, 'sync.json'), JSON.stringify({ place: { to: `file://${to}` }, verified: {} }))
    const state = () => fs.readdirSync(path.join(to, session)).sort()

    expect(await recover(crashed, later())).toEqual([{ kind: 'locked', session }])
    expect(await recover(crashed, later())).toEqual([]) // told once
    for await (const result of syncAll(crashed, {})) expect(result).toMatchObject({ state: 'part', waiting: 0 })
    expect(state()).toEqual(['000001.journal', 'key.age'])
    const from = ['--from', `file://${to}`]
    expect((await sessions(['show', session, ...from])).stdout).toContain(secretText)
    const verified = await sessions(['verify', session, ...from])
    expect({ code: verified.code, stdout: verified.stdout }).toMatchObject({
      code: 7,
      stdout: expect.stringMatching(/unfinished: unaltered as far as it goes/) as string,
    })
  }, 30_000)
})

describe('bad input', () => {
  it('a key.age or an erased.json that is damaged, foreign or huge opens nothing and crashes nothing', async () => {
    const at = await recorded(`file://${copies()}`)
    const key = fs.readFileSync(path.join(at, 'key.age'))
    const session = path.basename(at)
    const runs = process.env['SLOW'] === '1' ? 2000 : 60
    const changed = fc.oneof(
      fc.uint8Array({ maxLength: 600 }).map(bytes => Buffer.from(bytes)),
      fc.tuple(fc.nat(key.length - 1), fc.integer({ min: 1, max: 255 })).map(([index, mask]) => {
        const bytes = Buffer.from(key)
        bytes[index] = (bytes[index] ?? 0) ^ mask
        return bytes
      }),
      fc.nat(key.length - 1).map(length => key.subarray(0, length)),
      fc.uint8Array({ minLength: 1, maxLength: 64 }).map(more => Buffer.concat([key, more])),
    )
    const whole = await verifyRecording(at, later())
    await fc.assert(
      fc.asyncProperty(changed, async bytes => {
        fs.writeFileSync(path.join(at, 'key.age'), bytes)
        const found = await findKey(at, [identity])
        // No other key comes out of it than the one that went in.
        if (found.kind === 'key')
          expect(await verifyRecording(at, later(), undefined, found.key)).toMatchObject({ result: 'whole' })
        else expect(found.kind).toBe('wrong')
        expect(await verifyRecording(at, later())).toEqual(whole)
      }),
      { numRuns: runs },
    )
    const big = fs.openSync(path.join(at, 'key.age'), 'w')
    fs.ftruncateSync(big, 2 ** 33)
    fs.closeSync(big)
    expect(await findKey(at, [identity])).toEqual({ kind: 'wrong' })
    fs.writeFileSync(path.join(at, 'key.age'), key)
    for (const text of ['', '{}', '{"format":"agentgate-erasure","version":2}', '\u001b[2J', 'x'.repeat(70_000)]) {
      fs.writeFileSync(path.join(at, 'erased.json'), text)
      expect(await verifyRecording(at, later()), text.slice(0, 20)).toMatchObject({ result: 'altered', erasure: null })
      expect(await findKey(at, [identity])).toMatchObject({ kind: 'key' })
    }
    fs.rmSync(path.join(at, 'erased.json'))
    await erase(at, session, { at: 1, by: '\u001b[2Jmaria', reason: '\u202eexe.' })
    const { stderr } = await place.run(['sessions', 'show', session], asAuditor())
    expect(stderr).not.toMatch(/[\u001b\u202e]/)
    const { stdout } = await place.run(['sessions', 'verify', session], asAuditor())
    expect(stdout).not.toMatch(/[\u001b\u202e]/)
  }, 60_000)
})
