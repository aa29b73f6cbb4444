import { generateKeyPairSync, sign, verify } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { proofText } from '../control/proof.ts'
import type { ApprovalAnswer, ControlEvent } from '../control/schema.ts'
import { AgentgateError } from '../errors.ts'
import { newSessionId } from '../ids.ts'
import type { Subject } from '../policy/subject.ts'
import { ApprovalGate, type HoldRequest } from './approval-gate.ts'
import { systemClock } from './clock.ts'
import { EventHub } from './event-hub.ts'

const person: Subject = {
  principal: { name: 'maria', groups: ['dba'], source: 'os-user' },
  actor: null,
  confined: false,
  purpose: null,
  ticket: null,
}

function gate(options: { subject?: Subject; verifyProof?: (text: Buffer, proof: string) => boolean } = {}) {
  const hub = new EventHub()
  const made = new ApprovalGate({
    session: newSessionId(),
    subject: options.subject ?? person,
    clock: systemClock,
    hub,
    verifyProof: () => options.verifyProof ?? null,
  })
  return { gate: made, hub }
}

function request(text = 'update payments set status = 1', changes: Partial<HoldRequest> = {}): HoldRequest {
  return {
    resource: 'db-prod',
    connection: 'c1',
    view: { kind: 'test', summary: text, text, effect: 'change', verbs: [], reads: [], writes: [], attributes: {} },
    ask: { effects: [], shapeKey: 'shape', askKey: text, editable: true },
    rule: { name: 'two pairs of eyes', place: 'agentgate.yaml:1' },
    approvers: { groups: [], count: 1, notSelf: false, withinSeconds: 600 },
    holdsLocks: false,
    client: null,
    countsRows: false,
    check: edited =>
      Promise.resolve(
        edited.includes('drop')
          ? { kind: 'refused', message: 'no drops' }
          : { kind: 'ok', action: { kind: 'test', shape: {} }, view: request().view, verdict: 'allow' },
      ),
    ...changes,
  }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('answers', () => {
  test('the first counts, the second is told', async () => {
    const { gate: made } = gate()
    const hold = made.hold(request())
    const [one, two] = await Promise.all([
      made.answer(hold.id, { outcome: 'approve' }, 'terminal'),
      made.answer(hold.id, { outcome: 'reject', reason: 'no' }, 'terminal'),
    ])
    expect(one).toEqual({ kind: 'decided', outcome: 'approved' })
    expect(two).toMatchObject({ kind: 'refused', code: 'NO_SUCH_APPROVAL' })
    expect(await hold.outcome).toMatchObject({ kind: 'approved', by: 'maria' })
  })

  test('an edit that the policy denies leaves the request open', async () => {
    const { gate: made } = gate()
    const hold = made.hold(request())
    expect(await made.answer(hold.id, { outcome: 'edit', text: 'drop table payments' }, 'terminal')).toMatchObject({
      kind: 'refused',
      message: 'no drops',
    })
    expect(made.waiting).toBe(1)
    expect(await made.answer(hold.id, { outcome: 'edit', text: 'select 1' }, 'terminal')).toEqual({
      kind: 'decided',
      outcome: 'edited',
    })
    expect(await hold.outcome).toMatchObject({ kind: 'approved', edit: { action: { kind: 'test' } } })
  })

  test('while an edit is being decided anew, another answer is told to wait, and a withdrawal wins', async () => {
    const { gate: made } = gate()
    let release = (): void => undefined
    const checked = new Promise<void>(resolve => (release = resolve))
    const slow = request('x', {
      check: async () => {
        await checked
        return { kind: 'ok', action: { kind: 'test', shape: {} }, view: request().view, verdict: 'allow' }
      },
    })
    const hold = made.hold(slow)
    const edit = made.answer(hold.id, { outcome: 'edit', text: 'y' }, 'terminal')
    expect(await made.answer(hold.id, { outcome: 'approve' }, 'terminal')).toMatchObject({ kind: 'refused' })
    hold.withdraw()
    release()
    expect(await edit).toMatchObject({ kind: 'refused' })
    expect(await hold.outcome).toMatchObject({ kind: 'withdrawn' })
  })

  test('nobody answers: it times out, sooner where locks are held', async () => {
    const { gate: made } = gate()
    const long = made.hold(request('a'))
    const short = made.hold(request('b', { holdsLocks: true }))
    expect([long.withinSeconds, short.withinSeconds]).toEqual([600, 30])
    await vi.advanceTimersByTimeAsync(30_000)
    expect(await short.outcome).toMatchObject({ kind: 'timed-out' })
    expect(made.waiting).toBe(1)
    await vi.advanceTimersByTimeAsync(570_000)
    expect(await long.outcome).toMatchObject({ kind: 'timed-out' })
  })

  test('the end of the session ends every wait', async () => {
    const { gate: made } = gate()
    const hold = made.hold(request())
    made.end(new AgentgateError('REVOKED', 'over'))
    expect(await hold.outcome).toMatchObject({ kind: 'ended', error: { code: 'REVOKED' } })
  })
})

describe('against tiredness', () => {
  test('at most three requests wait at once', () => {
    const { gate: made } = gate()
    for (const text of ['a', 'b', 'c']) made.hold(request(text))
    expect(made.refusal(request('d'))).toMatch('3 requests')
  })

  test('the same ask after a rejection is rejected by itself, another one is not', async () => {
    const { gate: made } = gate()
    const hold = made.hold(request('a'))
    await made.answer(hold.id, { outcome: 'reject', reason: 'wrong id' }, 'terminal')
    expect(made.refusal(request('a'))).toMatch('wrong id')
    expect(made.refusal(request('b'))).toBeUndefined()
  })

  test('a shape is approved for so many times and so long, under its own rule only', async () => {
    const { gate: made } = gate()
    const first = request()
    const hold = made.hold(first)
    await made.answer(hold.id, { outcome: 'approve', shape: { times: 2, seconds: 60 } }, 'terminal')
    expect(made.useShape('db-prod', { name: 'other', place: '' }, first.ask, true)).toBeUndefined()
    expect(made.useShape('db-test', first.rule, first.ask, true)).toBeUndefined()
    expect(made.useShape('db-prod', first.rule, first.ask, true)).toMatchObject({ by: 'maria', id: hold.id })
    expect(made.useShape('db-prod', first.rule, first.ask, true)).toBeUndefined()
    const again = made.hold(request('again'))
    await made.answer(again.id, { outcome: 'approve', shape: { times: 100, seconds: 60 } }, 'terminal')
    await vi.advanceTimersByTimeAsync(61_000)
    expect(made.useShape('db-prod', first.rule, first.ask, true)).toBeUndefined()
  })

  test('rows are bounded together, and only where they can be counted', async () => {
    const { gate: made } = gate()
    const first = request('delete', { countsRows: true })
    const hold = made.hold(first)
    await made.answer(hold.id, { outcome: 'approve', shape: { times: 9, seconds: 60, rows: 5 } }, 'terminal')
    const outcome = await hold.outcome
    const own = outcome.kind === 'approved' ? outcome.shape : null
    expect(own?.takeRows?.(2)).toBe(true)
    expect(made.useShape('db-prod', first.rule, first.ask, false)).toBeUndefined()
    const [one, two] = [1, 2].map(() => made.useShape('db-prod', first.rule, first.ask, true))
    expect(one?.takeRows?.(4)).toBe(false)
    expect(one?.takeRows?.(2)).toBe(true)
    expect(two?.takeRows?.(2)).toBe(false)
    expect(two?.takeRows?.(1)).toBe(true)
    expect(made.useShape('db-prod', first.rule, first.ask, true)).toBeUndefined()
    const plain = made.hold(request('select'))
    expect(made.list().map(each => each.countsRows)).toEqual([false])
    const answer = { outcome: 'approve', shape: { times: 2, seconds: 60, rows: 5 } } as const
    expect(await made.answer(plain.id, answer, 'terminal')).toMatchObject({ kind: 'refused', code: 'USAGE' })
  })

  test('what has no known shape is approved once or not at all', async () => {
    const { gate: made } = gate()
    const unknown = request('do $$ … $$', { ask: { effects: [], shapeKey: null, askKey: 'x', editable: true } })
    const hold = made.hold(unknown)
    expect(
      await made.answer(hold.id, { outcome: 'approve', shape: { times: 2, seconds: 60 } }, 'terminal'),
    ).toMatchObject({ kind: 'refused' })
  })
})

describe('who may answer', () => {
  const keys = generateKeyPairSync('ed25519')
  const verifyProof = (text: Buffer, proof: string) => verify(null, text, keys.publicKey, Buffer.from(proof, 'base64'))
  const prove = (challenge: string, answer: ApprovalAnswer) =>
    sign(null, proofText(challenge, answer), keys.privateKey).toString('base64')

  test('without a passphrase, a yes from outside the terminal is refused with a hint; a no is not', async () => {
    const { gate: made } = gate()
    const hold = made.hold(request())
    expect(await made.answer(hold.id, { outcome: 'approve' }, 'socket')).toMatchObject({
      code: 'PASSPHRASE',
      hint: expect.stringContaining('agentgate passphrase'),
    })
    expect(await made.answer(hold.id, { outcome: 'reject', reason: 'no' }, 'socket')).toMatchObject({ kind: 'decided' })
  })

  test.each<[string, ApprovalAnswer, ApprovalAnswer]>([
    ['an approval for an edit', { outcome: 'approve' }, { outcome: 'edit', text: 'select 1' }],
    ['one edit for another', { outcome: 'edit', text: 'select 1' }, { outcome: 'edit', text: 'select 2' }],
    ['one run for a shape', { outcome: 'approve' }, { outcome: 'approve', shape: { times: 1000, seconds: 3600 } }],
  ])('a proof for %s does not count', async (_, signed, sent) => {
    const { gate: made } = gate({ verifyProof })
    const hold = made.hold(request())
    const challenge = made.list()[0]!.challenge!
    expect(await made.answer(hold.id, { ...sent, proof: prove(challenge, signed) }, 'socket')).toMatchObject({
      code: 'PASSPHRASE',
    })
    expect(await made.answer(hold.id, { ...sent, proof: prove(challenge, sent) }, 'socket')).toMatchObject({
      kind: 'decided',
    })
  })

  test('a proof made for one request does not answer another', async () => {
    const { gate: made } = gate({ verifyProof })
    made.hold(request('a'))
    const other = made.hold(request('b'))
    const proof = prove(made.list()[0]!.challenge!, { outcome: 'approve' })
    expect(await made.answer(other.id, { outcome: 'approve', proof }, 'socket')).toMatchObject({ code: 'PASSPHRASE' })
  })

  test('a confined asker cannot reach the socket, so no proof is needed', async () => {
    const { gate: made } = gate({ subject: { ...person, confined: true, actor: { name: 'claude', proven: false } } })
    const hold = made.hold(request())
    expect(made.list()[0]!.challenge).toBeNull()
    expect(await made.answer(hold.id, { outcome: 'approve' }, 'socket')).toMatchObject({ kind: 'decided' })
  })

  test.each([
    [{ notSelf: true }, 'somebody else'],
    [{ count: 2 }, '2 approvers'],
    [{ groups: ['sec'] }, 'approval by sec'],
  ])('what can never be met alone is refused at once: %j', (approvers, message) => {
    const { gate: made } = gate()
    const asked = request()
    expect(made.refusal({ ...asked, approvers: { ...asked.approvers, ...approvers } })).toMatch(message)
  })
})

test('watchers see a request and its end, and one that comes late sees what still waits', async () => {
  const { gate: made, hub } = gate()
  const stop = new AbortController()
  const seen: ControlEvent['event'][] = []
  const watching = (async () => {
    for await (const event of hub.watch(stop.signal)) {
      seen.push(event.event)
      if (event.event === 'approval-ended') stop.abort()
    }
  })()
  const hold = made.hold(request())
  hold.withdraw()
  await watching
  expect(seen).toEqual(['approval', 'approval-ended'])
})
