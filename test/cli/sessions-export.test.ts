import { hash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Recorder } from '../../src/recording/recorder.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { c1, sampleAction, sampleOutcome, sampleRecorder, sampleStart } from '../recording/sample.ts'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { runProgram } from '../support/processes.ts'

let place: Place
let folder: string
let session: Recorder
let terminal: Recorder

const hostile = [
  '</pre><script>alert(1)</script>',
  `"><img src=x onerror=alert(1)>`,
  "' onmouseover='alert(1)",
  '<!--',
  ']]></style><style>*{display:none}</style>',
  '\u001b]52;c;b3duZWQ=\u0007\u001b[2J',
  '\u202egnp.exe',
  '&lt;b&gt;',
  'javascript:alert(1)',
].join(' ')

function http(action: ReturnType<typeof sampleAction>): ReturnType<typeof sampleAction> {
  return { ...action, view: { ...action.view, kind: 'http' } }
}

beforeAll(async () => {
  place = new Place('version: 1\n')
  folder = path.join(place.home, 'data', 'recordings')
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
  const start = sampleStart()
  session = sampleRecorder(folder, {
    key: newSessionKey(),
    start: {
      ...start,
      host: hostile,
      command: [hostile],
      subject: {
        ...start.subject,
        principal: { ...start.subject.principal, name: hostile },
        purpose: hostile,
        ticket: hostile,
      },
      resources: [{ name: hostile, kind: hostile, scope: hostile, address: hostile }],
    },
  })
  const first = session.append(http(sampleAction('GET /orders')))
  session.commit()
  void session.result({ kind: 'result', connection: c1, action: first, bytes: Buffer.from('one\ntwo\nthree\n') })
  session.append(sampleOutcome(first, 3))
  session.append({
    ...http(
      sampleAction(`=HYPERLINK("x") ${hostile}`, {
        outcome: 'rejected',
        rule: { name: hostile, place: hostile },
        message: hostile,
        asked: hostile,
        approval: { id: 'a_1' as never, by: hostile, reason: hostile, edited: false, waitedMs: 12 },
      }),
    ),
    resource: hostile,
  })
  const last = session.append(http(sampleAction(hostile)))
  session.commit()
  void session.result({ kind: 'result', connection: c1, action: last, bytes: Buffer.from(`${hostile}\n${hostile}`) })
  session.append({ ...sampleOutcome(last), tag: hostile, masked: [hostile], status: 'error' } as never)
  session.append({ kind: 'note', connection: null, text: hostile })
  session.append({ kind: 'client', connection: c1, process: { pid: 7, program: hostile, ancestry: [hostile] } })
  await session.close(hostile, 0)

  terminal = sampleRecorder(folder)
  const say = (direction: 'output' | 'input' | 'resize', bytes: Buffer) =>
    terminal.append({ kind: 'terminal', direction, bytes })
  say('resize', Buffer.from('100x30'))
  const euro = Buffer.from('€')
  say('output', Buffer.concat([Buffer.from('\u001b[31mred\u001b]52;c;b3duZWQ=\u0007\u001b[6n '), euro.subarray(0, 1)]))
  say('output', Buffer.concat([euro.subarray(1), Buffer.from('\r\n<script>alert(1)</script>\r\n')]))
  say('input', Buffer.from('ls\r'))
  say('resize', Buffer.from('80x24'))
  await terminal.close('', 0)
})
afterAll(() => fs.rmSync(place.folder, { recursive: true, force: true }))

const id = (recorder: Recorder) => path.basename(recorder.path)
const exported = async (...args: string[]) => await place.run(['sessions', 'export', ...args])

/** Fails for every tag that the page has no reason to have, and for every attribute that is not quoted text. */
function expectOnlyOurMarkup(text: string): void {
  const script = /<script>([\s\S]*)<\/script>\n<\/body>\n<\/html>\n$/.exec(text)?.[1]
  const style = /<style>([\s\S]*?)<\/style>\n<\/head>/.exec(text)?.[1]
  if (script === undefined || style === undefined) throw new Error('no script or style')
  expect(text).toContain(`script-src 'sha256-${hash('sha256', script, 'base64')}'`)
  expect(text).toContain(`style-src 'sha256-${hash('sha256', style, 'base64')}'`)
  expect(text).toContain(`content="default-src 'none';`)
  const left = text
    .replace(`<script>${script}</script>`, '')
    .replace(`<style>${style}</style>`, '')
    .replace('<!doctype html>', '')
  const tag =
    /<\/?(?:html|head|body|meta|title|header|h1|table|thead|tbody|tr|th|td|div|input|label|output|main|nav|svg|a|rect|article|p|pre|b|br|span|time|footer)(?: (?:lang|charset|http-equiv|content|name|class|id|href|role|type|placeholder|aria-label|autocomplete|datetime|data-outcome|viewBox|preserveAspectRatio|x|y|width|height)="[^"<>]*")*>/g
  expect(left.replace(tag, '')).not.toMatch(/[<>]/)
  for (const [, target] of left.matchAll(/ href="([^"]*)"/g)) expect(target).toMatch(/^#e\d+$/)
  // Nothing that a terminal or a reader's eye would be led astray by.
   
  expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/)
}

describe('agentgate sessions export', () => {
  it('writes JSON lines, the same as replay --json, where nothing else is asked for', async () => {
    const { stdout, code } = await exported(id(session))
    expect(code).toBe(0)
    expect(stdout).toBe((await place.run(['sessions', 'replay', id(session), '--json'])).stdout)
    expect((await exported(id(session), '--format', 'jsonl')).stdout).toBe(stdout)
  })

  it('writes CSV, one statement a row, of which nothing is a formula', async () => {
    const { stdout, code } = await exported(id(session), '--format', 'csv')
    expect(code).toBe(0)
    const rows = parseCsv(stdout)
    expect(rows[0]?.slice(0, 6)).toEqual(['sequence', 'at', 'resource', 'connection', 'client', 'decision'])
    expect(rows).toHaveLength(4)
    for (const row of rows) {
      expect(row).toHaveLength(23)
      for (const cell of row) expect(cell).not.toMatch(/^[=+\-@]/)
    }
    expect(rows[2]?.slice(5, 7)).toEqual(['rejected', hostile])
    expect(rows[2]?.[13]).toBe(`'=HYPERLINK("x") ${hostile}`)
    expect(rows[1]?.[17]).toBe('3')
  })

  it('writes one page that runs nothing of what was recorded and refers to nothing outside', async () => {
    const { stdout, code, stderr } = await exported(id(session), '--format', 'html')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expectOnlyOurMarkup(stdout)
    expect(stdout).toMatch(/<article class="entry action bad" id="e\d+" data-outcome="rejected">/)
    expect(stdout).toMatch(/<rect class="bad" x="\d+"/)
    expect(stdout).toContain('one\ntwo\nthree')
    expect(stdout).toContain('&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;')
    expect(stdout).toContain('\\x1b]52;c;b3duZWQ=\\x07')
    expect(stdout).toContain('\\u202egnp.exe')
    expect(stdout).toContain('whole and unaltered: ')
  })

  it('leaves rows out of a page only where it says so', async () => {
    const { stdout } = await exported(id(session), '--format', 'html', '--rows', '2')
    expect(stdout).toContain('one\ntwo</pre>')
    expect(stdout).not.toContain('three')
    expect(stdout).toContain('1 more row: export with --rows 0')
  })

  it('writes a recorded terminal as asciicast v2, less what would act on the terminal that plays it', async () => {
    const { stdout, code } = await exported(id(terminal), '--format', 'asciicast')
    expect(code).toBe(0)
    const [header, ...events] = stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as unknown)
    expect(header).toMatchObject({ version: 2, width: 100, height: 30, title: `${id(terminal)} · maria + claude` })
    expect(events.map(event => (event as unknown[]).slice(1))).toEqual([
      ['o', '\u001b[31mred '],
      ['o', '€\r\n<script>alert(1)</script>\r\n'],
      ['i', 'ls\r'],
      ['r', '80x24'],
    ])
  })

  it('shows a recorded terminal in a page as text', async () => {
    const { stdout } = await exported(id(terminal), '--format', 'html')
    expectOnlyOurMarkup(stdout)
    expect(stdout).toContain('<pre class="entry terminal">red €\n&lt;script&gt;alert(1)&lt;/script&gt;\n')
  })

  it('writes a file for its owner alone, its format by its name, and none where it fails', async () => {
    const made = await exported(id(terminal), '-o', 'out.cast')
    expect(made).toMatchObject({ code: 0, stdout: '' })
    const file = path.join(place.folder, 'out.cast')
    expect(fs.readFileSync(file, 'utf8')).toContain('"version":2')
    expect(fs.statSync(file).mode & 0o777).toBe(0o600)
    const none = await exported(id(session), '--output', 'none.cast')
    expect(none.code).toBe(2)
    expect(none.stderr).toContain('has no recorded terminal')
    const nowhere = await exported(id(session), '--output', 'no/where.html')
    expect(nowhere.code).toBe(2)
    expect(nowhere.stderr).toContain('cannot write')
    expect(fs.readdirSync(place.folder).filter(name => /none|tmp$/.test(name))).toEqual([])
  })

  it('exports what can be read of an altered recording, and exits 7', async () => {
    const copy = path.join(place.folder, 'evidence', id(session))
    fs.cpSync(session.path, copy, { recursive: true })
    const segment = path.join(copy, '000001.segment')
    const bytes = fs.readFileSync(segment)
    bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1
    fs.writeFileSync(segment, bytes)
    for (const format of ['jsonl', 'csv', 'html']) {
      const { code, stderr, stdout } = await exported(copy, '--format', format)
      expect(code).toBe(7)
      expect(stderr).toContain('warning: segment 1')
      if (format === 'html') expect(stdout).toMatch(/<td class="bad">altered: /)
    }
  })

  it('keeps memory flat', async () => {
    const large = sampleRecorder(folder)
    const action = large.append(http(sampleAction('GET /large')))
    large.commit()
    const bytes = Buffer.from(`${'x'.repeat(199)}\n`.repeat(5000))
    for (let count = 0; count < 60; count++) {
      const wait = large.result({ kind: 'result', connection: c1, action, bytes })
      if (wait !== undefined) await wait
    }
    large.append(sampleOutcome(action))
    await large.close('', 0)
    for (const format of ['jsonl', 'csv', 'html']) {
      const file = path.join(place.folder, `large.${format}`)
      const { code, stderr } = await runProgram(
        '/bin/sh',
        ['-c', `"${agentgateBin}" sessions export "${large.path}" --format ${format} --rows 0 > "${file}"`],
        { cwd: place.folder, env: { ...place.env, NODE_OPTIONS: '--max-old-space-size=64' } },
      )
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      if (format !== 'csv') expect(fs.statSync(file).size).toBeGreaterThan(59_000_000)
      fs.rmSync(file)
    }
  }, 60_000)
})

/** RFC 4180, as a spreadsheet reads it. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = []
  let row: string[] = []
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    row.push(quoted?.replaceAll('""', '"') ?? plain ?? '')
    if (end === ',') continue
    rows.push(row)
    row = []
  }
  return rows
}
