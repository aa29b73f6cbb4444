import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { execFile } from 'node:child_process'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { newSessionId, type ResourceName } from '../ids.ts'
import { clientSecret, rotateClientSecret } from './client-secret.ts'
import { Paths } from './paths.ts'
import { portsOfOthers, rememberedPort, rememberPort } from './ports.ts'
import { privateFolder, readPrivateFile, readState, updateState, writePrivateFile } from './private-file.ts'

let folder: string
let paths: Paths
const db = 'db' as ResourceName

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'ag-paths-'))
  paths = new Paths({ AGENTGATE_HOME: path.join(folder, 'home') })
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const modeOf = (file: string) => statSync(file).mode & 0o777

describe('where things live', () => {
  it('is below AGENTGATE_HOME where that is set, for its owner alone', () => {
    const home = path.join(folder, 'home')
    expect(paths.stateDir()).toBe(path.join(home, 'state'))
    expect(paths.configDir()).toBe(path.join(home, 'config'))
    expect(paths.recordingsDir()).toBe(path.join(home, 'data', 'recordings'))
    for (const made of [home, paths.stateDir(), paths.recordingsDir()]) expect(modeOf(made)).toBe(0o700)
  })

  it('is in the XDG folders else, and relative ones do not count', () => {
    const xdg = new Paths({ HOME: folder, XDG_STATE_HOME: path.join(folder, 's'), XDG_DATA_HOME: 'relative' })
    expect(xdg.stateDir()).toBe(path.join(folder, 's', 'agentgate'))
    expect(xdg.recordingsDir()).toBe(path.join(folder, '.local', 'share', 'agentgate', 'recordings'))
  })

  it('has sockets in a short folder where the home is long', () => {
    const session = newSessionId()
    expect(paths.runtimeDir(session)).toBe(path.join(folder, 'home', 'run', session))
    const long = new Paths({ AGENTGATE_HOME: path.join(folder, 'x'.repeat(90)) })
    const short = long.runtimeDir(session)
    expect(short).toMatch(new RegExp(`^/tmp/agentgate-${process.getuid!()}/[0-9a-f]{8}/${session}$`))
    expect(Buffer.byteLength(path.join(short, '.s.PGSQL.65535.lock'))).toBeLessThan(104)
    expect(modeOf(short)).toBe(0o700)
    rmSync(path.dirname(short), { recursive: true })
  })
})

describe('a private folder', () => {
  const refused = (make: () => unknown, message: string) => {
    expect(make).toThrow(expect.objectContaining({ code: 'STATE_UNSAFE', message: expect.stringContaining(message) }))
  }

  it.each([0o770, 0o707, 0o777])('is refused where others may write to it (%o)', mode => {
    const shared = path.join(folder, 'shared')
    mkdirSync(shared)
    chmodSync(shared, mode)
    refused(() => privateFolder(shared), 'can be written by other users')
  })

  it('is closed to readers', () => {
    const open = path.join(folder, 'open')
    mkdirSync(open, { mode: 0o755 })
    privateFolder(open)
    expect(modeOf(open)).toBe(0o700)
  })

  it('is refused where a folder above is open to everyone', () => {
    const above = path.join(folder, 'above')
    mkdirSync(above)
    chmodSync(above, 0o777)
    refused(() => privateFolder(path.join(above, 'mine')), 'which every user can write to')
    chmodSync(above, 0o1777) // as /tmp is: nobody can replace what is another's there
    expect(privateFolder(path.join(above, 'mine'))).toBe(path.join(above, 'mine'))
  })

  it('is refused where it is a link in a folder for all', () => {
    mkdirSync(path.join(folder, 'target'), { mode: 0o700 })
    symlinkSync(path.join(folder, 'target'), path.join(folder, 'link'))
    refused(() => privateFolder(path.join(folder, 'link'), { strict: true }), 'is not a folder')
    expect(privateFolder(path.join(folder, 'link'))).toBe(path.join(folder, 'link'))
  })

  it.skipIf(process.getuid!() !== 0)('is refused where it belongs to another user', async () => {
    const theirs = path.join(folder, 'theirs')
    mkdirSync(theirs, { mode: 0o700 })
    await promisify(execFile)('chown', ['65534', theirs])
    refused(() => privateFolder(theirs), 'belongs to another user')
    const file = path.join(folder, 'file')
    writeFileSync(file, '{}', { mode: 0o600 })
    await promisify(execFile)('chown', ['65534', file])
    refused(() => readPrivateFile(file), 'belongs to another user')
  })
})

describe('a private file', () => {
  it('is written whole, for its owner alone, and leaves nothing beside it', () => {
    const file = path.join(paths.stateDir(), 'x.json')
    writePrivateFile(file, 'one')
    writePrivateFile(file, 'two')
    expect(readFileSync(file, 'utf8')).toBe('two')
    expect(modeOf(file)).toBe(0o600)
    expect(readdirSync(paths.stateDir())).toEqual(['x.json'])
  })

  it('is refused where others may write to it, or it is damaged', () => {
    const file = path.join(paths.stateDir(), 'x.json')
    writePrivateFile(file, '{ "a": 1 }')
    chmodSync(file, 0o660)
    expect(() => readPrivateFile(file)).toThrow(expect.objectContaining({ code: 'STATE_UNSAFE' }))
    chmodSync(file, 0o600)
    const schema = z.object({ a: z.number() })
    expect(readState(file, schema, { a: 0 })).toEqual({ a: 1 })
    for (const damaged of ['{', '{ "a": "x" }']) {
      writePrivateFile(file, damaged)
      expect(() => readState(file, schema, { a: 0 })).toThrow(expect.objectContaining({ code: 'STATE_UNSAFE' }))
    }
    rmSync(file)
    expect(readState(file, schema, { a: 0 })).toEqual({ a: 0 })
  })

  it('takes the lock of a process that died', () => {
    const file = path.join(paths.stateDir(), 'x.json')
    writeFileSync(`${file}.lock`, '')
    utimesSync(`${file}.lock`, new Date(Date.now() - 60_000), new Date(Date.now() - 60_000))
    updateState(file, z.object({ a: z.number() }), { a: 0 }, before => ({
      content: { a: before.a + 1 },
      result: undefined,
    }))
    expect(existsSync(`${file}.lock`)).toBe(false)
  })

  it('loses no change of several processes at once', async () => {
    const file = path.join(paths.stateDir(), 'count.json')
    const script = path.join(folder, 'count.ts')
    writeFileSync(
      script,
      `import { z } from ${JSON.stringify(fileURLToPath(import.meta.resolve('zod')))}
import { updateState } from ${JSON.stringify(path.join(import.meta.dirname, 'private-file.ts'))}
for (let i = 0; i < 25; i++)
  updateState(${JSON.stringify(file)}, z.object({ a: z.number() }), { a: 0 }, before => ({ content: { a: before.a + 1 }, result: 0 }))`,
    )
    const bundle = path.join(folder, 'count.mjs')
    const { build } = await import('esbuild')
    await build({
      entryPoints: [script],
      outfile: bundle,
      bundle: true,
      platform: 'node',
      format: 'esm',
      logLevel: 'error',
    })
    await Promise.all(Array.from({ length: 4 }, async () => await promisify(execFile)(process.execPath, [bundle])))
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ a: 100 })
  })
})

describe('what is remembered', () => {
  it('is a resource’s port, per policy', () => {
    expect(rememberedPort(paths, '/a/agentgate.yaml', db)).toBeUndefined()
    rememberPort(paths, '/a/agentgate.yaml', db, 15432)
    rememberPort(paths, '/b/agentgate.yaml', db, 15433)
    expect(rememberedPort(paths, '/a/agentgate.yaml', db)).toBe(15432)
    expect([...portsOfOthers(paths, '/a/agentgate.yaml', db)]).toEqual([15433])
  })

  it('is the client’s secret, until it is rotated', () => {
    const first = clientSecret(paths, '/a', db)
    expect(first.reveal()).toMatch(/^ag_[A-Za-z0-9]{24}$/)
    expect(clientSecret(paths, '/a', db).reveal()).toBe(first.reveal())
    expect(clientSecret(paths, '/b', db).reveal()).not.toBe(first.reveal())
    const second = rotateClientSecret(paths, '/a', db)
    expect(second.reveal()).not.toBe(first.reveal())
    expect(clientSecret(paths, '/a', db).reveal()).toBe(second.reveal())
    expect(modeOf(paths.clientSecretsFile)).toBe(0o600)
  })
})
