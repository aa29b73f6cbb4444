import { describe, expect, it } from 'vitest'
import { c1, sampleAction, sampleOutcome, sampleStart } from '../../../test/recording/sample.ts'
import type { ReplayItem } from '../../recording/replay.ts'
import type { StoredEvent } from '../../recording/stored-event.ts'
import { paintFor } from '../paint.ts'
import { ReplayText } from './replay-text.ts'

const at = new Date(2026, 10, 21, 14, 7, 12).getTime()
const event = (event: StoredEvent, sequence = 7): ReplayItem => ({ kind: 'event', placed: { sequence, at, event } })
const text = (items: readonly ReplayItem[], rows: number | null = null) => {
  const replay = new ReplayText({ width: null, rows }, paintFor(false))
  return items.flatMap(item => replay.lines(item))
}
const table = (columns: string[], rows: (string | null)[][]): ReplayItem => ({
  kind: 'result',
  at,
  connection: c1,
  action: 7,
  shown: { kind: 'table', text: '', columns, rows },
})

describe('a replay as text', () => {
  it('shows a statement, its rows and what came of it', () => {
    expect(
      text([
        event({ ...sampleStart(), salt: '', key: null }, 1),
        event(sampleAction('select id,\n  email\nfrom customers') as StoredEvent),
        table(
          ['id', 'email'],
          [
            ['1', 'maria@example.com'],
            ['20', null],
          ],
        ),
        table(['id', 'email'], [['3', 'x']]),
        event({ ...sampleOutcome(7, 3), masked: ['email'] } as StoredEvent, 9),
      ]).slice(1),
    ).toEqual([
      '14:07:12  c1 #7  select id,',
      '            email',
      '          from customers',
      '          id  email',
      '          1   maria@example.com',
      '          20  NULL',
      '          3   x',
      '          3 rows · 3.0 ms · email masked',
    ])
  })

  it('shows so many rows and says how many more there are', () => {
    const lines = text(
      [table(['n'], [['1'], ['2'], ['3']]), table(['n'], [['4']]), event(sampleOutcome(7, 4) as StoredEvent)],
      2,
    )
    expect(lines.slice(1, -1)).toEqual(['          1', '          2', '          … 2 more (--rows 0 shows all)'])
  })

  it('shows who let it run, and what was asked for', () => {
    const action = sampleAction('update payments set status = 1 where id = 3', {
      outcome: 'approved',
      rule: { name: 'payments', place: 'agentgate.yaml:51' },
      asked: 'update payments set status = 1',
      approval: { id: 'a_1' as never, by: 'olga', reason: 'only one', edited: true, waitedMs: 12_000 },
    })
    expect(text([event(action as StoredEvent)])).toEqual([
      '14:07:12  c1 #7  update payments set status = 1 where id = 3',
      '          approved',
      '          edited and approved by olga after 12 s: only one',
      '          asked for: update payments set status = 1',
      '          rule "payments" (agentgate.yaml:51)',
    ])
  })

  it('never shows a control or a mark that reorders text, wherever it was recorded', () => {
    const evil = 'a\u001b]0;x\u0007b\u202ec\u009bd'
    const view = { ...sampleAction(evil).view, parameters: [evil] }
    const decision = {
      outcome: 'rejected' as const,
      rule: { name: evil, place: evil },
      message: evil,
      asked: evil,
      approval: { id: evil as never, by: evil, reason: evil, edited: false, waitedMs: 1 },
    }
    const items: ReplayItem[] = [
      event({ ...sampleAction(evil, decision), view }),
      event({ kind: 'connection', connection: evil as typeof c1, resource: evil, peer: evil }),
      event({ kind: 'client', connection: c1, process: { pid: 1, program: evil, ancestry: [evil] } }),
      event({ ...sampleOutcome(7), tag: evil, rows: null, masked: [evil] } as StoredEvent),
      event({ kind: 'note', connection: null, text: evil }),
      event({ kind: 'connection-end', connection: c1, reason: evil }),
      event({ kind: 'session-end', reason: evil, exitCode: 1 }),
      event({ kind: 'unknown', name: evil }),
      event({ kind: 'terminal', direction: 'output', bytes: Buffer.from(evil) }),
      event({ kind: 'result-digest', connection: c1, action: 7, kept: 1, bytes: 2, sha256: evil }),
      table([evil], [[evil]]),
      { kind: 'result', at, connection: c1, action: 7, shown: { kind: 'text', text: evil } },
      { kind: 'problem', problem: { kind: 'altered', place: 'segment', number: 1, sequence: 1, at, text: evil } },
    ]

    for (const line of text(items)) expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/)
  })
})
