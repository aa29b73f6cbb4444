import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import type { ApprovalRequest } from '../../control/schema.ts'
import { approvalRequest, view } from '../../../test/cli/fake-session.ts'
import { paintFor } from '../paint.ts'
import { ApprovalDesk } from './approval-desk.ts'
import { approvalPanel } from './approval-panel.ts'
import { KeyReader } from './keys.ts'
import { widthOf } from './line.ts'

const now = new Date('2026-11-21T14:08:02Z')
const plain = paintFor(false)

async function desk(requests: Partial<ApprovalRequest>[], ...keys: string[]): Promise<ApprovalDesk> {
  const made = new ApprovalDesk()
  for (const change of requests)
    made.add({
      request: approvalRequest({ askedAt: '2026-11-21T14:07:50Z', expiresAt: '2026-11-21T14:17:50Z', ...change }),
      preview: text => Promise.resolve({ kind: 'ok', view: view({ text }), verdict: 'allow' }),
      approver: {
        missing: () => 'passphrase',
        unlock: () => Promise.resolve(true),
        answer: () => Promise.resolve({ kind: 'decided', outcome: 'approved' }),
      },
    })
  const reader = new KeyReader()
  Object.defineProperty(made.arming, 'accept', { value: () => true })
  made.fitted(1, 1)
  for (const key of keys) {
    for (const each of [...reader.push(key), ...reader.flush()]) made.press(each)
    made.fitted(1, 1)
    await new Promise(resolve => setImmediate(resolve))
  }
  return made
}

const lines = (of: ApprovalDesk, size = { width: 110, height: 24 }) =>
  approvalPanel(of, size, plain, now).lines.map(line => stripVTControlCharacters(line).trimEnd())

describe('the approval panel', () => {
  it('shows effects first, then who, the rule, the statement with its values, and the keys', async () => {
    expect(lines(await desk([{}, { id: 'a_000002' }]))).toMatchInlineSnapshot(`
      [
        "db-prod   UPDATE payments                                                      1 of 2 waiting   holds no locks",
        "changes   payments, about 1 row of 48,211 (primary key)",
        "asked by  claude (agent) for maria@example.com · ticket INC-2201 · in psql · 12 s ago",
        "rule      payments need a second pair of eyes (agentgate.yaml:52)   approve: you, within 9:48",
        "",
        "  update payments set status = 'refunded'",
        "  where id = $1                              $1 = 1841",
        "",
        "[a] approve once   [e] edit   [r] reject with a reason   [s] this shape, with limits   [↓] next   [esc] later",
      ]
    `)
  })

  it('says what it does where the protocol does not', async () => {
    const shown = lines(await desk([{ effects: [], view: view({ writes: [], effect: 'unknown', verbs: ['call'] }) }]))
    expect(shown[1]).toBe('effect    not known (call)')
  })

  it('shows locks, the reason, and a person who acts alone', async () => {
    const shown = lines(await desk([{ holdsLocks: true, actor: null, ticket: null, purpose: 'refund for 1841' }]))
    expect(shown[0]).toMatch(/holds locks$/)
    expect(shown[2]).toBe('asked by  maria@example.com · in psql · 12 s ago')
    expect(shown[3]).toBe('why       refund for 1841')
  })

  it('shows nothing of what a statement would do to the terminal', async () => {
    const evil = view({
      text: 'select 1 \u001b[2J\u001b]0;owned\u0007 -- \u202edrawkcab',
      summary: 'SELECT\r\u001b[1A',
      parameters: ['\u001b[31m', null, ''],
    })
    const shown = approvalPanel(
      await desk([{ view: evil, principal: 'a\u0007b', purpose: '\u009b1A' }]),
      { width: 110, height: 30 },
      plain,
      now,
    )

    expect(shown.lines.join('\n')).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
    expect(shown.lines.join('\n')).toContain('\\x1b[2J')
    expect(shown.lines.join('\n')).toContain('$2 = null')
  })

  it('scrolls what does not fit, and says how much there is', async () => {
    const text = Array.from({ length: 60 }, (_, index) => `line ${index + 1}`).join('\n')
    const made = await desk([{ view: view({ text, parameters: [] }) }])
    const panel = approvalPanel(made, { width: 80, height: 20 }, plain, now)
    expect(panel.lines).toHaveLength(20)
    expect(panel.total).toBe(67)
    expect(panel.lines.at(-3)).toMatch(/lines 1–16 of 67 · space/)
  })

  it.each(['a', 'r', 's', 'e'])('keeps to its size in every mode (%s)', async key => {
    const text = Array.from({ length: 40 }, (_, index) => `${'wide '.repeat(30)}${index}`).join('\n')
    for (const [width, height] of [
      [110, 24],
      [60, 16],
      [30, 10],
    ] as const) {
      const made = await desk([{ view: view({ text, parameters: ['漢字'.repeat(60)] }) }, { id: 'a_000002' }], key)
      const panel = approvalPanel(made, { width, height }, paintFor(true), now)
      expect(panel.lines.length, `${width}×${height}`).toBeLessThanOrEqual(height)
      for (const line of panel.lines) expect(widthOf(line), line).toBeLessThanOrEqual(width)
    }
  })

  it('puts bound values below where there is no room beside', async () => {
    const shown = lines(await desk([{ view: view({ parameters: ['x'.repeat(100)] }) }]))
    expect(shown).toContain(`  $1 = ${'x'.repeat(100)}`)
  })

  it('edits in place', async () => {
    expect(lines(await desk([{}], 'e')).slice(1)).toMatchInlineSnapshot(`
      [
        "",
        "  1  update payments set status = 'refunded'",
        "  2  where id = $1",
        "",
        "[ctrl-s] see old against new   [esc] back",
      ]
    `)
  })

  it('shows old against new before an edit runs', async () => {
    expect(lines(await desk([{}], 'e', '\u001b[B', '\u001b[F', ' and status is null', '\u0013')))
      .toMatchInlineSnapshot(`
      [
        "db-prod   UPDATE payments                                                           1 waiting   holds no locks",
        "now       UPDATE payments",
        "changes   public.payments (update)",
        "decision  no rule is against it",
        "",
        "    update payments set status = 'refunded'",
        "  - where id = $1",
        "  + where id = $1 and status is null",
        "  $1 = 1841",
        "",
        "[a] run this instead   [e] edit on   [esc] back",
      ]
    `)
  })

  it('asks for a reason', async () => {
    expect(lines(await desk([{}], 'r', 'n', 'o')).slice(-2)).toMatchInlineSnapshot(`
      [
        "why not?  no",
        "[enter] reject: the asker gets this as the error   [esc] back",
      ]
    `)
  })

  it('shows the limits of a shape', async () => {
    expect(lines(await desk([{}], 's')).slice(-2)).toMatchInlineSnapshot(`
      [
        "statements of this shape, with any values, run unasked at most 10 times within 30 min",
        "[a] approve the shape   [←→] change   [↑↓] times or minutes   [esc] back",
      ]
    `)
  })

  it('hides a passphrase', async () => {
    const shown = lines(await desk([{}], 'a', 's', '3', 'c'))
    expect(shown.at(-2)).toBe('passphrase  •••')
  })
})
