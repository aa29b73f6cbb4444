import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newSessionKey } from '../../src/recording/session-key.ts'
import type { Recorder } from '../../src/recording/recorder.ts'
import { c1, recordStatement, sampleAction, sampleOutcome, sampleRecorder } from '../recording/sample.ts'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { runProgram } from '../support/processes.ts'
import { describeWith } from '../support/needs.ts'
import { pseudoTerminal } from '../support/screen.ts'

// Against recordings of protocol `http`, whose results are text.
let place: Place
let folder: string
let whole: Recorder
let altered: string

function http(action: ReturnType<typeof sampleAction>): ReturnType<typeof sampleAction> {
  return { ...action, view: { ...action.view, kind: 'http' } }
}

beforeAll(async () => {
  place = new Place('version: 1\n')
  folder = path.join(place.home, 'data', 'recordings')
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
  whole = sampleRecorder(folder, { key: newSessionKey() })
  const a = whole.append(http(sampleAction('GET /orders')))
  whole.commit()
  void whole.result({ kind: 'result', connection: c1, action: a, bytes: Buffer.from('{"orders":3}\n\u001b[31mred') })
  whole.append({ kind: 'client', connection: c1, process: { pid: 7, program: 'curl', ancestry: ['bash'] } })
  whole.append(sampleOutcome(a, 3))
  whole.append(
    http(
      sampleAction('DELETE /orders \u202eevil', {
        outcome: 'denied',
        rule: { name: 'no deletes', place: 'agentgate.yaml:9' },
        message: 'ask first',
      }),
    ),
  )
  await whole.close('client went away', 0)

  const other = sampleRecorder(folder)
  recordStatement(other, 'select 1', Buffer.from('x'))
  await other.close('', 0)
  altered = path.basename(other.path)
  const segment = path.join(other.path, '000001.segment')
  const bytes = fs.readFileSync(segment)
  bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1
  fs.writeFileSync(segment, bytes)
})
afterAll(() => fs.rmSync(place.folder, { recursive: true, force: true }))

const id = () => path.basename(whole.path)
const sessions = async (...args: string[]) => await place.run(['sessions', ...args])

describe('agentgate sessions', () => {
  it('lists what was recorded, tab-separated in a pipe, the newest first', async () => {
    const { stdout, stderr, code } = await sessions()
    expect(stderr).toBe('')
    expect(code).toBe(0)
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map(line => line.split('\t'))
    expect(rows.map(row => row[0])).toEqual([altered, id()])
    expect(rows[1]?.slice(3)).toEqual(['maria', 'claude', 'db-prod', '2', '1', '0', 'closed'])
    expect((await sessions('list')).stdout).toBe(stdout)
  })

  it('lists as JSON, one session a line', async () => {
    const { stdout } = await sessions('list', '--json')
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, unknown>)
    expect(lines[1]).toMatchObject({
      event: 'session',
      session: id(),
      state: 'closed',
      principal: 'maria',
      actor: 'claude',
      statements: 2,
      denied: 1,
      resources: [{ name: 'db-prod', kind: 'postgres', scope: 'read' }],
      reason: 'client went away',
      exitCode: 0,
    })
  })

  it.each([
    [['--denied'], 'whole'],
    [['--resource', 'db-*'], 'both'],
    [['--resource', 'other'], 'none'],
    [['--who', 'MARIA'], 'both'],
    [['--who', 'claude', '--denied'], 'whole'],
    [['--who', 'bob'], 'none'],
    [['--since', '1h'], 'both'],
    [['--until', '2020-01-01'], 'none'],
    [['--since', '2020-01-01T10:00', '--until', '2099-01-01'], 'both'],
    [['--grep', 'delete /ORDERS'], 'whole'],
    [['--grep', 'ask first'], 'whole'],
    [['--grep', '"orders":3'], 'whole'],
    [['--grep', 'curl'], 'whole'],
    [['--grep', 'nowhere to be found'], 'none'],
  ])('lists with %j', async (args, which) => {
    const { stdout, stderr, code } = await sessions('list', ...args)
    // What cannot be read cannot be searched: that is said, not taken for a miss.
    const searched = args[0] === '--grep'
    expect(stderr).toBe(searched ? `warning: ${altered} was searched only as far as it can be read\n` : '')
    expect(code).toBe(searched ? 7 : 0)
    const found = stdout.split('\n').flatMap(line => (line === '' ? [] : [line.split('\t')[0]]))
    expect(found).toEqual({ whole: [id()], both: [altered, id()], none: [] }[which])
    if (args[0] !== '--grep' || which !== 'whole') return
    const json = JSON.parse((await sessions('list', ...args, '--json')).stdout) as { match?: { sequence: number } }
    expect(json.match?.sequence).toBeGreaterThan(0)
  })

  it('shows statements with decisions, the client also where it was found out later', async () => {
    const { stdout, code } = await sessions('show', id().slice(0, 7))
    expect(code).toBe(0)
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map(line => line.split('\t').slice(1))
    expect(rows).toEqual([
      ['db-prod', 'curl', '3 rows', '3', '', 'GET /orders'],
      ['db-prod', 'curl', 'denied', '', 'no deletes', 'DELETE /orders \\u202eevil'],
    ])
  })

  it('shows as JSON: the session, then one statement a line', async () => {
    const { stdout } = await sessions('show', id(), '--json')
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, unknown>)
    expect(lines.map(line => line['event'])).toEqual(['session', 'statement', 'statement'])
    expect(lines[1]).toMatchObject({ client: 'curl', decision: 'allowed', status: 'ok', rows: 3, resultBytes: 21 })
    expect(lines[2]).toMatchObject({
      decision: 'denied',
      rule: { name: 'no deletes' },
      message: 'ask first',
      status: null,
    })
  })

  it('replays as text, escapes neutralised', async () => {
    const { stdout, code } = await sessions('replay', id())
    expect(code).toBe(0)
    const lines = stdout.split('\n').map(line => line.replace(/^\d\d:\d\d:\d\d/, ''))
    expect(lines).toContain('  c1 #2  GET /orders')
    expect(lines).toContain('          {"orders":3}')
    expect(lines).toContain('          \\x1b[31mred')
    expect(lines).toContain('  session ended: client went away, exit code 0')
    expect((await sessions('replay', id(), '--text')).stdout).toBe(stdout)
  })

  it('replays as JSON with results decoded', async () => {
    const { stdout } = await sessions('replay', id(), '--json')
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, unknown>)
    expect(lines.map(line => line['event'])).toEqual([
      'session',
      'session-start',
      'action',
      'result',
      'client',
      'outcome',
      'action',
      'session-end',
    ])
    expect(lines[3]).toMatchObject({ action: 2, kind: 'text', text: '{"orders":3}\n\u001b[31mred' })
  })

  it('verifies: what holds exits 0, what was altered 7, and says where', async () => {
    const good = await sessions('verify', id())
    expect(good.stdout).toMatch(
      new RegExp(
        `^${id()}\twhole and unaltered: 7 events in 1 segment, head [0-9a-f]{4}…[0-9a-f]{2}, signed by the session's key .{8}\n$`,
      ),
    )
    expect(good.code).toBe(0)
    const bad = await sessions('verify', id(), altered)
    expect(bad.code).toBe(7)
    expect(bad.stdout).toMatch(new RegExp(`\n${altered}\taltered: segment 1, event \\d`))
    expect((await sessions('verify', '--all')).code).toBe(7)
    const json = JSON.parse((await sessions('verify', altered, '--json')).stdout) as Record<string, unknown>
    expect(json).toMatchObject({
      event: 'verification',
      session: altered,
      result: 'altered',
      problems: [{ number: 1 }],
    })
  })

  it('has nothing to say where its reader has seen enough', async () => {
    for (const command of ['list --json', `show ${id()}`, `replay ${id()} --text`, `export ${id()} --format jsonl`]) {
      const line = `'${agentgateBin}' sessions ${command} | sleep 0.01`
      for (let run = 0; run < 3; run++) {
        const { stderr } = await runProgram('sh', ['-c', line], { cwd: place.folder, env: place.env })
        expect(stderr, command).toBe('')
      }
    }
  })

  it('verifies a copy that someone handed over', async () => {
    const copy = path.join(place.folder, 'evidence', id())
    fs.cpSync(whole.path, copy, { recursive: true })
    expect((await sessions('verify', `./evidence/${id()}`)).code).toBe(0)
    expect((await sessions('verify', '--recordings', 'evidence', '--all')).code).toBe(0)
  })

  it('reads what can be read of what was altered, says the rest on stderr, and exits 7', async () => {
    for (const command of ['show', 'replay']) {
      const { code, stderr } = await sessions(command, altered)
      expect(code).toBe(7)
      expect(stderr).toMatch(/^warning: segment 1, event \d.*\n$/)
    }
  })

  it.each([
    [['show', 's_NOSUCH'], 2, 'error: no recorded session "s_NOSUCH"\n'],
    [['show', 's_'], 2, 'error: 2 sessions begin with "s_"\n'],
    [['show'], 2, 'error: missing required argument "session"\n'],
    [['verify'], 2, 'error: which session?\n'],
    [['verify', './nowhere'], 2, 'error: there is no folder ./nowhere\n'],
    [['replay', 's_X', '--speed', 'fast'], 2, 'error: option "--speed <factor>" argument "fast" is invalid'],
    [['list', '--since', 'tomorrowish'], 2, 'expected a time such as 2d'],
    [['lst'], 2, ''],
  ])('%j ends with %i', async (args, code, says) => {
    const finished = await sessions(...args)
    expect(finished.code).toBe(code)
    expect(finished.stdout).toBe('')
    expect(finished.stderr).toContain(says)
  })
})

describeWith('agentgate sessions on a terminal', [pseudoTerminal], () => {
  it('draws a table, and replays until q', async () => {
    const { Terminal } = await import('../support/terminal.ts')
    const options = { cwd: place.folder, env: { ...place.env, TERM: 'xterm-256color' }, columns: 140 }
    using list = new Terminal(agentgateBin, ['sessions'], options)
    await list.shows(/SESSION +WHEN +WHO +WHAT +STATEMENTS +DENIED +ASKED +LENGTH +STATE/)
    await list.shows(/today \d\d:\d\d +maria \+ claude +db-prod +2 +1 +0 +0 s +closed/)
    expect(await list.ends()).toBe(0)

    const slow = sampleRecorder(folder)
    slow.append(sampleAction('select first'))
    slow.commit()
    await new Promise(resolve => setTimeout(resolve, 600))
    slow.append(sampleAction('select last'))
    await slow.close('', 0)
    using replay = new Terminal(
      agentgateBin,
      ['sessions', 'replay', path.basename(slow.path), '--speed', '0.01', '--max-idle', '1h'],
      options,
    )
    await replay.shows('select first')
    replay.type('q')
    expect(await replay.ends()).toBe(0)
    expect(replay.shown).not.toContain('select last')
    using skipping = new Terminal(
      agentgateBin,
      ['sessions', 'replay', path.basename(slow.path), '--speed', '0.01', '--max-idle', '1h'],
      options,
    )
    await skipping.shows('select first')
    skipping.type('\u001b[C')
    await skipping.shows('select last')
    expect(await skipping.ends()).toBe(0)
  })

  it('searches in a replay, however slow it is, and waits where it has found something', async () => {
    const { Terminal } = await import('../support/terminal.ts')
    const options = { cwd: place.folder, env: { ...place.env, TERM: 'xterm-256color' }, columns: 140 }
    const recorder = sampleRecorder(folder)
    for (const name of ['first', 'second Needle', 'third', 'fourth needle', 'last']) {
      recorder.append(sampleAction(`select ${name}`))
      recorder.commit()
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    await recorder.close('', 0)
    const replaying = () =>
      new Terminal(
        agentgateBin,
        ['sessions', 'replay', path.basename(recorder.path), '--speed', '0.0001', '--max-idle', '10h'],
        options,
      )
    using replay = replaying()
    await replay.shows('space pauses')
    await replay.shows('session s_')
    replay.type('/neeedx\u007f\u007f\u007fdle\r')
    await replay.shows('select second Needle')
    await replay.shows('found: space goes on')
    expect(replay.shown).not.toContain('select third')
    replay.type('n')
    await replay.shows('select fourth needle')
    expect(replay.shown).not.toContain('select last')
    replay.type('/x\u007f\u007f')
    replay.type('n')
    await replay.shows('not found: needle')
    expect(await replay.ends()).toBe(0)
    using given = replaying()
    await given.shows('session s_')
    given.type('/q')
    await given.shows('/q')
    given.type('\u0003')
    expect(await given.ends()).toBe(130)
  }, 30_000)

  it('replays a recorded terminal as that terminal, without what would act on this one', async () => {
    const { Terminal } = await import('../support/terminal.ts')
    const recorder = sampleRecorder(folder)
    const output = (text: string) =>
      recorder.append({ kind: 'terminal', direction: 'output', bytes: Buffer.from(text) })
    output('\u001b[?1049h\u001b[31mred\u001b]52;c;b3duZWQ=\u0007')
    output('\u001b[6n\u001b[0mend')
    await recorder.close('', 0)
    const options = { cwd: place.folder, env: { ...place.env, TERM: 'xterm-256color' } }
    using replay = new Terminal(agentgateBin, ['sessions', 'replay', path.basename(recorder.path)], options)
    await replay.shows('end')
    expect(await replay.ends()).toBe(0)
    expect(replay.shown).toContain('\u001b[?1049h\u001b[31mred')
    expect(replay.shown).not.toContain('52;c')
    expect(replay.shown).not.toContain('\u001b[6n')
    expect(replay.shown).toContain('\u001b[?1049l')
    const text = await place.run(['sessions', 'replay', path.basename(recorder.path), '--text'])
    expect(text.stdout).toContain('redend')
    expect(text.stdout).not.toContain('\u001b')
  })
})
