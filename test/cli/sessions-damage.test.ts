import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { c1, recordStatement, sampleRecorder } from '../recording/sample.ts'
import { Place } from '../support/agentgate.ts'

// Whatever is wrong with a recording: each command gives what can be read, says what cannot, and its exit code is 7.
const hostile = '\u001b]52;c;b3duZWQ=\u0007\u001b[2J\u202e'
const first = 'select first_statement'

let place: Place
let whole: string
beforeAll(async () => {
  place = new Place('version: 1\n')
  const recorder = sampleRecorder(path.join(place.folder, 'whole'), {
    key: newSessionKey(),
    limits: { segmentBytes: 1500 },
  })
  recordStatement(recorder, `${first} ${hostile}`, Buffer.from('row'))
  recorder.append({ kind: 'terminal', direction: 'output', bytes: Buffer.from(`first output ${hostile}\r\n`) })
  for (let count = 2; count <= 8; count++) {
    recordStatement(recorder, `select ${count}, '${'x'.repeat(300)}'`, Buffer.from('row'))
    recorder.append({ kind: 'note', connection: c1, text: `note ${count} ${hostile}` })
    recorder.commit()
  }
  await recorder.close('done', 0)
  whole = recorder.path
  expect(fs.readdirSync(whole).filter(name => name.endsWith('.segment')).length).toBeGreaterThan(3)
})
afterAll(() => fs.rmSync(place.folder, { recursive: true, force: true }))

const second = '000002.segment'
const change = (name: string, how: (bytes: Buffer) => Buffer) => (folder: string) => {
  const file = path.join(folder, name)
  fs.writeFileSync(file, how(fs.readFileSync(file)))
}
const flip = (at: number) => (bytes: Buffer) => {
  const index = at < 0 ? bytes.length + at : at
  bytes[index] = (bytes[index] ?? 0) ^ 1
  return bytes
}
const text = (from: string, to: string) => (bytes: Buffer) =>
  Buffer.from(bytes.toString('latin1').replace(from, to), 'latin1')

/** `content`: what it holds is damaged; else only what says what it should be, which lists and `verify` go by. */
const damages: readonly (readonly [string, 'content' | 'manifest', (folder: string) => void])[] = [
  ['a flipped bit', 'content', change(second, flip(-20))],
  ['a file that is cut off', 'content', change(second, bytes => bytes.subarray(0, bytes.length - 40))],
  ['a file that ends in its header', 'content', change(second, bytes => bytes.subarray(0, 30))],
  ['a file that is empty', 'content', change(second, () => Buffer.alloc(0))],
  ['a file that is gone', 'content', folder => fs.rmSync(path.join(folder, second))],
  ['a file of something else', 'content', change(second, () => Buffer.from(`#!/bin/sh\necho ${hostile}\n`))],
  ['a file of a newer version', 'content', change(second, text('agentgate-segment 1', 'agentgate-segment 2'))],
  ['a feature of a newer version', 'content', change(second, text('"number":2', '"needs":["x\\u001b"],"number":2'))],
  [
    'a file that is a folder',
    'content',
    folder => {
      fs.rmSync(path.join(folder, second))
      fs.mkdirSync(path.join(folder, second))
    },
  ],
  [
    'a file that is a pipe nobody writes to',
    'content',
    folder => {
      fs.rmSync(path.join(folder, second))
      fs.symlinkSync('/dev/stdin', path.join(folder, second))
    },
  ],
  [
    'two files swapped',
    'content',
    folder => {
      fs.renameSync(path.join(folder, second), path.join(folder, 'x'))
      fs.renameSync(path.join(folder, '000003.segment'), path.join(folder, second))
      fs.renameSync(path.join(folder, 'x'), path.join(folder, '000003.segment'))
    },
  ],
  ['a manifest with a flipped bit', 'manifest', change('manifest.json', flip(200))],
  ['a manifest that is cut off', 'manifest', change('manifest.json', bytes => bytes.subarray(0, 100))],
  ['a manifest of something else', 'manifest', change('manifest.json', () => Buffer.from(`{"${hostile}":1}`))],
  ['a manifest of a newer version', 'manifest', change('manifest.json', text('"version":1', '"version":2'))],
]

// Each is a dozen processes: all of them take a minute.
const tried =
  process.env['SLOW'] === '1' ? damages : damages.filter(([name]) => !/header|empty|folder|cut off|swapped/.test(name))

describe.each(tried)('a recording with %s', (_name, what, damage) => {
  const commands: readonly (readonly string[])[] = [
    ['show'],
    ['replay', '--text'],
    ['export', '--format', 'jsonl'],
    ['export', '--format', 'csv'],
    ['export', '--format', 'html'],
    ['export', '--format', 'asciicast'],
  ]

  it('gives what can be read, says what cannot, and ends in 7', async () => {
    const recordings = fs.mkdtempSync(path.join(place.folder, 'damaged-'))
    const session = path.basename(whole)
    fs.cpSync(whole, path.join(recordings, session), { recursive: true })
    damage(path.join(recordings, session))
    const at = ['--recordings', recordings]
    const run = async (...args: string[]) => {
      const { code, stdout, stderr } = await place.run(['sessions', ...args, ...at])
      // Nothing that a terminal would act on, and no stack.
      expect(stderr, args.join(' ').slice(0, 80)).not.toMatch(/[\u001b\u0007\u202e]|\n\s+at /)
      // JSON and CSV are for programs: the one escapes control characters itself, the other is as it was said.
      const forPrograms = args.includes('asciicast') || args.includes('jsonl')
      if (!args.includes('csv'))
        expect(stdout, args.join(' ').slice(0, 80)).not.toMatch(forPrograms ? /[\u001b\u0007]/ : /[\u001b\u0007\u202e]/)
      return { code, stdout, stderr }
    }
    const [verified, listed, none, ...shown] = await Promise.all([
      run('verify', session),
      run('list', '--grep', 'FIRST_statement'),
      run('list', '--grep', 'nowhere in it'),
      ...commands.map(async ([command = '', ...args]) => await run(command, session, ...args)),
    ])
    expect({ code: verified.code, text: verified.stdout }).toMatchObject({
      code: 7,
      text: expect.stringContaining(`${session}\taltered: `) as string,
    })
    expect(listed.stdout).toContain(session)
    expect(none.stdout).toBe('')
    for (const [index, { code, stdout, stderr }] of shown.entries()) {
      const command = commands[index]?.join(' ')
      const output = command?.includes('asciicast') === true ? 'first output' : 'first_statement'
      expect({ command, readable: stdout.includes(output) }).toEqual({ command, readable: true })
      // Who only reads what was recorded does not ask the manifest.
      if (what === 'content')
        expect({ command, code, stderr }).toEqual({
          command,
          code: 7,
          stderr: expect.stringMatching(/^warning: segments? /) as string,
        })
      else expect([0, 7]).toContain(code)
    }
    if (what === 'content')
      expect(none).toMatchObject({ code: 7, stderr: expect.stringContaining('searched only as far as') as string })
    else expect(listed).toMatchObject({ code: 7, stdout: expect.stringContaining('damaged') as string })
    fs.rmSync(recordings, { recursive: true, force: true })
  }, 60_000)
})

describe('a folder that is no recording', () => {
  it.each<readonly [string, (folder: string) => void]>([
    ['is empty', () => undefined],
    ['holds other files', folder => fs.writeFileSync(path.join(folder, 'notes.txt'), hostile)],
    [
      'holds a file of this name with something else in it',
      folder => fs.writeFileSync(path.join(folder, '000001.segment'), hostile),
    ],
  ])(
    '%s',
    async (_name, fill) => {
      const folder = fs.mkdtempSync(path.join(place.folder, 'foreign-'))
      fill(folder)
      for (const args of [
        ['verify'],
        ['show'],
        ['replay', '--text'],
        ['export', '--format', 'csv'],
        ['export', '--format', 'html'],
      ]) {
        const { code, stderr, stdout } = await place.run(['sessions', ...args, folder])
        expect({ args, code }).toEqual({ args, code: 7 })
        expect(`${stdout}${stderr}`).not.toMatch(/[\u001b\u0007\u202e]|\n\s+at /)
      }
    },
    60_000,
  )
})
