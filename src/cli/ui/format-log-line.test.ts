import { describe, expect, it } from 'vitest'
import { FakeSession } from '../../../test/cli/fake-session.ts'
import type { ControlEvent } from '../../control/schema.ts'
import { paintFor } from '../paint.ts'
import { formatLogLine, tabbedLogLine } from './format-log-line.ts'
import { widthOf } from './line.ts'
import { StatementLog, type LogLine } from './statement-log.ts'

/** What a session's events come to. */
async function logged(work: (session: FakeSession) => void): Promise<LogLine[]> {
  const session = new FakeSession()
  const log = new StatementLog()
  const lines: LogLine[] = []
  const done = new AbortController()
  const watching = (async () => {
    for await (const event of session.events(done.signal)) {
      const line = log.line(event)
      if (line !== undefined) lines.push(line)
    }
  })()
  await new Promise(resolve => setImmediate(resolve))
  work(session)
  done.abort()
  await watching
  return lines
}

const shown = (line: LogLine, width = 110) =>
  formatLogLine(line, { width, resources: false }, paintFor(false)).replace(/^\d\d:\d\d:\d\d/, 'HH:MM:SS')

describe('statement lines', () => {
  it('say what was asked and what came of it', async () => {
    const lines = await logged(session => {
      session.statement('select id, email\n  from orders', 20, ['email'])
      session.statement('select 1', 1)
      session.decide('denied', 'delete from orders', 'no unbounded writes')
      session.decide('held', 'update payments set a = 1', 'payments need a second pair of eyes')
      session.decide('rejected', 'update payments set a = 1')
      session.decide('timed-out', 'update payments set a = 1')
      session.emit({ event: 'notice', at: new Date().toISOString(), level: 'warning', text: 'access ends in 60 s' })
    })
    expect(lines.map(line => shown(line))).toMatchInlineSnapshot(`
      [
        "HH:MM:SS  psql      select id, email from orders                   20 rows     3 ms   email masked",
        "HH:MM:SS  psql      select 1                                         1 row     3 ms",
        "HH:MM:SS  psql      delete from orders                              denied  no unbounded writes",
        "HH:MM:SS  psql      update payments set a = 1                      waiting  payments need a second pair of ey…",
        "HH:MM:SS  psql      update payments set a = 1                     rejected",
        "HH:MM:SS  psql      update payments set a = 1                    timed out  nobody answered",
        "HH:MM:SS  ⚠ access ends in 60 s",
      ]
    `)
  })

  it('name the client as soon as it is known, also for what it asked before', async () => {
    const lines = await logged(session => {
      const action = session.decide('allowed', 'select 1')
      const event = { at: new Date().toISOString(), session: session.id, connection: 'c9' } as const
      session.emit({
        ...event,
        event: 'decision',
        resource: 'db-prod',
        action: 77,
        decision: 'denied',
        rule: null,
        summary: 'X',
        text: 'X',
        client: null,
      })
      session.emit({ ...event, event: 'connection', resource: 'db-prod', state: 'open', client: 'DBeaver' })
      expect(action).toBe(1)
    })
    expect(lines[0]?.client()).toBe('DBeaver')
  })

  it.each([200, 110, 80, 60, 40])('take one row of %d columns', async width => {
    const lines = await logged(session => {
      session.statement('select '.repeat(100), 1_234_567, ['customers.email', 'customers.phone', 'anything secret'])
      session.statement('漢字'.repeat(100))
      session.decide('denied', 'delete\u001b[2J from orders', 'a rule with quite a long name that says what it is for')
    })
    for (const line of lines) {
      const text = formatLogLine(line, { width, resources: true }, paintFor(true))
      expect(widthOf(text)).toBeLessThanOrEqual(width)
      expect(text).not.toContain('\n')
      expect(text).not.toContain('\u001b[2J')
    }
  })

  it('are whole and tab-separated in a pipe', async () => {
    const [line] = await logged(session => session.decide('denied', 'delete\tfrom\norders', 'no unbounded writes'))
    expect(tabbedLogLine(line!).replace(/^\S+/, 'TIME')).toBe(
      'TIME\tdb-prod\tpsql\tdenied\t\tno unbounded writes\tdelete\\tfrom\\norders',
    )
  })

  it('do not keep statements whose outcome never comes', () => {
    const log = new StatementLog()
    const decision = (action: number): ControlEvent => ({
      event: 'decision',
      at: new Date().toISOString(),
      session: 's',
      resource: 'db',
      connection: 'c1',
      action,
      decision: 'allowed',
      rule: null,
      summary: 'SELECT',
      text: 'select 1',
      client: null,
    })
    for (let action = 0; action < 10_000; action++) log.line(decision(action))
    const outcome = (action: number) =>
      log.line({
        event: 'outcome',
        at: new Date().toISOString(),
        session: 's',
        connection: 'c1',
        action,
        status: 'ok',
        tag: '',
        rows: 1,
        milliseconds: 1,
        masked: [],
      })
    expect(outcome(1)).toBeUndefined()
    expect(outcome(9_999)).toBeDefined()
  })
})
