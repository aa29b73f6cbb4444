import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Paths } from '../config/paths.ts'
import {
  createApproverKey,
  hasApproverKey,
  proofVerifier,
  replaceApproverKey,
  approverPublicKey,
  unlock,
  verifyProof,
  type UnlockedKey,
} from './approver-key.ts'
import { loadPolicy, type LoadOptions } from './load.ts'
import { findPolicy, readPolicyFiles } from './policy-files.ts'
import { fakeKinds } from './testing/fake-kind.ts'
import { distrust, resign, trustedFiles, trustEntries, trustOf, trustPolicy } from './trust.ts'
import { watchPolicy } from './watch.ts'

let folder: string
let paths: Paths
let env: Record<string, string>
const passphrase = 'correct horse battery'

const policy = (more = '') => `version: 1
resources:
  db: { kind: fake, address: "db.internal", credential: { issuer: static, user: app, secret: "\${exec:touch evaluated}\${env:SECRET}" } }
${more}`

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'ag-trust-'))
  env = { AGENTGATE_HOME: path.join(folder, 'home'), PATH: process.env['PATH'] ?? '', SECRET: 's3cret' }
  paths = new Paths(env)
  writeFileSync(path.join(folder, 'agentgate.yaml'), policy())
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

let shared: { readonly key: UnlockedKey; readonly file: Buffer }
beforeAll(async () => {
  const home = mkdtempSync(path.join(os.tmpdir(), 'ag-trust-'))
  const first = new Paths({ AGENTGATE_HOME: home })
  shared = { key: await createApproverKey(first, passphrase), file: readFileSync(first.approverKeyFile) }
  rmSync(home, { recursive: true })
})

/** A passphrase that is set: the same for all tests, since making a key takes its time. */
function haveKey(): UnlockedKey {
  paths.stateDir()
  writeFileSync(paths.approverKeyFile, shared.file, { mode: 0o600 })
  return shared.key
}

const options = (more: Partial<LoadOptions> = {}): LoadOptions => ({ cwd: folder, env, kinds: fakeKinds, ...more })
const files = () => readPolicyFiles(findPolicy({ cwd: folder, env }), folder)
const write = (text: string) => writeFileSync(path.join(folder, 'agentgate.yaml'), text)
const errorOf = async (work: Promise<unknown>) => {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  return error as { code: string; message: string; hint: string }
}

describe('the approver’s key', () => {
  it('is one for a passphrase, and signs', async () => {
    expect(hasApproverKey(paths)).toBe(false)
    expect(proofVerifier(paths)).toBeNull()
    const key = await createApproverKey(paths, passphrase)
    const again = await unlock(paths, passphrase)
    expect(again.publicKey).toBe(key.publicKey)
    const proof = again.sign(Buffer.from('challenge'))
    expect(proofVerifier(paths)?.(Buffer.from('challenge'), proof)).toBe(true)
    expect(proofVerifier(paths)?.(Buffer.from('another'), proof)).toBe(false)
    expect(proofVerifier(paths)?.(Buffer.from('challenge'), `${proof.slice(0, -4)}AAAA`)).toBe(false)
    expect(proofVerifier(paths)?.(Buffer.from('challenge'), 'nonsense')).toBe(false)
    expect(verifyProof(key.publicKey, Buffer.from('challenge'), proof)).toBe(true)
    const kept = readFileSync(paths.approverKeyFile, 'utf8')
    expect(kept).not.toContain(passphrase)
    expect(Object.keys(JSON.parse(kept) as object)).toEqual(['version', 'scrypt', 'salt', 'publicKey'])
  })

  it('is not to be had with another passphrase, a short one, or twice', async () => {
    expect(await errorOf(createApproverKey(paths, 'short'))).toMatchObject({ code: 'PASSPHRASE' })
    expect(await errorOf(unlock(paths, passphrase))).toMatchObject({ message: 'no passphrase has been set' })
    await createApproverKey(paths, passphrase)
    expect(await errorOf(unlock(paths, 'another one'))).toMatchObject({
      code: 'PASSPHRASE',
      message: 'that is not the passphrase',
    })
    expect(await errorOf(createApproverKey(paths, passphrase))).toMatchObject({ code: 'PASSPHRASE' })
  })

  it('is the same however a letter was typed', async () => {
    const key = await createApproverKey(paths, 'caf\u00e9 caf\u00e9')
    expect((await unlock(paths, 'cafe\u0301 cafe\u0301')).publicKey).toBe(key.publicKey)
  })
})

describe('trust', () => {
  it('is refused to a policy that nobody has looked at, before it is even parsed', async () => {
    write('this: [is not a policy')
    const error = await errorOf(loadPolicy(options()))
    expect(error).toMatchObject({
      code: 'POLICY_UNTRUSTED',
      message: 'agentgate.yaml has not been trusted, so nothing in it counts',
    })
    expect(error.hint).toContain('agentgate trust')
    expect(error.hint).toContain('--policy-digest')
  })

  it('is for this path and this content', async () => {
    const key = haveKey()
    trustPolicy(paths, files(), key)
    expect((await loadPolicy(options())).trust).toEqual({ kind: 'trusted' })
    write(policy('rules: []\n'))
    expect(await errorOf(loadPolicy(options()))).toMatchObject({
      code: 'POLICY_UNTRUSTED',
      message: 'agentgate.yaml has changed since it was trusted',
    })
    write(policy())
    expect((await loadPolicy(options())).trust).toEqual({ kind: 'trusted' })
    mkdirSync(path.join(folder, 'copy'))
    cpSync(path.join(folder, 'agentgate.yaml'), path.join(folder, 'copy', 'agentgate.yaml'))
    expect(await errorOf(loadPolicy(options({ cwd: path.join(folder, 'copy') })))).toMatchObject({
      code: 'POLICY_UNTRUSTED',
    })
  })

  it('is for the newest content only: putting an older file back does not bring it back', async () => {
    const key = haveKey()
    trustPolicy(paths, files(), key)
    write(policy('rules: [ { name: a, when: {}, then: deny } ]\n'))
    trustPolicy(paths, files(), key)
    write(policy())
    expect(trustOf(paths, files(), undefined)).toEqual({ kind: 'untrusted', why: 'changed' })
  })

  it('goes by the real path, whatever link leads there', async () => {
    trustPolicy(paths, files(), haveKey())
    symlinkSync(folder, path.join(folder, 'link'))
    expect((await loadPolicy(options({ cwd: path.join(folder, 'link') }))).trust.kind).toBe('trusted')
  })

  it('does not count where it was not signed with the key', async () => {
    const key = haveKey()
    trustPolicy(paths, files(), key)
    const kept = JSON.parse(readFileSync(paths.trustFile, 'utf8')) as { entries: Record<string, string>[] }
    for (const [field, value] of [
      ['digest', `sha256:${'0'.repeat(64)}`],
      ['trustedAt', '2020-01-01T00:00:00.000Z'],
      ['signature', 'AAAA'],
    ] as const) {
      const forged = { ...kept, entries: [{ ...kept.entries[0], [field]: value }] }
      writeFileSync(paths.trustFile, JSON.stringify(forged))
      expect(trustOf(paths, files(), undefined)).toEqual({ kind: 'untrusted', why: 'void' })
    }
    // An entry for one path is none for another.
    write(policy())
    writeFileSync(paths.trustFile, JSON.stringify({ ...kept, entries: [{ ...kept.entries[0], path: '/elsewhere' }] }))
    expect(trustOf(paths, files(), undefined)).toEqual({ kind: 'untrusted', why: 'never' })
  })

  it('is void under a new key, unless the old one hands it over', async () => {
    const key = haveKey()
    trustPolicy(paths, files(), key)
    const second = await replaceApproverKey(paths, 'another passphrase')
    expect(trustOf(paths, files(), undefined)).toEqual({ kind: 'untrusted', why: 'void' })
    expect(await errorOf(loadPolicy(options()))).toMatchObject({
      message: 'agentgate.yaml was trusted with another passphrase than the one set now',
    })
    expect(trustEntries(paths).map(entry => entry.valid)).toEqual([false])
    expect(resign(paths, key.publicKey, second)).toEqual({ kept: 1, dropped: 0 })
    expect(trustOf(paths, files(), undefined)).toEqual({ kind: 'trusted' })
    expect(approverPublicKey(paths)).toBe(second.publicKey)
  })

  it('does not survive the key being taken away', async () => {
    trustPolicy(paths, files(), haveKey())
    rmSync(paths.approverKeyFile)
    expect(trustOf(paths, files(), undefined)).toEqual({ kind: 'untrusted', why: 'void' })
  })

  it('can be taken back', async () => {
    trustPolicy(paths, files(), haveKey())
    expect(distrust(paths, files().path)).toBe(true)
    expect(distrust(paths, files().path)).toBe(false)
    expect(trustOf(paths, files(), undefined)).toEqual({ kind: 'untrusted', why: 'never' })
  })

  it('remembers what was trusted, to compare with, and notices where that was altered', async () => {
    trustPolicy(paths, files(), haveKey())
    expect(trustedFiles(paths, files().path)).toEqual([{ name: 'agentgate.yaml', bytes: Buffer.from(policy()) }])
    const copy = path.join(paths.stateDir(), 'trusted', `${files().digest.slice(7)}.json`)
    writeFileSync(copy, JSON.stringify({ kind: 'file', files: [{ name: 'agentgate.yaml', base64: 'AAAA' }] }))
    expect(trustedFiles(paths, files().path)).toBeUndefined()
  })

  it('can be a digest, and then only that', async () => {
    const { digest } = files()
    expect((await loadPolicy(options({ digest }))).trust).toEqual({ kind: 'pinned' })
    expect((await loadPolicy(options({ env: { ...env, AGENTGATE_POLICY_DIGEST: digest } }))).trust).toEqual({
      kind: 'pinned',
    })
    trustPolicy(paths, files(), haveKey())
    for (const wrong of [`sha256:${'0'.repeat(64)}`, 'nonsense', digest.toUpperCase()])
      expect(await errorOf(loadPolicy(options({ digest: wrong })))).toMatchObject({ code: 'POLICY_UNTRUSTED' })
  })
})

describe('a policy’s files', () => {
  it('are looked for upwards, and by name', async () => {
    mkdirSync(path.join(folder, 'a', 'b'), { recursive: true })
    expect(findPolicy({ cwd: path.join(folder, 'a', 'b'), env })).toBe(path.join(folder, 'agentgate.yaml'))
    writeFileSync(path.join(folder, 'a', 'other.yaml'), policy())
    expect(findPolicy({ cwd: folder, env, path: 'a/other.yaml' })).toBe(path.join(folder, 'a', 'other.yaml'))
    expect(findPolicy({ cwd: folder, env: { AGENTGATE_POLICY: 'a/other.yaml' } })).toBe(
      path.join(folder, 'a', 'other.yaml'),
    )
    expect(() => findPolicy({ cwd: folder, env, path: 'nope' })).toThrow(expect.objectContaining({ code: 'NO_POLICY' }))
    expect(() => findPolicy({ cwd: os.tmpdir(), env })).toThrow(expect.objectContaining({ code: 'NO_POLICY' }))
    await Promise.resolve()
  })

  it('of a folder are its *.yaml without tests, in the order of their names', () => {
    const many = path.join(folder, 'many')
    mkdirSync(many)
    for (const name of ['b.yaml', 'a.yaml', 'a.test.yaml', 'notes.txt', '.hidden.yaml'])
      writeFileSync(path.join(many, name), policy())
    expect(readPolicyFiles(many, folder).files.map(file => [file.name, file.shown])).toEqual([
      ['many/a.yaml', 'many/a.yaml'],
      ['many/b.yaml', 'many/b.yaml'],
    ])
    writeFileSync(path.join(many, 'c.yml'), policy())
    expect(() => readPolicyFiles(many, folder)).toThrow(
      expect.objectContaining({ code: 'POLICY_INVALID', message: expect.stringContaining('c.yml') }),
    )
  })

  it('have a digest of their content: not of where they are, but of how a folder’s are called', () => {
    const digestOf = (name: string, content: Record<string, string>) => {
      const place = path.join(folder, name)
      mkdirSync(place)
      for (const [file, text] of Object.entries(content)) writeFileSync(path.join(place, file), text)
      return readPolicyFiles(place, folder).digest
    }
    const first = digestOf('one', { 'a.yaml': 'x', 'b.yaml': 'y' })
    expect(digestOf('two', { 'a.yaml': 'x', 'b.yaml': 'y' })).toBe(first)
    expect(digestOf('three', { 'a.yaml': 'y', 'b.yaml': 'x' })).not.toBe(first)
    expect(digestOf('four', { 'a.yaml': 'xy', 'b.yaml': '' })).not.toBe(first)
    expect(digestOf('five', { 'a.yaml': 'x', 'c.yaml': 'y' })).not.toBe(first)
    const file = path.join(folder, 'one', 'a.yaml')
    cpSync(file, path.join(folder, 'elsewhere.yaml'))
    expect(readPolicyFiles(path.join(folder, 'elsewhere.yaml'), folder).digest).toBe(
      readPolicyFiles(file, folder).digest,
    )
  })
})

describe('watching', () => {
  interface Seen {
    readonly changes: string[]
    readonly notices: string[]
    readonly controller: AbortController
  }
  const watch = async (more: Partial<LoadOptions> = {}): Promise<Seen> => {
    const seen: Seen = { changes: [], notices: [], controller: new AbortController() }
    watchPolicy(await loadPolicy(options(more)), {
      ...options(more),
      signal: seen.controller.signal,
      onChange: loaded => void seen.changes.push(loaded.digest),
      onNotice: text => void seen.notices.push(text),
      intervalMs: 20,
    })
    return seen
  }
  const until = async (holds: () => boolean) => {
    const deadline = performance.now() + 20_000
    while (!holds()) {
      if (performance.now() > deadline) throw new Error('it never held')
      await sleep(5)
    }
  }
  const changed = policy('rules: [ { name: a, when: {}, then: deny } ]\n')

  it('lets a change count once it is trusted, and says so until then', async () => {
    const key = haveKey()
    trustPolicy(paths, files(), key)
    const seen = await watch()
    write(changed)
    await until(() => seen.notices.length > 0)
    expect(seen.notices[0]).toContain('until you look at it with: agentgate trust')
    expect(seen.changes).toEqual([])
    trustPolicy(paths, files(), key)
    await until(() => seen.changes.length > 0)
    expect(seen.changes).toEqual([files().digest])
    expect(seen.notices).toHaveLength(1)
    seen.controller.abort()
  })

  it('keeps what held where the new content is broken or gone, and follows when it is whole again', async () => {
    const key = haveKey()
    trustPolicy(paths, files(), key)
    const seen = await watch()
    write('version: [')
    trustPolicy(paths, files(), key)
    await until(() => seen.notices.some(text => text.includes('cannot be used')))
    rmSync(path.join(folder, 'agentgate.yaml'))
    await until(() => seen.notices.some(text => text.includes('cannot be read')))
    expect(seen.changes).toEqual([])
    write(changed)
    trustPolicy(paths, files(), key)
    await until(() => seen.changes.length > 0)
    seen.controller.abort()
  })

  it('takes no other content than the one that was pinned', async () => {
    const seen = await watch({ digest: files().digest })
    write(changed)
    await until(() => seen.notices.length > 0)
    expect(seen.notices[0]).toContain('not the content that --policy-digest asks for')
    expect(seen.changes).toEqual([])
    seen.controller.abort()
  })

  it('ends with its signal', async () => {
    const key = haveKey()
    trustPolicy(paths, files(), key)
    const seen = await watch()
    seen.controller.abort()
    write(changed)
    await sleep(100)
    expect(seen.notices).toEqual([])
  })
})
