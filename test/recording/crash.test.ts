import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { recover } from '../../src/recording/recover.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import { readAll, temporaryFolder } from './sample.ts'

let built: ReturnType<typeof temporaryFolder>
let child: string

beforeAll(async () => {
  built = temporaryFolder()
  const root = path.join(import.meta.dirname, '../..')
  // As scripts/build.js does: the worker stands beside the entry.
  await build({
    absWorkingDir: root,
    entryPoints: { child: 'test/recording/crash-child.ts', 'seal-worker': 'src/recording/seal-worker.ts' },
    outdir: built.path,
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    outExtension: { '.js': '.js' },
    logLevel: 'silent',
  })
  fs.writeFileSync(path.join(built.path, 'package.json'), '{"type":"module"}')
  child = path.join(built.path, 'child.js')
})
afterAll(() => built[Symbol.dispose]())

const later = () => Date.now() + 3_600_000

/** What the child said was done: everything acknowledged must be found again, in its place. */
function acknowledgedIn(output: string): { folder: string; acknowledged: [sequence: number, text: string][] } {
  // The last line may have been cut by the kill.
  const lines = output.slice(0, output.lastIndexOf('\n')).split('\n')
  const acknowledged = lines.slice(1).flatMap((line): [number, string][] => {
    const match = /^(\d+) (select \d+)$/.exec(line)
    return match ? [[Number(match[1]), match[2] ?? '']] : []
  })
  return { folder: lines[0] ?? '', acknowledged }
}

async function check(recordings: string, output: string): Promise<void> {
  const { folder, acknowledged } = acknowledgedIn(output)
  if (!fs.existsSync(folder)) {
    expect(acknowledged).toEqual([])
    await recover(recordings, later())
    return
  }
  const before = await readAll(folder)
  expectAll(before, acknowledged)

  // Two processes may start at the same time.
  await Promise.all([recover(recordings, later()), recover(recordings, later())])
  const after = await readAll(folder)
  expectAll(after, acknowledged)
  expect(after.events).toEqual(before.events)
  expect(after.end.torn).toBe(0)
  expect(fs.readdirSync(folder).filter(name => name.endsWith('.journal'))).toEqual([])
  const ended = before.events.at(-1)?.event.kind === 'session-end'
  expect(await verifyRecording(folder, later())).toMatchObject({ result: ended ? 'whole' : 'unfinished', problems: [] })
  const manifest = fs.readFileSync(path.join(folder, 'manifest.json'))
  expect(await recover(recordings, later())).toEqual([])
  expect(fs.readFileSync(path.join(folder, 'manifest.json'))).toEqual(manifest)
}

function expectAll(read: Awaited<ReturnType<typeof readAll>>, acknowledged: [number, string][]): void {
  expect(read.problems).toEqual([])
  expect(read.events.map(({ sequence }) => sequence)).toEqual(read.events.map((_, index) => index + 1))
  for (const [sequence, text] of acknowledged) {
    const event = read.events[sequence - 1]?.event
    expect(event?.kind === 'action' ? event.view.text : event?.kind).toBe(text)
  }
}

const runs = process.env['SLOW'] ? 500 : 12

describe('kill -9', () => {
  it(`at random instants, ${runs} times: nothing acknowledged is lost, nothing is there twice`, async () => {
    for (let run = 0; run < runs; run++) {
      using folder = temporaryFolder()
      const running = spawn(process.execPath, [child, 'worker', folder.path], { stdio: ['ignore', 'pipe', 'inherit'] })
      let output = ''
      const began = new Promise<void>(resolve =>
        running.stdout.on('data', (chunk: Buffer) => {
          output += chunk.toString()
          resolve()
        }),
      )
      const gone = new Promise(resolve => running.on('close', resolve))
      await began
      let alive = true
      const killed = setTimeout(() => {
        alive = false
        running.kill('SIGKILL')
      }, Math.random() * 200)
      // A live session is never taken for finished, however often someone starts beside it.
      const found = await recover(folder.path, later())
      if (alive) expect(found).toEqual([])
      await gone
      clearTimeout(killed)
      await check(folder.path, output)
    }
  }, 3_600_000)

  const stride = process.env['SLOW'] ? 1 : 9

  it('before or half-way through any operation on the disk', async () => {
    for (let killAt = 1; ; killAt += stride) {
      using folder = temporaryFolder()
      const { stdout, signal } = spawnSync(process.execPath, [child, 'local', folder.path, String(killAt), '30'], {
        encoding: 'utf8',
      })
      await check(folder.path, stdout)
      if (signal === null) {
        expect(stdout).toMatch(/\nclosed\n$/)
        break
      }
    }
  }, 600_000)

  it('while it is being recovered, at any operation on the disk', async () => {
    for (let killAt = 1; ; killAt += stride === 1 ? 1 : 3) {
      using folder = temporaryFolder()
      const died = spawnSync(process.execPath, [child, 'local', folder.path, '60', '30'], { encoding: 'utf8' })
      expect(died.signal).toBe('SIGKILL')
      const { signal } = spawnSync(process.execPath, [child, 'recover', folder.path, String(killAt)])
      await check(folder.path, died.stdout)
      if (signal === null) break
    }
  }, 600_000)
})
