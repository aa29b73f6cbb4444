import { appendFileSync, chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeAll, expect, it } from 'vitest'
import { newFolder } from '../support/folder.ts'
import type { FakeSession } from './fake-session.ts'
import { describeWith } from '../support/needs.ts'
import { keys, pseudoTerminal, Screen } from '../support/screen.ts'
import { bundleWithScreens } from './bundle.ts'

/** Longer than a question must be on screen before a key counts. */
const armedMs = 700

let program = ''
const opened: Live[] = []

/** The live screen of connect over a fake session, in a real pseudo-terminal; `step` makes something happen in it. */
class Live {
  readonly screen: Screen
  readonly #steps: string
  readonly #answers: string

  constructor(options: { columns?: number; rows?: number; env?: Record<string, string> } = {}) {
    const folder = newFolder('screen')
    this.#steps = path.join(folder, 'steps')
    this.#answers = path.join(folder, 'answers.json')
    writeFileSync(this.#steps, '')
    this.screen = new Screen(process.execPath, [program], {
      ...options,
      env: {
        STEPS: this.#steps,
        ANSWERS: this.#answers,
        AGENTGATE_HOME: path.join(folder, 'home'),
        AGENTGATE_BROKER: 'none',
        HOME: folder,
        ...options.env,
      },
    })
    opened.push(this)
  }

  static async open(options: ConstructorParameters<typeof Live>[0] = {}): Promise<Live> {
    const live = new Live(options)
    await live.screen.shows(/\[q\] close/)
    return live
  }

  step(...lines: readonly string[]): void {
    appendFileSync(this.#steps, lines.map(line => `${line}\n`).join(''))
  }

  async held(...lines: readonly string[]): Promise<void> {
    this.step(...lines)
    await this.screen.showsBold('[a]')
  }

  async answers(): Promise<FakeSession['answers']> {
    this.screen.send(keys.control('c'))
    if (!existsSync(this.#answers)) {
      await sleep(150)
      if (!existsSync(this.#answers)) this.screen.send(keys.control('c')) // the first one left a mode
    }
    await this.screen.exited()
    return JSON.parse(readFileSync(this.#answers, 'utf8')) as FakeSession['answers']
  }

  close(): void {
    this.screen[Symbol.dispose]()
  }
}

afterEach(() => {
  for (const live of opened.splice(0)) live.close()
})

describeWith('the connect screen', [pseudoTerminal], () => {
  beforeAll(async () => {
    program = await bundleWithScreens('test/cli/connect-harness.ts')
  })

  it('says what is open, as whom, until when, and what each key does', async () => {
    const { screen } = await Live.open()
    const shown = screen.text()
    expect(shown).toMatch(/^db-prod {3}postgres · shop at db\.internal · scope read · as maria@example\.com$/m)
    expect(shown).toMatch(/^open {6}127\.0\.0\.1:15432 {4}until .+ \(5[89] min\) {4}recording s_7Q2M4XJ9KD$/m)
    expect(shown).toMatch(/^ +postgresql:\/\/maria@127\.0\.0\.1:15432\/shop {7}c copies it with its password$/m)
    expect(shown).toMatch(/^rules {5}3 deny, 1 asks for approval, 2 masks {9}agentgate policy explain db-prod$/m)
    expect(shown).toMatch(/\[c\] copy url {3}\[s\] fewer statements {3}\[r\] renew {3}\[q\] close$/)
    expect(shown).not.toMatch(/ag_secret/)
  })

  it('shows statements as they pass, aligned, with what came of them', async () => {
    const live = await Live.open()
    live.step('masked select id, email, total from orders', 'denied delete from orders', 'statement select 1')
    const shown = await live.screen.shows(/select 1/)
    const lines = shown.split('\n').filter(line => /^\d\d:\d\d:\d\d/.test(line))
    expect(lines[0]).toMatch(/^\S+ {2}psql {6}select id, email, total from orders +20 rows {5}3 ms {3}email masked$/)
    expect(lines[1]).toMatch(/^\S+ {2}psql {6}delete from orders +denied {2}no unbounded writes$/)
    expect(lines[1]!.indexOf('denied') + 'denied'.length).toBe(lines[0]!.indexOf('20 rows') + '20 rows'.length)
    expect(await live.screen.shows(/3 statements, 1 denied/)).toBeTruthy()
  })

  it('approves with a, once the question has been on screen', async () => {
    const live = await Live.open()
    await live.held('hold a_000001')
    expect(live.screen.text()).toMatch(/^changes {3}payments, about 1 row of 48,211 \(primary key\)$/m)
    live.screen.send('a')
    await live.screen.shows(/approved: UPDATE payments/)
    expect(await live.answers()).toMatchObject([{ id: 'a_000001', answer: { outcome: 'approve' } }])
  })

  it('takes no key that was typed before the question was on screen', async () => {
    const live = await Live.open()
    // The screen is busy: what is typed meanwhile waits in the terminal, and then meets a question.
    live.step('busy 600', 'hold a_000001')
    await sleep(200)
    await live.screen.type('aaa', 50)
    await live.screen.shows(/\[a\] approve once/)
    await sleep(armedMs)
    expect(await live.answers()).toEqual([])
  })

  it('takes no key that is typed while the question appears, nor a run of typing that goes on', async () => {
    const live = await Live.open()
    live.step('hold a_000001')
    await live.screen.type('select a from a where a = a;', 60)
    expect(live.screen.text()).toMatch(/\[a\] approve once/)
    expect(await live.answers()).toEqual([])
  })

  it('takes nothing pasted for an answer', async () => {
    const live = await Live.open()
    await live.held('hold a_000001')
    live.screen.send(keys.paste('a'), keys.paste('a\r'), 'aa')
    await sleep(200)
    expect(await live.answers()).toEqual([])
  })

  it('does not take the answer to one request for the next one’s', async () => {
    const live = await Live.open()
    await live.held('hold a_000001', 'hold a_000002')
    await live.screen.showsBold('[a]')
    await live.screen.type('aaaa', 20)
    await sleep(100)
    const answers = await live.answers()
    expect(answers.map(({ id }) => id)).toEqual(['a_000001'])
  })

  it('edits in place, shows old against new and the decision, and runs it only then', async () => {
    const live = await Live.open()
    await live.held('hold a_000001')
    live.screen.send('e')
    await live.screen.shows(/\[ctrl-s\]/)
    live.screen.send(keys.down, keys.end)
    await live.screen.type(' and status is null')
    live.screen.send(keys.control('s'))
    const shown = await live.screen.shows(/\[a\] run this instead/)
    expect(shown).toMatch(/^decision {2}no rule is against it$/m)
    expect(shown).toMatch(/^ {2}- where id = \$1$/m)
    expect(shown).toMatch(/^ {2}\+ where id = \$1 and status is null$/m)
    await live.screen.showsBold('[a]')
    live.screen.send('a')
    await live.screen.shows(/edited: UPDATE payments/)
    expect((await live.answers())[0]?.answer).toEqual({
      outcome: 'edit',
      text: "update payments set status = 'refunded'\nwhere id = $1 and status is null",
    })
  })

  it('does not offer to run an edit that a rule denies', async () => {
    const live = await Live.open()
    await live.held('deny', 'hold a_000001')
    live.screen.send('e')
    await live.screen.shows(/\[ctrl-s\]/)
    live.screen.send('x', keys.control('s'))
    const shown = await live.screen.shows(/decision {2}denied: an UPDATE or DELETE needs a WHERE/)
    expect(shown).not.toMatch(/run this instead/)
  })

  it('opens $EDITOR, while statements go on passing, and takes the screen back', async () => {
    const folder = newFolder('editor')
    const editor = path.join(folder, 'editor.sh')
    writeFileSync(
      editor,
      '#!/bin/sh\nstty -a | grep -q " icanon" && echo EDITING\nread line\necho "-- $line" >> "$1"\n',
    )
    chmodSync(editor, 0o700)
    const live = await Live.open({ env: { EDITOR: editor } })
    await live.held('hold a_000001')
    live.screen.send('e')
    await live.screen.shows(/\[ctrl-o\]/)
    live.screen.send(keys.control('o'))
    await live.screen.shows(/EDITING/)
    live.step('statement select 42')
    await live.screen.type('checked\r')
    await live.screen.shows(/3 {2}-- checked/)
    await live.screen.shows(/select 42/)
    live.screen.send(keys.control('s'))
    await live.screen.shows(/\+ -- checked/)
  })

  it('rejects with a reason', async () => {
    const live = await Live.open()
    await live.held('hold a_000001')
    live.screen.send('r')
    await live.screen.shows(/why not\?/)
    await live.screen.type('not on a Friday\r')
    await live.screen.shows(/rejected: UPDATE payments/)
    expect((await live.answers())[0]?.answer).toEqual({ outcome: 'reject', reason: 'not on a Friday' })
  })

  it('approves a shape with the limits that are shown', async () => {
    const live = await Live.open()
    await live.held('hold a_000001')
    live.screen.send('s')
    await live.screen.shows(/at most 10 times within 30 min/)
    live.screen.send(keys.right)
    await live.screen.shows(/at most 20 times within 30 min/)
    await live.screen.showsBold('[a]')
    live.screen.send('a')
    await live.screen.shows(/approved: UPDATE payments/)
    expect((await live.answers())[0]?.answer).toEqual({ outcome: 'approve', shape: { times: 20, seconds: 1800 } })
  })

  it('asks to see a long statement whole before it can be approved', async () => {
    const live = await Live.open()
    await live.held('hold-long')
    live.screen.send('a')
    await live.screen.shows(/there is more of it/)
    for (let page = 0; page < 20; page++) {
      live.screen.send(' ')
      await sleep(150)
    }
    await live.screen.shows(/line 60/)
    live.screen.send('a')
    await live.screen.shows(/approved:/)
  })

  it('shows what a statement would do to the terminal instead of doing it', async () => {
    const live = await Live.open()
    await live.held('hold-evil', 'statement select \u001b[2J 2')
    const shown = await live.screen.shows(/select \\x1b\[2J 2/)
    expect(shown).toMatch(/select 1 \\x1b\[2J\\x1b\]0;owned\\x07 -- \\u202etxet sdrawkcab/)
    expect(live.screen.raw).not.toContain('\u001b]0;owned')
  })

  it('says when the asker went away', async () => {
    const live = await Live.open()
    await live.held('hold a_000001')
    live.step('withdraw a_000001')
    const shown = await live.screen.shows(/the asker withdrew it/)
    expect(shown).not.toMatch(/\[a\]/)
  })

  it('puts a request off with escape, and shows it again with w', async () => {
    const live = await Live.open()
    await live.held('hold a_000001')
    live.screen.send(keys.escape)
    await live.screen.shows(/\[w\] 1 waiting/)
    live.screen.send('w')
    await live.screen.shows(/\[a\] approve once/)
  })

  it('rings for attention when something waits', async () => {
    const live = await Live.open()
    await live.held('hold a_000001')
    expect(live.screen.raw).toContain('\u0007')
  })

  it('copies the url through the terminal, password and all, and shows no password', async () => {
    const live = await Live.open()
    live.screen.send('c')
    const shown = await live.screen.shows(/sent to the clipboard/)
    const copied = /\u001b\]52;c;([\w+/=]+)\u0007/.exec(live.screen.raw)?.[1] ?? ''
    expect(Buffer.from(copied, 'base64').toString()).toBe('postgresql://maria:ag_secret@127.0.0.1:15432/shop')
    expect(shown).not.toMatch(/ag_secret/)
  })

  it('warns before access ends, and renews', async () => {
    const live = await Live.open()
    live.step('soon')
    await live.screen.shows(/⚠ access ends in 60 s/)
    live.screen.send('r')
    await live.screen.shows(/renewed: until .+ \((59 min|1 h)\)/)
  })

  it('shows fewer statements when asked, and what matters still', async () => {
    const live = await Live.open()
    live.screen.send('s')
    await live.screen.shows(/only what was denied/)
    live.step('statement select 1', 'denied delete from orders')
    const shown = await live.screen.shows(/no unbounded writes/)
    expect(shown).not.toMatch(/select 1/)
  })

  it('asks once more before it closes on connected clients, and closes at once on ctrl-c', async () => {
    const live = await Live.open({ env: { CONNECTED: '1' } })
    live.screen.send('q')
    await live.screen.shows(/2 clients connected: q again closes/)
    live.screen.send('q')
    expect(await live.screen.exited()).toBe(0)
    const other = await Live.open({ env: { CONNECTED: '1' } })
    other.screen.send(keys.control('c'))
    expect(await other.screen.exited()).toBe(0)
  })

  it('leaves the terminal as it was', async () => {
    const live = await Live.open()
    live.step('statement select 1')
    await live.screen.shows(/select 1/)
    live.screen.send('q')
    await live.screen.exited()
    const { raw } = live.screen
    expect(raw.lastIndexOf('\u001b[?25h')).toBeGreaterThan(raw.lastIndexOf('\u001b[?25l')) // the cursor
    expect(raw.lastIndexOf('\u001b[?2004l')).toBeGreaterThan(raw.lastIndexOf('\u001b[?2004h')) // bracketed paste
    expect(live.screen.text()).not.toMatch(/\[q\] close/)
    expect(live.screen.text()).toMatch(/select 1/)
  })

  it('counts what comes too fast to read, and stays responsive', async () => {
    const live = await Live.open()
    live.step('burst 20000')
    await live.screen.shows(/more, all in the recording/)
    live.step('denied delete from orders')
    await live.screen.shows(/no unbounded writes/)
    expect(live.screen.history().length).toBeLessThan(2000)
  })

  it.each([
    [60, 20],
    [40, 14],
    [200, 50],
  ])('fits a terminal of %d columns and %d rows', async (columns, rows) => {
    const live = await Live.open({ columns, rows })
    live.step('statement select id, email, total from orders', 'hold a_000001')
    const shown = await live.screen.shows(/\[a\] approve once/)
    expect(shown).toMatch(/\[esc\] later/)
    expect(shown).toMatch(/UPDATE payments/)
    live.screen.send(keys.control('c'))
    expect(await live.screen.exited()).toBe(0)
  })

  it('draws anew when the terminal changes its size', async () => {
    const live = await Live.open()
    await live.held('hold a_000001')
    live.screen.resize(70, 24)
    await live.screen.shows(text => text.split('\n').some(line => /^─{69}$/.test(line)))
    live.screen.resize(120, 30)
    await live.screen.shows(text => text.split('\n').some(line => /^─{119}$/.test(line)))
    live.screen.send('r')
    await live.screen.shows(/why not\?/)
  })

  it('has no colour where none is wanted', async () => {
    const live = await Live.open({ env: { NO_COLOR: '1' } })
    live.step('denied delete from orders', 'hold a_000001')
    await live.screen.shows(/\[a\] approve once/)
    await sleep(armedMs)

    expect(live.screen.raw).not.toMatch(/\u001b\[(?:[0-9]+;)*(?:3[0-7]|9[0-7]|1|2)m/)
  })
})
