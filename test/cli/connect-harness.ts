// The live screen over a fake session, as a program of its own: run in a terminal by hand or by connect-screen.test.ts.
import { readFileSync, writeFileSync } from 'node:fs'
import { connectLive } from '../../src/cli/connect-live.ts'
import { Paths } from '../../src/config/paths.ts'
import { FakeSession, view } from './fake-session.ts'

const session = new FakeSession({ connections: process.env['CONNECTED'] === undefined ? 0 : 2 })

const steps: Record<string, (argument: string) => void> = {
  statement: text => session.statement(text),
  masked: text => session.statement(text, 20, ['email']),
  denied: text => session.decide('denied', text, 'no unbounded writes'),
  hold: id => {
    session.decide(
      'held',
      "update payments set status = 'refunded' where id = $1",
      'payments need a second pair of eyes',
    )
    session.hold(id === '' ? {} : { id })
  },
  'hold-long': () =>
    session.hold({
      id: 'a_LONG00',
      view: view({ text: Array.from({ length: 60 }, (_, i) => `line ${i + 1}`).join('\n') }),
    }),
  'hold-evil': () =>
    session.hold({
      id: 'a_EV1L00',
      view: view({
        text: 'select 1 \u001b[2J\u001b]0;owned\u0007 -- \u202etxet sdrawkcab',
        summary: 'SELECT \u001b[31mred',
      }),
    }),
  withdraw: id =>
    session.emit({ event: 'approval-ended', at: new Date().toISOString(), id, outcome: 'withdrawn', by: null }),
  burst: number => {
    for (let index = 0; index < Number(number); index++) session.statement(`select ${index}`)
  },
  soon: () => {
    session.now = { ...session.now, expiresAt: new Date(Date.now() + 50_000).toISOString() }
    session.emit({ event: 'notice', at: new Date().toISOString(), level: 'warning', text: 'access ends in 60 s' })
  },
  deny: () =>
    (session.previewOf = text => ({
      kind: 'ok',
      view: view({ text }),
      verdict: 'deny',
      message: 'an UPDATE or DELETE needs a WHERE',
    })),
  busy: milliseconds => {
    const end = Date.now() + Number(milliseconds)
    while (Date.now() < end);
  },
  end: () => session.end('expired'),
}

const script = process.env['STEPS']
if (script === undefined) {
  // By hand: something to look at.
  setTimeout(() => {
    steps['masked']?.('select id, email, total from orders join customers on customers.id = orders.customer_id')
    session.statement('select 1', 1)
    session.decide('denied', 'delete from orders', 'no unbounded writes')
  }, 500)
  setTimeout(() => steps['hold']?.('a_000001'), 1500)
  setTimeout(() => steps['hold']?.('a_000002'), 2500)
} else {
  // A file that grows: each line is a step.
  let done = 0
  setInterval(() => {
    const lines = readFileSync(script, 'utf8').split('\n').slice(0, -1)
    for (const line of lines.slice(done)) {
      done += 1
      const [step = '', ...rest] = line.split(' ')
      steps[step]?.(rest.join(' '))
    }
  }, 10).unref()
}

await connectLive(
  session,
  [],
  {
    argv: [],
    env: process.env,
    cwd: process.cwd(),
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    exitCode: 0,
  },
  new Paths(process.env),
)
const log = process.env['ANSWERS']
if (log !== undefined) writeFileSync(log, JSON.stringify(session.answers))
