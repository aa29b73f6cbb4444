import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { recordStatement, sampleRecorder, temporaryFolder } from '../../test/recording/sample.ts'
import { LocalSealer, WorkerSealer, type Sealer } from './sealer.ts'
import { verifyRecording } from './verify.ts'

let built: ReturnType<typeof temporaryFolder>
let file: URL

beforeAll(async () => {
  built = temporaryFolder()
  const outfile = path.join(built.path, 'seal-worker.mjs')
  await build({
    entryPoints: [path.join(import.meta.dirname, 'seal-worker.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
  })
  file = pathToFileURL(outfile)
})
afterAll(() => built[Symbol.dispose]())

const kinds: readonly (readonly [string, () => Sealer])[] = [
  ['in a worker', () => new WorkerSealer(file)],
  ['on the thread pool', () => new LocalSealer()],
]

describe.each(kinds)('sealing %s', (_, open) => {
  it('makes segments of all journals', async () => {
    using folder = temporaryFolder()
    const sealer = open()
    const recorder = sampleRecorder(folder.path, { sealer, limits: { segmentBytes: 100_000 } })
    for (let count = 0; count < 3000; count++) recordStatement(recorder, `select ${count}`, Buffer.alloc(100, 'x'))
    await recorder.close('', 0)
    await sealer.close()
    expect(fs.readdirSync(recorder.path).filter(name => !name.endsWith('.segment'))).toEqual(['manifest.json'])
    const verification = await verifyRecording(recorder.path, Date.now())
    expect(verification).toMatchObject({ result: 'whole', events: 9002 })
    expect(verification.segments).toBeGreaterThan(10)
  })

  it('says why it could not, and goes on with the next', async () => {
    using folder = temporaryFolder()
    const sealer = open()
    const job = { folder: folder.path, number: 1, fsync: false, torn: 'refused' } as const
    await expect(sealer.seal(job)).rejects.toMatchObject({ code: 'ENOENT' })
    fs.writeFileSync(path.join(folder.path, '000001.journal'), 'not ours')
    await expect(sealer.seal(job)).rejects.toThrow(/foreign/)
    await sealer.close()
  })
})

it('a worker that cannot start fails what was asked of it, and does not keep the process', async () => {
  using folder = temporaryFolder()
  const sealer = new WorkerSealer(pathToFileURL(path.join(folder.path, 'none.mjs')))
  const job = { folder: folder.path, number: 1, fsync: false, torn: 'refused' } as const
  await expect(sealer.seal(job)).rejects.toThrow()
  await sealer.close()
})
