import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Mask } from '../../src/policy/action.ts'
import { planMasks } from '../../src/protocols/postgres/analysis/plan-masks.ts'
import { AnalysedServer, type Answer } from './support/analysed-server.ts'
import { fill, randomSchema, randomStatement, secretColumns } from './support/random-sql.ts'
import { servers } from './support/server.ts'

const masks: readonly Mask[] = [
  { name: 'secret', place: '', columns: secretColumns, fields: [], detect: [], with: { kind: 'redact' } },
]
const count = process.env['SLOW'] === '1' ? 20_000 : 600

/**
 * Every statement runs against two databases that differ in the masked columns alone. A column whose values differ has
 * told something of them, whatever the parser said of it, so it must not be shown in clear.
 */
describe.each(servers)('$name', ({ available, binaries }) => {
  let server: AnalysedServer
  beforeAll(async () => {
    if (available) server = await AnalysedServer.start(binaries, `${randomSchema}; ${fill('AA')}`)
  })
  afterAll(async () => await server?.stop())

  const run = async (texts: readonly string[], secret: string): Promise<(Answer | null)[]> => {
    await server.ask(fill(secret))
    const answers: (Answer | null)[] = []
    for (const text of texts) {
      await server.ask(`begin; set local statement_timeout = '2s'`)
      answers.push(await server.ask(text).catch(() => null))
      await server.ask('rollback')
    }
    return answers
  }

  test.skipIf(!available)(
    `${count} random statements show nothing of a masked column`,
    { timeout: 600_000 },
    async () => {
      const seed = Number(process.env['SEED'] ?? 1) * 100_003
      const texts = Array.from({ length: count }, (_, i) => randomStatement(seed + i))
      const [one, other] = [await run(texts, 'AA'), await run(texts, 'BBB')]
      let shown = 0
      let hidden = 0
      for (const [i, text] of texts.entries()) {
        const [a, b] = [one[i], other[i]]
        if (!a || !b) continue // not valid, or too slow
        const analysed = server.analyse(text)
        expect(analysed.refusal, text).toBeNull()
        const [statement] = analysed.statements
        expect(statement?.unknown, text).toBeNull()
        const plan = planMasks(statement!, masks, a.fields, server.catalogue)
        for (const [column, field] of a.fields.entries()) {
          if (plan !== 'clear' && plan[column]!.kind !== 'clear') {
            hidden++
            continue
          }
          shown++
          // which rows there are is for filters to say
          if (a.rows.length === b.rows.length)
            expect(contents(b, column), `${field.name} of ${text}\n${JSON.stringify(statement!.output)}`).toEqual(
              contents(a, column),
            )
        }
      }
      // the test tests something, and hides less than half of what there is
      expect(shown).toBeGreaterThan(count / 3)
      expect(hidden).toBeGreaterThan(count / 5)
    },
  )

  const clean = [
    'select id, a from t',
    'select count(*), sum(n) from t where id < 3',
    'select u.b, t.a from t join u using (id) order by t.a',
    'select x.a from (select * from t) x',
    'with c as (select id, a, s from t) select id, a from c',
    'select to_jsonb(x) from (select id, a from t) x',
    'select v.a, v.id from v',
    'select * from f_clean()',
    'update t set n = n + 1 where id = 1 returning id, a, n',
    'select max(a) over (partition by n) from t',
    'select a from t union all select b from u',
  ]
  test.skipIf(!available).each(clean)('shows all of: %s', async text => {
    const { fields } = await undone(server, text)
    expect(planMasks(server.analyse(text).statements[0]!, masks, fields, server.catalogue)).toBe('clear')
  })
})

async function undone(server: AnalysedServer, text: string): Promise<Answer> {
  await server.ask('begin')
  try {
    return await server.ask(text)
  } finally {
    await server.ask('rollback')
  }
}

/** A column's values in no order, as plans differ in it; also those inside of arrays and documents. */
function contents(answer: Answer, column: number): readonly string[] {
  return answer.rows.flatMap(row => String(row[column]).split(/[\s,"'{}()[\]:]+/)).toSorted()
}
