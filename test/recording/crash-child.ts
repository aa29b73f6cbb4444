// A process that records (or recovers) until it is killed, or kills itself at one of its file operations.
import fs from 'node:fs'
import promises from 'node:fs/promises'
import { LocalSealer } from '../../src/recording/sealer.ts'
import { recover } from '../../src/recording/recover.ts'
import { openRecorder } from '../../src/recording/recorder.ts'
import { recordStatement, sampleStart } from './sample.ts'

const [mode, folder = '', killAt = '0', statements = '1000000'] = process.argv.slice(2)

/** Dies before the n-th operation that changes the disk, or half-way through it where it is a write. */
function dieAt(target: number): void {
  let count = 0
  const die = () => {
    process.kill(process.pid, 'SIGKILL')
  }
  for (const [object, names] of [
    [fs, ['openSync', 'mkdirSync', 'rmSync', 'writeFileSync', 'writeSync']],
    [promises, ['open', 'rename', 'unlink', 'rm', 'rmdir']],
  ] as const)
    for (const name of names) {
      const holder = object as unknown as Record<string, (...rest: unknown[]) => unknown>
      const real = holder[name]?.bind(object)
      holder[name] = (...rest: unknown[]) => {
        count += 1
        if (count === target) {
          if (name === 'writeSync' && Buffer.isBuffer(rest[1]) && rest[0] !== 1)
            real?.(rest[0], rest[1], rest[2], Math.floor(Number(rest[3]) / 2), rest[4])
          die()
        }
        return real?.(...rest)
      }
    }
}

/** A pipe that its reader is slow to empty takes no more for a moment: pipes of a child do not wait. */
function say(line: string): void {
  for (;;)
    try {
      fs.writeSync(1, `${line}\n`)
      return
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
}

if (Number(killAt) > 0) dieAt(Number(killAt))

if (mode === 'recover') {
  await recover(folder, Date.now() + 3_600_000)
} else {
  const recorder = openRecorder({
    folder,
    start: sampleStart(),
    limits: {
      segmentBytes: mode === 'local' ? 3000 : 20_000,
      segmentSeconds: 0.02,
      flushMilliseconds: 3,
      keepResultBytes: 300,
    },
    onWarning: text => fs.writeSync(2, `${text}\n`),
    ...(mode === 'local' ? { sealer: new LocalSealer() } : {}),
  })
  say(recorder.path)
  for (let count = 0; count < Number(statements); count++) {
    const action = recordStatement(recorder, `select ${count}`, Buffer.alloc((count * 37) % 500, 'r'))
    // The action is in the hands of the operating system: it may be forwarded.
    say(`${action} select ${count}`)
    if (count % 3 === 0) await new Promise(setImmediate)
  }
  await recorder.close('done', 0)
  say('closed')
}
