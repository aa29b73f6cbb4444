import { describe, expect, it } from 'vitest'
import type { ApprovalAnswer, ApprovalRequest, ApprovalResult, EditPreview } from '../../control/schema.ts'
import { approvalRequest, view } from '../../../test/cli/fake-session.ts'
import { ApprovalDesk } from './approval-desk.ts'
import { Arming } from './arming.ts'
import { KeyReader } from './keys.ts'

class Bench {
  readonly time = { now: 0 }
  readonly desk: ApprovalDesk
  readonly answers: { id: string; answer: ApprovalAnswer }[] = []
  result: ApprovalResult | undefined
  preview: EditPreview = { kind: 'ok', view: view(), verdict: 'allow' }
  locked = false
  passphrase = 'correct horse'
  hangs = false

  constructor(openEditor?: (text: string) => Promise<string | undefined>) {
    const arming = new Arming(() => this.time.now)
    this.desk = new ApprovalDesk(openEditor === undefined ? { arming } : { arming, openEditor })
  }

  ask(change: Partial<ApprovalRequest> = {}): this {
    const request = approvalRequest(change)
    this.desk.add({
      request,
      preview: () => Promise.resolve(this.preview),
      approver: {
        missing: () => (this.locked ? 'passphrase' : null),
        unlock: text => {
          this.locked = text !== this.passphrase
          return Promise.resolve(!this.locked)
        },
        answer: (of, answer) => {
          this.answers.push({ id: of.id, answer })
          if (this.hangs) return new Promise(() => undefined)
          return Promise.resolve(
            this.result ?? {
              kind: 'decided',
              outcome: answer.outcome === 'approve' ? 'approved' : answer.outcome === 'reject' ? 'rejected' : 'edited',
            },
          )
        },
      },
    })
    return this.look()
  }

  /** The screen draws what is there, whole unless said otherwise, and the person looks at it. */
  look(lines = 10, shown = lines): this {
    const drawn = this.desk.arming.ask()
    this.desk.fitted(lines, shown)
    drawn()
    this.time.now += 1000
    return this
  }

  async type(...chunks: string[]): Promise<this> {
    const reader = new KeyReader()
    for (const chunk of chunks) {
      for (const key of [...reader.push(chunk), ...reader.flush()]) this.desk.press(key)
      await new Promise(resolve => setImmediate(resolve))
    }
    return this
  }
}

const named = (text: string) => text.split('')

describe('approving', () => {
  it('lets it run once with a', async () => {
    const bench = await new Bench().ask().type('a')
    expect(bench.answers).toEqual([{ id: 'a_7K2M9Q', answer: { outcome: 'approve' } }])
    expect(bench.desk.waiting).toEqual([])
    expect(bench.desk.message).toMatchObject({ tone: 'good', text: 'approved: UPDATE payments' })
  })

  it('has no key but a that says yes: not enter, blank, y, nor a paste', async () => {
    const bench = await new Bench().ask().type('\r', ' ', 'y', 'Y', 'A', '\t', '\u001b[200~a\u001b[201~', 'aa', 'a\r')
    expect(bench.answers).toEqual([])
  })

  it('takes no key that was typed before the question was drawn', async () => {
    const bench = new Bench().ask()
    bench.desk.remove('a_7K2M9Q')
    bench.ask({ id: 'a_000002' })
    bench.desk.arming.ask() // a new question, not drawn yet
    await bench.type('a')
    expect(bench.answers).toEqual([])
  })

  it('does not take a key for the next request that was meant for the last', async () => {
    const bench = new Bench().ask().ask({ id: 'a_000002' })
    await bench.type('a', 'a', 'a')
    expect(bench.answers.map(({ id }) => id)).toEqual(['a_7K2M9Q'])
    await bench.look().type('a')
    expect(bench.answers.map(({ id }) => id)).toEqual(['a_7K2M9Q', 'a_000002'])
  })

  it('does not answer twice while an answer is on its way', async () => {
    const bench = new Bench().ask()
    bench.hangs = true
    await bench.type('a')
    await bench.look().type('a', 'r', 'e')
    expect(bench.answers).toHaveLength(1)
  })

  it('asks to see all of it first', async () => {
    const bench = new Bench().ask().look(60, 12)
    await bench.type('a')
    expect(bench.answers).toEqual([])
    expect(bench.desk.message?.text).toMatch(/more of it/)
    for (let page = 0; page < 5; page++) {
      await bench.type(' ')
      bench.desk.fitted(60, 12)
    }
    expect(bench.desk.seenWhole).toBe(true)
    await bench.type('a')
    expect(bench.answers).toHaveLength(1)
  })

  it('answers what is shown, when what was shown goes away', async () => {
    const bench = new Bench().ask().ask({ id: 'a_000002' })
    bench.desk.remove('a_7K2M9Q', {
      event: 'approval-ended',
      at: '2026-01-01T00:00:00Z',
      id: 'a_7K2M9Q',
      outcome: 'withdrawn',
      by: null,
    })
    await bench.type('a')
    expect(bench.answers).toEqual([])
    expect(bench.desk.message?.text).toBe('the asker withdrew it')
  })

  it('says why an answer did not count, and goes on', async () => {
    const bench = new Bench().ask()
    bench.result = { kind: 'refused', code: 'PASSPHRASE', message: 'none is set', hint: 'agentgate passphrase' }
    await bench.type('a')
    expect(bench.desk.message).toMatchObject({ tone: 'bad', text: 'none is set · agentgate passphrase' })
    expect(bench.desk.current?.request.id).toBe('a_7K2M9Q')
    expect(bench.desk.mode.kind).toBe('view')
  })
})

describe('a shape', () => {
  it('is approved with limits on times and time, changed by arrows', async () => {
    const bench = await new Bench().ask().type('s')
    await bench.look().type('\u001b[D', '\u001b[B', '\u001b[C')
    await bench.look().type('a')
    expect(bench.answers[0]?.answer).toEqual({ outcome: 'approve', shape: { times: 5, seconds: 3600 } })
  })

  it('bounds rows only where these can be counted', async () => {
    const bench = await new Bench().ask({ countsRows: true }).type('s')
    await bench.look().type('\u001b[A', ...Array<string>(7).fill('\u001b[C'), 'a')
    expect(bench.answers[0]?.answer).toEqual({ outcome: 'approve', shape: { times: 10, seconds: 1800, rows: 100 } })
    const other = await new Bench().ask().type('s')
    await other.look().type('\u001b[A', '\u001b[C', '\u001b[A', 'a')
    expect(other.answers[0]?.answer).toEqual({ outcome: 'approve', shape: { times: 10, seconds: 3600 } })
  })

  it('is not approved by pressing s again, nor by enter', async () => {
    const bench = await new Bench().ask().type('s')
    await bench.look().type('s', '\r', ' ')
    expect(bench.answers).toEqual([])
  })

  it('never goes beyond a thousand times or a day', async () => {
    const bench = await new Bench().ask().type('s')
    await bench
      .look()
      .type(...Array<string>(40).fill('\u001b[C'), '\u001b[B', ...Array<string>(40).fill('\u001b[C'), 'a')
    expect(bench.answers[0]?.answer).toEqual({ outcome: 'approve', shape: { times: 1000, seconds: 86_400 } })
  })
})

describe('rejecting', () => {
  it('asks for a reason and sends it', async () => {
    const bench = await new Bench().ask().type('r')
    await bench.type('\r')
    expect(bench.answers).toEqual([])
    expect(bench.desk.message?.text).toMatch(/why/)
    await bench.type(...named('not today'), '\r')
    expect(bench.answers).toEqual([{ id: 'a_7K2M9Q', answer: { outcome: 'reject', reason: 'not today' } }])
  })

  it('takes a reason typed fast, and what follows it for nothing', async () => {
    const bench = new Bench().ask().ask({ id: 'a_000002' })
    await bench.type('r')
    await bench.type('no\ra')
    expect(bench.answers).toEqual([{ id: 'a_7K2M9Q', answer: { outcome: 'reject', reason: 'no' } }])
  })

  it('needs no passphrase', async () => {
    const bench = new Bench().ask()
    bench.locked = true
    await bench.type('r', ...named('no'), '\r')
    expect(bench.answers).toHaveLength(1)
  })

  it('is left with escape', async () => {
    const bench = await new Bench().ask().type('r', 'x', '\u001b')
    expect(bench.desk.mode.kind).toBe('view')
    expect(bench.answers).toEqual([])
  })
})

describe('editing', () => {
  it('shows what the edit would be decided as, then runs it', async () => {
    const bench = await new Bench().ask().type('e')
    expect(bench.desk.mode).toMatchObject({ kind: 'edit' })
    await bench.type('-- careful\n')
    await bench.type('\u0013')
    expect(bench.desk.mode).toMatchObject({ kind: 'confirm' })
    expect(bench.answers).toEqual([])
    await bench.look().type('a')
    expect(bench.answers[0]?.answer).toEqual({
      outcome: 'edit',
      text: "-- careful\nupdate payments set status = 'refunded'\nwhere id = $1",
    })
  })

  it('takes no key for the edit that was typed before it was shown', async () => {
    const bench = await new Bench().ask().type('e', 'x', '\u0013', 'a')
    expect(bench.answers).toEqual([])
  })

  it('does not run what a rule denies', async () => {
    const bench = new Bench().ask()
    bench.preview = { kind: 'ok', view: view(), verdict: 'deny', message: 'needs a WHERE' }
    await bench.type('e', 'x', '\u0013')
    await bench.look().type('a')
    expect(bench.answers).toEqual([])
    expect(bench.desk.message?.text).toMatch(/a rule denies this/)
  })

  it('keeps what was typed when it cannot be decided', async () => {
    const bench = new Bench().ask()
    bench.preview = { kind: 'refused', message: 'syntax error at "udpate"' }
    await bench.type('e', 'x', '\u0013')
    expect(bench.desk.mode).toMatchObject({ kind: 'edit' })
    expect(bench.desk.mode.kind === 'edit' && bench.desk.mode.buffer.text).toMatch(/^xupdate/)
    expect(bench.desk.message?.text).toMatch(/syntax error/)
  })

  it('keeps what was typed when the editor is left', async () => {
    const bench = await new Bench().ask().type('e', 'x', '\u001b')
    await bench.look().type('e')
    expect(bench.desk.mode.kind === 'edit' && bench.desk.mode.buffer.text).toMatch(/^xupdate/)
  })

  it('says so where nothing was changed', async () => {
    const bench = await new Bench().ask().type('e', '\u0013')
    expect(bench.desk.mode.kind).toBe('view')
    expect(bench.desk.message?.text).toBe('nothing was changed')
  })

  it('opens the person’s editor, and goes on with what it wrote', async () => {
    const bench = await new Bench(text => Promise.resolve(`${text} and true\n`)).ask().type('e', '\u000f')
    expect(bench.desk.mode.kind === 'edit' && bench.desk.mode.buffer.text).toMatch(/where id = \$1 and true$/)
  })

  it('drops what an editor wrote for a request that ended meanwhile', async () => {
    let finish: (text: string) => void = () => undefined
    const bench = await new Bench(() => new Promise(resolve => (finish = resolve))).ask().type('e', '\u000f')
    bench.desk.remove('a_7K2M9Q')
    bench.ask({ id: 'a_000002' })
    finish('drop table payments')
    await new Promise(resolve => setImmediate(resolve))
    expect(bench.desk.mode.kind).toBe('view')
    expect(bench.desk.current?.request.id).toBe('a_000002')
  })

  it('is not offered where it cannot be', async () => {
    const bench = await new Bench().ask({ editable: false }).type('e')
    expect(bench.desk.mode.kind).toBe('view')
    expect(bench.desk.message?.text).toMatch(/cannot be edited/)
  })
})

describe('where whoever asks could answer', () => {
  it('asks for the passphrase before a yes, and answers once it is right', async () => {
    const bench = new Bench().ask()
    bench.locked = true
    await bench.type('a')
    expect(bench.desk.mode.kind).toBe('passphrase')
    await bench.type(...named('wrong'), '\r')
    expect(bench.answers).toEqual([])
    expect(bench.desk.message?.text).toBe('that is not your passphrase')
    await bench.type('\u001b[200~correct horse\u001b[201~', '\r')
    expect(bench.answers).toEqual([{ id: 'a_7K2M9Q', answer: { outcome: 'approve' } }])
  })

  it('forgets the answer when the passphrase is not given', async () => {
    const bench = new Bench().ask()
    bench.locked = true
    await bench.type('a', 'x', '\u001b')
    expect(bench.desk.mode.kind).toBe('view')
    bench.locked = false
    expect(bench.answers).toEqual([])
  })
})

describe('several at once', () => {
  it('goes from one to the next and round', async () => {
    const bench = new Bench().ask().ask({ id: 'a_000002' }).ask({ id: 'a_000003' })
    await bench.type('\u001b[B')
    expect(bench.desk.current?.request.id).toBe('a_000002')
    await bench.type('\u001b[A', '\u001b[A')
    expect(bench.desk.current?.request.id).toBe('a_000003')
  })

  it('puts one off, and shows it again when asked', async () => {
    const bench = await new Bench().ask().type('\u001b')
    expect(bench.desk.current).toBeUndefined()
    expect(bench.desk.waiting).toHaveLength(1)
    bench.desk.recall()
    expect(bench.desk.current?.request.id).toBe('a_7K2M9Q')
  })

  it('keeps what is being typed for one while another comes', async () => {
    const bench = await new Bench().ask().type('r', 'n', 'o')
    bench.ask({ id: 'a_000002' })
    await bench.type('\r')
    expect(bench.answers).toEqual([{ id: 'a_7K2M9Q', answer: { outcome: 'reject', reason: 'no' } }])
  })

  it('lets go of a session that is gone', () => {
    const bench = new Bench().ask().ask({ id: 'a_000002', session: 's_OTHER00000' })
    bench.desk.removeAll('s_7Q2M4XJ9KD')
    expect(bench.desk.waiting.map(({ request }) => request.id)).toEqual(['a_000002'])
    expect(bench.desk.current?.request.id).toBe('a_000002')
  })
})
