import fs from 'node:fs'
import path from 'node:path'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { newContentKey, type ContentKey } from '../../src/recording/encryption/content-key.ts'
import { findKey } from '../../src/recording/encryption/find-key.ts'
import { readManifest } from '../../src/recording/manifest.ts'
import { readRecording } from '../../src/recording/reader.ts'
import type { Recorder } from '../../src/recording/recorder.ts'
import { recover } from '../../src/recording/recover.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import type { PlacedEvent } from '../../src/recording/stored-event.ts'
import { bury } from '../../src/recording/tombstone.ts'
import { verificationText } from '../../src/recording/verification-text.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import { noTrust } from '../../src/recording/witness/witness-check.ts'
import { Place } from '../support/agentgate.ts'
import { recordStatement, sampleRecorder, sampleStart, temporaryFolder } from './sample.ts'

let folder: ReturnType<typeof temporaryFolder>
let identity: string
let recipient: string
const secretText = 'select pancakes from breakfast'
const later = () => Date.now() + 3_600_000

beforeAll(async () => {
  identity = await generateIdentity()
  recipient = await identityToRecipient(identity)
})
beforeEach(() => (folder = temporaryFolder()))
afterEach(() => folder[Symbol.dispose]())

const liveKeyFile = () => path.join(folder.path, 'run', 'live.key')

async function begin(segmentBytes = 1200): Promise<Recorder> {
  const start = sampleStart()
  const encryption = { ...(await newContentKey(start.session, [recipient])), liveKeyFile: liveKeyFile() }
  return sampleRecorder(path.join(folder.path, 'recordings'), {
    start,
    encryption,
    key: newSessionKey(),
    limits: { segmentBytes },
  })
}

async function recorded(): Promise<string> {
  const recorder = await begin()
  for (let count = 1; count <= 5; count++) {
    recordStatement(recorder, `${secretText} ${count}`, Buffer.from(`a row of syrup ${count}`))
    recorder.commit()
  }
  await recorder.close('done', 0)
  return recorder.path
}

async function keyOf(at: string): Promise<ContentKey> {
  const found = await findKey(at, [identity])
  if (found.kind !== 'key') throw new Error(`no key: ${found.kind}`)
  return found.key
}

async function events(at: string, key: ContentKey | null): Promise<PlacedEvent[]> {
  const found: PlacedEvent[] = []
  for await (const item of readRecording(at, key)) {
    if (item.kind === 'problem') throw new Error(item.problem.text)
    if (item.kind === 'event') found.push(item.placed)
  }
  return found
}

function everythingIn(at: string): Buffer {
  return Buffer.concat(fs.readdirSync(at).map(name => fs.readFileSync(path.join(at, name))))
}

/** As after kill -9: nobody is there any more, whatever the files say. */
function die(at: string): void {
  const owner = path.join(at, 'owner.json')
  const content = JSON.parse(fs.readFileSync(owner, 'utf8')) as Record<string, unknown>
  fs.writeFileSync(owner, JSON.stringify({ ...content, pid: 2 ** 22 - 3, started: 1 }))
}

describe('an encrypted recording', () => {
  it('has nothing in clear on the disk, before it is sealed and after', async () => {
    const recorder = await begin(1_000_000)
    recordStatement(recorder, secretText, Buffer.from('a row of syrup'))
    recorder.commit()
    recorder.boundary()
    recordStatement(recorder, secretText, Buffer.from('a row of syrup'))
    recorder.commit()
    for (const text of ['pancakes', 'syrup', 'breakfast'])
      expect(everythingIn(recorder.path).includes(text), text).toBe(false)
    await recorder.close('done', 0)
    for (const text of ['pancakes', 'syrup', 'breakfast'])
      expect(everythingIn(recorder.path).includes(text), text).toBe(false)
    // What stays in clear is what a list shows.
    const read = await readManifest(recorder.path)
    expect(read).toMatchObject({ kind: 'read', intact: true, manifest: { summary: { statements: 2 } } })
    expect(fs.existsSync(liveKeyFile())).toBe(false)
  })

  it('is read with an identity of its recipients, while it goes on by its own user, and by nobody else', async () => {
    const at = await recorded()
    const texts = (await events(at, await keyOf(at))).flatMap(({ event }) =>
      event.kind === 'action' ? [event.view.text] : [],
    )
    expect(texts).toEqual([1, 2, 3, 4, 5].map(count => `${secretText} ${count}`))
    expect(await events(at, null)).toEqual([])
    expect(await findKey(at, [await generateIdentity()])).toEqual({ kind: 'wrong' })
    expect(await findKey(at, [])).toEqual({ kind: 'wrong' })
    const recorder = await begin()
    recordStatement(recorder, secretText, Buffer.from('row'))
    recorder.commit()
    const live = await findKey(recorder.path, [])
    expect(live.kind).toBe('key')
    if (live.kind === 'key') expect((await events(recorder.path, live.key)).length).toBeGreaterThan(1)
    await recorder.close('done', 0)
  })

  it('is verified without its key, and more with it', async () => {
    const at = await recorded()
    const without = await verifyRecording(at, later())
    expect(without).toMatchObject({ result: 'whole', problems: [] })
    expect(without.locked).toBe(without.events)
    expect(verificationText(without, String)).toContain('encrypted, their content not read')
    const key = await keyOf(at)
    expect(await verifyRecording(at, later(), noTrust, key)).toMatchObject({ result: 'whole', locked: 0 })
  })

  it('shows every change without its key too', async () => {
    const at = await recorded()
    const segments = fs.readdirSync(at).filter(name => name.endsWith('.segment'))
    expect(segments.length).toBeGreaterThan(2)
    for (const name of segments) {
      const file = path.join(at, name)
      const bytes = fs.readFileSync(file)
      for (let position = 0; position < bytes.length; position += 7) {
        const changed = Buffer.from(bytes)
        changed[position] = (changed[position] ?? 0) ^ 1
        fs.writeFileSync(file, changed)
        expect((await verifyRecording(at, later())).result, `${name} ${position}`).toBe('altered')
      }
      fs.rmSync(file)
      expect((await verifyRecording(at, later())).result).toBe('altered')
      fs.writeFileSync(file, bytes)
    }
    expect((await verifyRecording(at, later())).result).toBe('whole')
  }, 60_000)

  it('is no other session’s, and not opened with another’s key', async () => {
    const [one, other] = [await recorded(), await recorded()]
    const verification = await verifyRecording(one, later(), noTrust, await keyOf(other))
    expect(verification.result).toBe('altered')
  })

  it('loses its content for good with its key, and stays whole', async () => {
    const at = await recorded()
    fs.rmSync(path.join(at, 'key.age'))
    expect(await verifyRecording(at, later())).toMatchObject({ result: 'whole' })
    expect(await findKey(at, [identity])).toEqual({ kind: 'erased', erasure: null })
  })

  it('leaves nothing but its tombstone when it is deleted', async () => {
    const at = await recorded()
    const read = await readManifest(at)
    if (read.kind === 'read') await bury(at, read.manifest, { at: 1, by: 'maria', reason: 'retention' })
    expect(fs.readdirSync(at)).toEqual(['tombstone.json'])
  })

  it('is sealed after a crash with the key that its user still has, else left to who has an identity', async () => {
    for (const lost of [false, true]) {
      const recorder = await begin(1_000_000)
      recordStatement(recorder, secretText, Buffer.from('row'))
      recorder.commit()
      const at = path.join(folder.path, 'crashed', String(lost), path.basename(recorder.path))
      fs.mkdirSync(path.dirname(at), { recursive: true })
      fs.cpSync(recorder.path, at, { recursive: true })
      die(at)
      if (lost) {
        const owner = path.join(at, 'owner.json')
        fs.writeFileSync(owner, fs.readFileSync(owner, 'utf8').replace('live.key', 'gone.key'))
      }
      const done = await recover(path.dirname(at), later())
      expect(done).toMatchObject([{ kind: lost ? 'locked' : 'recovered' }])
      const texts = (await events(at, await keyOf(at))).map(({ event }) =>
        event.kind === 'action' ? event.view.text : '',
      )
      expect(texts).toContain(secretText)
      expect(everythingIn(at).includes('pancakes')).toBe(false)
      expect(await verifyRecording(at, later())).toMatchObject({ result: 'unfinished', problems: [] })
      await recorder.close('done', 0).catch(() => undefined)
    }
  })
})

describe('on the command line', () => {
  it('is listed without, and shown, replayed, exported and searched with --identity', async () => {
    const at = await recorded()
    const place = new Place('version: 1\n')
    const file = path.join(place.folder, 'auditor.txt')
    fs.writeFileSync(file, `# created: today\n# public key: ${recipient}\n${identity}\n`)
    const root = path.dirname(at)
    const run = async (...args: string[]) => await place.run(['sessions', ...args])
    expect((await run('list', '--recordings', root)).stdout).toContain(path.basename(at))
    for (const command of [
      ['show'],
      ['replay', '--text'],
      ['export', '--format', 'csv'],
      ['export', '--format', 'html'],
    ]) {
      const refused = await run(...command, at)
      expect({ code: refused.code, stdout: refused.stdout }).toEqual({ code: 4, stdout: '' })
      expect(refused.stderr).toMatch(/error: s_\w+ is encrypted\nhint: {2}with the identity of/)
      const { code, stdout, stderr } = await run(...command, at, '--identity', file)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toContain(secretText)
      expect(stdout).not.toContain('salt')
    }
    const found = await run('list', '--recordings', root, '--grep', 'PANCAKES', '--identity', file)
    expect(found.stdout).toContain(path.basename(at))
    const verified = await run('verify', at)
    expect(verified.code).toBe(0)
    expect(verified.stdout).toContain('encrypted, their content not read')
    expect((await run('verify', at, '--identity', file)).stdout).not.toContain('not read')
    expect((await run('show', at, '--identity', 'nothing.txt')).code).toBe(2)
  }, 60_000)
})
