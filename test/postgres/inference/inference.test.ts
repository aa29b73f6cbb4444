import { describe, expect, test } from 'vitest'
import type { MaskUse } from '../../../src/policy/action.ts'
import {
  bindMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from '../../../src/protocols/postgres/wire/frontend-messages.ts'
import { maskOn } from '../support/masked-tunnel.ts'
import type { RawClient } from '../support/raw-client.ts'
import { servers } from '../support/server.ts'
import { useClients, useServer } from '../support/suite.ts'
import { equalities, fill, groups, masked, ranges, schema, sorts, type Question } from './questions.ts'

// Each question is asked twice, with two values of the masked columns. Without agentgate the answers differ, so that it tells
// something; through agentgate, with a mask that does not leave this way open, both times the same comes back.

const forms = ['simple', 'extended'] as const
type Form = (typeof forms)[number]

/** All that a client sees of the answers. */
async function ask(client: RawClient, form: Form, sql: readonly string[]): Promise<string> {
  await client.query('begin')
  const before = client.messages.length
  for (const text of sql) {
    client.send(
      ...(form === 'simple'
        ? [queryMessage(text)]
        : [
            parseMessage('', text),
            bindMessage({ portal: '', statement: '', formats: [], values: [], resultFormats: [] }),
            describeMessage('Portal', ''),
            executeMessage(''),
            syncMessage,
          ]),
    )
    await client.until()
  }
  const seen = client.messages.slice(before).map(({ type, body }) => `${type} ${body.toString('latin1')}`)
  await client.query('rollback')
  await client.query('deallocate all')
  return seen.join('\n')
}

/** These also work out a value from it, which is hidden or counts as a part. */
const computed = new Set(['NULLIF', 'PARTITION BY'])

const values = [fill('alpha', 30, true), fill('omega', 70, false)] as const

for (const kind of servers) {
  const version = kind.name.includes('15') ? 15 : 18
  describe(kind.name, () => {
    const suite = useServer(kind, schema, [maskOn(masked)])
    const clients = useClients(suite)

    const both = async (client: RawClient, form: Form, { sql }: Question) => {
      const answers: string[] = []
      for (const value of values) {
        await suite.admin.query(value)
        answers.push(await ask(client, form, sql))
      }
      return answers
    }
    /** Another array: what was derived from the last is not used again. */
    const leaveOpen = (compare?: readonly MaskUse[]) => {
      suite.tunnel.masks = [{ ...maskOn(masked), ...(compare === undefined ? {} : { compare }) }]
    }
    const works = (one: Question) => version >= (one.since ?? 13)

    const tables: readonly (readonly [string, readonly Question[], readonly MaskUse[] | undefined])[] = [
      ['order, pattern and part, as it is by default', ranges, undefined],
      ['sorting, as it is by default', sorts, undefined],
      ['order, pattern and part, with all else left open', ranges, ['equal', 'group', 'sort']],
      ['sorting, with all else left open', sorts, ['equal', 'group', 'range']],
      ['equality, with nothing left open', equalities, []],
      ['grouping, with nothing left open', groups, []],
    ]
    describe.each(tables)('%s', (_, questions, compare) => {
      describe.each(forms)('%s', form => {
        test.each(questions.filter(works))('$name', { timeout: 20_000 }, async question => {
          const [one, other] = await both(clients.direct, 'simple', question)
          expect(one).not.toBe(other) // it tells something
          leaveOpen(compare)
          const [first, second] = await both(clients.through, form, question)
          expect(second).toBe(first)
          expect(await clients.through.query('select 1')).toContain('D 1')
        })
      })
    })

    describe('what a mask leaves open works', () => {
      test.each([...equalities, ...groups].filter(({ name }) => !computed.has(name)))(
        'by default: $name',
        async question => {
          leaveOpen()
          const [one, other] = await both(clients.through, 'simple', question)
          expect(one).not.toBe(other)
        },
      )
      test.each(['>', 'LIKE', 'a part', 'HAVING', 'a view', 'a function', 'DELETE', 'a cursor'])(
        'range, where it says so: %s',
        async name => {
          const question = ranges.find(one => one.name === name)!
          leaveOpen(['range'])
          const [one, other] = await both(clients.through, 'simple', question)
          expect(one).not.toBe(other)
        },
      )
      test.each(sorts.filter(({ name }) => !['WITHIN GROUP', 'a window', 'an aggregate’s order'].includes(name)))(
        'sort, where it says so: $name',
        async question => {
          leaveOpen(['sort', 'group', 'equal', 'range'])
          const [one, other] = await both(clients.through, 'simple', question)
          expect(one).not.toBe(other)
        },
      )
    })

    const ordinary = [
      'select * from people order by id',
      'select nick, count(*) from people group by nick having count(*) > 0 order by 2 desc limit 5',
      "select p.id, n.t from people p left join notes n using (id) where p.nick like 'a%'",
      "select id, upper(ssn), ssn || '', to_jsonb(p) from people p where id = 1",
      "update people set age = age + 1, ssn = 'new' where id = 1",
      "insert into people (id, ssn) values (7, 'a'), (8, 'b') on conflict (id) do update set ssn = excluded.ssn",
      "select id from people where ssn = 'x' or (nick = 'ann' and ssn is not null)",
      "select id from people where id in (select id from people where ssn = 'x')",
      'select count(ssn), count(distinct ssn), max(id) from people',
      'select id, lag(id) over (partition by nick order by id) from people',
      'select * from v_v',
      "select * from pg_stat_activity where pid = pg_backend_pid() and state <> 'idle'",
      "select relname from pg_class where relname like 'peop%' order by 1",
    ]
    test.each(ordinary)('by default, as on a clients.direct connection: %s', async sql => {
      leaveOpen()
      await suite.admin.query(values[0])
      expect(await ask(clients.through, 'simple', [sql])).not.toContain('refused by agentgate')
    })

    test('says what is not left open', async () => {
      leaveOpen()
      const said = (await clients.through.query("select id from people where ssn like 'a%'")).join('\n')
      expect(said).toContain('mask "contact data" does not let public.people.ssn be compared by order, pattern or part')
    })
  })
}
