import { execFileSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newContentKey } from '../../src/recording/encryption/content-key.ts'
import { newSessionKey, type SessionKey } from '../../src/recording/session-key.ts'
import { appendReceipt } from '../../src/recording/witness/receipts-file.ts'
import { signCertificate, signReceipt } from '../../src/recording/witness/receipt.ts'
import { recordStatement, sampleAction, sampleRecorder, sampleStart } from '../recording/sample.ts'
import { Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { runProgram } from '../support/processes.ts'

let place: Place
let recordings: string
let broker: SessionKey
let key: string
let identity: string

function pem(rawKey: string): string {
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(rawKey, 'base64')])
  return createPublicKey({ key: der, format: 'der', type: 'spki' }).export({ format: 'pem', type: 'spki' }).toString()
}

/** As a broker would have witnessed it; `until` the end, or an event before it. */
async function recorded(text: string, by: SessionKey, until: 'end' | 2, recipient?: string): Promise<string> {
  const own = newSessionKey()
  const start = sampleStart()
  const { session } = start
  const at = Date.now()
  const certificate = signCertificate(
    { session, recordingKey: own.publicKey, principal: 'maria', actor: 'claude', host: 'laptop', at },
    by,
  )
  const encryption =
    recipient === undefined
      ? undefined
      : { ...(await newContentKey(session, [recipient])), liveKeyFile: path.join(place.folder, `${session}.key`) }
  const recorder = sampleRecorder(recordings, { start, key: own, certificate, encryption })
  const receipt = async (final: boolean) => {
    const { sequence, head } = final ? recorder.head() : recorder.boundary()
    await appendReceipt(recorder.path, signReceipt({ session, sequence, head, final, at: Date.now() }, by))
  }
  recordStatement(recorder, text, Buffer.from('row'))
  recorder.commit()
  if (until === 2) await receipt(false)
  recordStatement(recorder, `${text} again`, Buffer.from('row'))
  if (recipient !== undefined) recorder.append(sampleAction(text, { outcome: 'denied', rule: null, message: 'no' }))
  await recorder.close('done', 0)
  if (until === 'end') await receipt(true)
  return session
}

beforeAll(async () => {
  place = new Place('version: 1\n')
  recordings = path.join(place.home, 'data', 'recordings')
  fs.mkdirSync(recordings, { recursive: true, mode: 0o700 })
  broker = newSessionKey()
  key = path.join(place.folder, 'broker.pem')
  fs.writeFileSync(key, pem(broker.publicKey))
  identity = await generateIdentity()
})
afterAll(() => fs.rmSync(place.folder, { recursive: true, force: true }))

const evidence = async (out: string, ...args: string[]) =>
  await place.run(['report', 'evidence', '--out', out, '--key', key, ...args])
/** What the auditor runs, far from agentgate. */
const verified = async (folder: string, ...args: string[]) =>
  await runProgram(process.execPath, [path.join(folder, 'verify.mjs'), ...args], { cwd: '/', env: { PATH: '' } })

describeWith('evidence as one file', [program('unzip')], () => {
  let bundle: string
  let whole: string
  let partly: string
  beforeAll(async () => {
    whole = await recorded('select one', broker, 'end')
    partly = await recorded('select \u001b[2J', broker, 2)
    const made = await evidence('q4.zip')
    expect(made).toMatchObject({ code: 0, stderr: '' })
    expect(made.stdout).toMatch(/q4\.zip {2}\d+ files, 2 sessions: 2 whole, 0 open or unfinished, 0 altered\n$/)
    expect(fs.readdirSync(place.folder).filter(name => name.includes('.tmp'))).toEqual([])
    expect(fs.statSync(path.join(place.folder, 'q4.zip')).mode & 0o777).toBe(0o600)
    execFileSync('unzip', ['-q', path.join(place.folder, 'q4.zip'), '-d', path.join(place.folder, 'unzipped')])
    bundle = path.join(place.folder, 'unzipped', 'q4')
  })

  const copy = (change: (folder: string) => void): string => {
    const folder = fs.mkdtempSync(path.join(place.folder, 'copy-'))
    fs.cpSync(bundle, folder, { recursive: true })
    change(folder)
    return folder
  }
  /** As who alters the folder would, who knows how it is made. */
  const resum = (folder: string) => {
    const names = execFileSync('find', ['.', '-type', 'f', '!', '-name', 'SHA256SUMS', '-printf', '%P\\0'], {
      cwd: folder,
    })
    const args = names.toString().split('\0').filter(Boolean)
    fs.writeFileSync(path.join(folder, 'SHA256SUMS'), execFileSync('sha256sum', args, { cwd: folder }))
  }

  it('verifies itself with the broker’s public key and nothing of agentgate', async () => {
    const { code, stdout, stderr } = await verified(bundle, key)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(new RegExp(`ok +${whole}: \\d+ events, head [0-9a-f]{8}, countersigned to its end at `))
    expect(stdout).toMatch(
      new RegExp(`ok +${partly}: .*, countersigned up to event \\d+ at .*; what came after is not`),
    )
    expect(stdout).toMatch(/all of it holds\n$/)
    expect(stdout).not.toContain('\u001b')
    expect((await verified(bundle)).stdout).toContain('not held against a broker')
    execFileSync('sha256sum', ['-c', '--quiet', 'SHA256SUMS'], { cwd: bundle })
  })

  const manifestOf = (folder: string) => path.join(folder, 'manifests', `${whole}.json`)
  it.each<readonly [string, (folder: string) => void, RegExp]>([
    [
      'a report that was altered',
      folder => fs.appendFileSync(path.join(folder, 'access.csv'), 'x'),
      /access\.csv is not as/,
    ],
    ['a file that was removed', folder => fs.rmSync(path.join(folder, 'denials.csv')), /denials\.csv is not as/],
    [
      'a file that was added',
      folder => fs.writeFileSync(path.join(folder, 'more\u001b.csv'), ''),
      /more\\u001b\.csv is not in/,
    ],
    [
      'a manifest that was altered, with its sums',
      folder => {
        fs.writeFileSync(manifestOf(folder), fs.readFileSync(manifestOf(folder), 'utf8').replace('maria', 'mario'))
        resum(folder)
      },
      /its manifest is not as it was sealed/,
    ],
    [
      'an altered manifest that was sealed anew',
      folder => {
        const { seal: _, ...manifest } = JSON.parse(fs.readFileSync(manifestOf(folder), 'utf8')) as {
          seal: object
          start: object
        }
        const own = newSessionKey()
        const forged = { ...manifest, start: { ...manifest.start, key: own.publicKey } }
        const value = own.sign(Buffer.from(canonical(forged)))
        const seal = { algorithm: 'ed25519', key: own.publicKey, value }
        fs.writeFileSync(manifestOf(folder), `${canonical({ ...forged, seal })}\n`)
        resum(folder)
      },
      /this broker has not certified it/,
    ],
    [
      'receipts that were taken away',
      folder => {
        fs.rmSync(path.join(folder, 'receipts'), { recursive: true })
        resum(folder)
      },
      /nothing of it was countersigned/,
    ],
    [
      'a session that was left out',
      folder => {
        const file = path.join(folder, 'verification.jsonl')
        const lines = fs.readFileSync(file, 'utf8').split('\n')
        fs.writeFileSync(file, lines.filter(line => !line.includes(whole)).join('\n'))
        resum(folder)
      },
      /has a manifest, and verification\.jsonl does not tell of it/,
    ],
    [
      'what was said of it',
      folder => {
        const file = path.join(folder, 'verification.jsonl')
        fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(/"events":\d+/, '"events":1'))
        resum(folder)
      },
      /tells of another recording than its manifest/,
    ],
  ])('shows %s', async (_name, change, expected) => {
    const { code, stdout } = await verified(copy(change), key)
    expect(stdout).toMatch(expected)
    expect(code).toBe(1)
  })

  it('shows that another broker’s key is not the one', async () => {
    const other = path.join(place.folder, 'other.pem')
    fs.writeFileSync(other, pem(newSessionKey().publicKey))
    const { code, stdout } = await verified(bundle, other)
    expect(code).toBe(1)
    expect(stdout).toContain('this broker has not certified it')
  })

  it('is never written over, and leaves nothing where it cannot be written', async () => {
    expect(await evidence('q4.zip')).toMatchObject({ code: 2, stdout: '' })
    expect(await evidence('none/q4.zip')).toMatchObject({ code: 2, stdout: '' })
    expect(fs.readdirSync(place.folder).filter(name => name.includes('.tmp'))).toEqual([])
  })
})

describe('reports of what is encrypted', () => {
  it('say what they could not read, and read it with an identity', async () => {
    const session = await recorded('select pancakes', broker, 'end', await identityToRecipient(identity))
    const denials = ['report', 'denials', '--format', 'json']
    const without = await place.run(denials)
    expect(without).toMatchObject({ code: 0, stdout: '' })
    expect(without.stderr).toBe(`warning: what was asked in it is not reported: ${session} is encrypted\n`)
    const withIt = await place.run(denials, { env: { AGENTGATE_AGE_IDENTITY: identity } })
    expect(withIt).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('pancakes') as string })
    expect((await place.run(['sessions', 'erase', session, '--reason', 'x', '--yes'])).code).toBe(0)
    const after = await evidence('erased')
    expect(after).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/was erased on \S+ by \S+ \(x\)\n$/) as string,
    })
    const readme = fs.readFileSync(path.join(place.folder, 'erased', 'README.md'), 'utf8')
    expect(readme).toContain(`Not all of it was read.** What was asked in 1 session is in no report but`)
    expect(readme).toContain(session)
    expect((await verified(path.join(place.folder, 'erased'), key)).code).toBe(0)
  }, 60_000)
})

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([name, each]) => `${JSON.stringify(name)}:${canonical(each)}`).join(',')}}`
}
