import { describe, expect, test } from 'vitest'
import type { Mask } from '../../../policy/action.ts'
import type { AnalysedText } from './analysed.ts'
import { createAnalyser } from './analyser.ts'
import { catalogueFromDdl } from './catalogue-ddl.ts'
import { hideConstants } from './hidden-constants.ts'

const mask: Mask = {
  name: 'contact data',
  place: '',
  columns: ['customers.email'],
  fields: [],
  detect: [],
  with: { kind: 'redact' },
}

function analysed(text: string, relation = 'public.customers'): AnalysedText {
  const effect = { verb: 'select', relation, columns: ['email'], where: 'present' as const, through: [] }
  return {
    text,
    shape: {},
    fingerprint: '',
    refusal: null,
    statements: [
      {
        text,
        verb: 'select',
        effects: [effect],
        functions: [],
        effect: 'read',
        unknown: null,
        output: { kind: 'none' },
        changes: [],
        carries: [],
        compares: [],
        missing: [],
        transaction: false,
        parameterCount: 0,
      },
    ],
  }
}

test.each([
  ["select * from customers where email = 'secret@x.org'", "select * from customers where email = '…'"],
  ["where a = E'se\\'cret' and b = 1", "where a = '…' and b = …"],
  ["where a = 'it''s secret'", "where a = '…'"],
  ["where a = U&'secret' or a = N'secret' or a = X'5ec2e7'", "where a = '…' or a = '…' or a = '…'"],
  ['where a = $$secret$$ and b = $t$sec$$ret$t$', "where a = '…' and b = '…'"],
  ['where "it\'s" = 12.5e3 and $1 = c2', 'where "it\'s" = … and $1 = c2'],
  ['select 1 /* secret /* nested */ still secret */ from t -- secret\nwhere 2', 'select …  from t \nwhere …'],
  ["select 'open secret", "select '…'"],
])('hides constants of %s', (text, shown) => {
  const hidden = hideConstants(analysed(text), [mask])
  expect(hidden.text).not.toMatch(/secret|5ec2e7/)
  expect(hidden.text).toBe(shown)
  expect(hidden.hiddenParameters).toBe('all')
})

test('a statement that touches no masked table is shown as it is', () => {
  const text = "select * from orders where status = 'paid'"
  expect(hideConstants(analysed(text, 'public.orders'), [mask])).toEqual({ text, hiddenParameters: new Set() })
  expect(hideConstants(analysed(text, 'public.orders'), [{ ...mask, columns: ['*.ssn'] }]).text).not.toContain('paid')
})

describe('a text that could be read', async () => {
  const analyser = await createAnalyser()
  const catalogue = catalogueFromDdl(
    analyser.parser,
    `
create table customers (id int, name text, email text, note text);
create table orders (id int, customer_id int, total numeric);
create view contacts as select id, email as address from customers;
create function renames(e text) returns void language sql as 'update customers set email = e';
create function counts(e text) returns bigint language sql as 'select count(*) from customers where email = e';
`,
  )
  const resolution = {
    serverVersion: 180_000,
    database: 'shop',
    sessionUser: 'app',
    role: 'app',
    searchPath: ['pg_catalog', 'public'],
    standardConformingStrings: true,
    clientEncoding: 'UTF8',
  }
  const hidden = (text: string) => hideConstants(analyser.analyse(text, resolution, catalogue), [mask])

  test.each([
    ["select * from customers where id = 7 and email = 'x@y'", "select * from customers where id = 7 and email = '…'"],
    ["select * from customers where name = 'é' and id = -5", "select * from customers where name = 'é' and id = -5"],
    [
      "select * from customers where (id in (1, 2) or lower(email) like '%@y') and note = E'ß' limit 10",
      "select * from customers where (id in (1, 2) or lower(email) like '…') and note = E'ß' limit 10",
    ],
    ["insert into customers values (1, 'n', 'x@y', 't')", "insert into customers values (1, 'n', '…', 't')"],
    [
      "insert into customers (email, id) values ('x@y', 1), (lower('X@Y'), 2)",
      "insert into customers (email, id) values ('…', 1), (lower('…'), 2)",
    ],
    [
      "insert into customers (id, email) values (1, 'x') on conflict (id) do update set email = 'y', name = 'n' where customers.id > 3",
      "insert into customers (id, email) values (1, '…') on conflict (id) do update set email = '…', name = 'n' where customers.id > 3",
    ],
    [
      "update customers set name = 'n', email = 'x@y' where id = 3",
      "update customers set name = 'n', email = '…' where id = 3",
    ],
    [
      "update customers set (name, email) = ('n', 'x@y') where note = 'q'",
      "update customers set (name, email) = ('n', '…') where note = 'q'",
    ],
    ["delete from customers where email = 'x' or id = 9", "delete from customers where email = '…' or id = 9"],
    [
      "select 1 from contacts where address = 'x@y' and id = 4",
      "select … from contacts where address = '…' and id = 4",
    ],
    [
      "select c.id from (select id, email as e from customers) c join orders o on o.customer_id = c.id and o.total > 5 where e = 'x'",
      "select c.id from (select id, email as e from customers) c join orders o on o.customer_id = c.id and o.total > 5 where e = '…'",
    ],
    [
      "with v (e) as (values ('x@y')) select c.id from customers c, v where c.email = v.e and c.id = 2",
      "with v (e) as (values ('…')) select c.id from customers c, v where c.email = v.e and c.id = 2",
    ],
    [
      "select id from customers where email = (select 'x@y') and id = (select 5)",
      "select id from customers where email = (select '…') and id = (select 5)",
    ],
    [
      "select id from customers where id = 1 and email > case when id = 2 then 'x' end",
      "select id from customers where id = 1 and email > case when id = … then '…' end",
    ],
    ["select renames('x@y') from customers where id = 1", "select renames('…') from customers where id = 1"],
    [
      "select id from customers where counts('x') > 3 and id = 1",
      "select id from customers where counts('…') > … and id = 1",
    ],
    [
      "select '\u{1F600}', id from customers where name = '\u{1F600}' and email = 'x'",
      "select '…', id from customers where name = '\u{1F600}' and email = '…'",
    ],
    [
      "merge into customers c using orders o on o.id = c.id and o.id = 4 when matched then update set email = 'x', name = 'n'",
      "merge into customers c using orders o on o.id = c.id and o.id = 4 when matched then update set email = '…', name = 'n'",
    ],
    [
      "explain select id from customers where email = 'x' and id = 3",
      "explain select id from customers where email = '…' and id = 3",
    ],
    ["select * from customers where email = 'a'\n'b'", "select * from customers where email = '…'\n'…'"],
    ["select * form customers where email = 'a'", "select * form customers where email = '…'"],
  ])('%s', (text, shown) => {
    expect(hidden(text).text).toBe(shown)
  })

  test('parameters are told apart in the same way', () => {
    expect(hidden('update customers set email = $1, name = $2 where id = $3').hiddenParameters).toEqual(new Set([1]))
    expect(hidden('select id from customers where email = $1 and id = $1').hiddenParameters).toEqual(new Set([1]))
    expect(hidden('select $1, id from customers where id = any($2)').hiddenParameters).toEqual(new Set([1]))
    expect(hidden('insert into customers (name, email) select $1, $2').hiddenParameters).toEqual(new Set([1, 2]))
  })

  test('what is only prepared by its text is hidden whole', () => {
    expect(hidden("prepare p as select 1 from customers where id = 5 and email = 'x'").text).not.toMatch(/5|x'/)
  })
})
