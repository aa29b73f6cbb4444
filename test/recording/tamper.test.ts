import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { verificationText } from '../../src/recording/verification-text.ts'
import { verifyRecording, type Verification } from '../../src/recording/verify.ts'
import { recordStatement, sampleRecorder, temporaryFolder } from './sample.ts'

// Every position of a small recording: three segments, a signed manifest.

let folder: ReturnType<typeof temporaryFolder>
let original: string
let files: ReadonlyMap<string, Buffer>
let other: string

async function record(signed: boolean): Promise<string> {
  const recorder = sampleRecorder(folder.path, {
    limits: { segmentBytes: 1200 },
    ...(signed ? { key: newSessionKey() } : {}),
  })
  for (let count = 1; count <= 4; count++) {
    recordStatement(recorder, `select ${count}`, Buffer.from(`row ${count}`))
    recorder.commit()
  }
  await recorder.close('done', 0)
  return recorder.path
}

beforeAll(async () => {
  folder = temporaryFolder()
  original = await record(true)
  other = await record(true)
  files = new Map(fs.readdirSync(original).map(name => [name, fs.readFileSync(path.join(original, name))]))
})
afterAll(() => folder[Symbol.dispose]())

const segmentNames = () => [...files.keys()].filter(name => name.endsWith('.segment')).sort()

function copyOf(name: string): string {
  const copy = path.join(folder.path, name, path.basename(original))
  fs.rmSync(copy, { recursive: true, force: true })
  fs.mkdirSync(copy, { recursive: true })
  for (const [file, bytes] of files) fs.writeFileSync(path.join(copy, file), bytes)
  return copy
}

/** Puts the recording back as it was, changes it, and verifies. */
async function after(change: (folder: string) => void): Promise<Verification> {
  const copy = copyOf('copy')
  change(copy)
  // Long ago, so that nobody takes the copy for a session that is just beginning.
  return await verifyRecording(copy, Date.now() + 3_600_000)
}

const text = (verification: Verification) => verificationText(verification, () => '14:02:11')

describe('verify finds every change', () => {
  it('and nothing where there is none', async () => {
    expect(segmentNames().length).toBeGreaterThanOrEqual(3)
    expect(await after(() => undefined)).toMatchObject({ result: 'whole', problems: [] })
  })

  // Every fifth position, and every one with SLOW=1.
  const stride = process.env['SLOW'] ? 1 : 5

  it('each byte of each file flipped', async () => {
    const copy = copyOf('flipped')
    const passed: string[] = []
    for (const [name, bytes] of files) {
      for (let position = 0; position < bytes.length; position += stride) {
        const flipped = Buffer.from(bytes)
        // The smallest change there is, of another bit each time.
        flipped[position] = (bytes[position] ?? 0) ^ (1 << (position % 8))
        fs.writeFileSync(path.join(copy, name), flipped)
        const { result } = await verifyRecording(copy, Date.now() + 3_600_000)
        if (result !== 'altered') passed.push(`${name}:${position}`)
      }
      fs.writeFileSync(path.join(copy, name), bytes)
    }
    expect(passed).toEqual([])
    expect(await verifyRecording(copy, Date.now())).toMatchObject({ result: 'whole' })
  }, 120_000)

  it('each file cut at each length', async () => {
    const copy = copyOf('cut')
    const passed: string[] = []
    for (const [name, bytes] of files) {
      for (let length = 0; length < bytes.length; length += stride) {
        fs.writeFileSync(path.join(copy, name), bytes.subarray(0, length))
        const { result } = await verifyRecording(copy, Date.now() + 3_600_000)
        if (result !== 'altered') passed.push(`${name}:${length}`)
      }
      fs.writeFileSync(path.join(copy, name), bytes)
    }
    expect(passed).toEqual([])
  }, 120_000)

  it('each file with something after its end', async () => {
    for (const name of files.keys())
      expect(await after(copy => fs.appendFileSync(path.join(copy, name), '\n'))).toMatchObject({ result: 'altered' })
  })

  it('each file dropped', async () => {
    for (const name of files.keys()) {
      const verification = await after(copy => fs.rmSync(path.join(copy, name)))
      expect(verification.result).toBe(name === 'manifest.json' ? 'unfinished' : 'altered')
    }
  })

  it('each tail dropped, also together with the manifest', async () => {
    const names = segmentNames()
    for (let kept = 0; kept < names.length; kept++) {
      const drop = (copy: string) => {
        for (const name of names.slice(kept)) fs.rmSync(path.join(copy, name))
      }
      expect((await after(drop)).result).toBe('altered')
      const both = await after(copy => {
        drop(copy)
        fs.rmSync(path.join(copy, 'manifest.json'))
      })
      expect(both.result).toBe(kept === 0 ? 'altered' : 'unfinished')
    }
  })

  it('each pair of segments swapped', async () => {
    const names = segmentNames()
    for (const one of names)
      for (const two of names) {
        if (one >= two) continue
        const verification = await after(copy => {
          fs.writeFileSync(path.join(copy, one), files.get(two) ?? '')
          fs.writeFileSync(path.join(copy, two), files.get(one) ?? '')
        })
        expect(verification.result).toBe('altered')
      }
  })

  it('each segment replaced by that of another session, and the manifest too', async () => {
    for (const name of files.keys()) {
      const verification = await after(copy => fs.copyFileSync(path.join(other, name), path.join(copy, name)))
      expect(verification.result).toBe('altered')
    }
  })

  it('a whole session put in the place of another', async () => {
    const verification = await after(copy => fs.cpSync(other, copy, { recursive: true, force: true }))
    expect(text(verification)).toContain(`the folder holds the recording of ${path.basename(other)}`)
  })

  it('a session invented without the key', async () => {
    const unsigned = await record(false)
    const forged = await after(copy => {
      const manifest = fs.readFileSync(path.join(unsigned, 'manifest.json'))
      fs.writeFileSync(path.join(copy, 'manifest.json'), manifest)
    })
    expect(forged.result).toBe('altered')
  })

  it('events after the end', async () => {
    const verification = await after(copy =>
      fs.writeFileSync(path.join(copy, '000009.journal'), 'agentgate-journal 1\n{}\n'),
    )
    expect(verification.result).toBe('altered')
  })

  it('says what and where', async () => {
    const names = segmentNames()
    const dropped = await after(copy => fs.rmSync(path.join(copy, names[1] ?? '')))
    expect(text(dropped)).toBe('altered: segment 2 is missing')
    const swapped = await after(copy => {
      fs.rmSync(path.join(copy, 'manifest.json'))
      fs.writeFileSync(path.join(copy, names[1] ?? ''), files.get(names[0] ?? '') ?? '')
    })
    expect(text(swapped)).toMatch(/^altered: segment 2 was written as number 1; segments? 3.* cannot be trusted$/)
    const cut = await after(copy => {
      for (const name of names.slice(1)) fs.rmSync(path.join(copy, name))
    })
    expect(text(cut)).toMatch(/^altered: segments 2–\d are missing$/)
  })
})
