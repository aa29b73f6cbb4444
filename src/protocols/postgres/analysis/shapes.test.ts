import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import type { AnalysedText, Resolution } from './analysed.ts'
import { createAnalyser, type Analyser } from './analyser.ts'
import { catalogueFromDdl } from './catalogue-ddl.ts'
import type { Catalogue } from './catalogue.ts'
import { outlineOf } from './outline.ts'

const ddl = `
create table people (id int primary key, name text not null, email text, age int, since date);
create table orders (id int primary key, person int references people, total numeric, note text);
create view rich as select p.id, p.email, o.total from people p join orders o on o.person = p.id where o.total > 1000;
create function mail(n int) returns text language sql as $$ select email from people where id = n $$;
create function odd(n bigint) returns bigint language sql as $$ select 1::bigint $$;
create function odd(n numeric) returns text language plpgsql as $$ begin delete from orders; return 'gone'; end $$;
create function odd(t text) returns text language sql as $$ select email from people where name = t $$;
create table hidden (id int, secret text);
`
let analyser: Analyser
let catalogue: Catalogue
let databases = 0

beforeAll(async () => {
  analyser = await createAnalyser()
  catalogue = catalogueFromDdl(analyser.parser, ddl)
})

function resolutionOf(database: string): Resolution {
  return {
    serverVersion: 180000,
    database,
    sessionUser: 'app',
    role: 'app',
    searchPath: ['pg_catalog', 'public'],
    standardConformingStrings: true,
    clientEncoding: 'UTF8',
  }
}

const shared = resolutionOf('shared')
const read = (text: string) => analyser.analyse(text, shared, catalogue)
/** Read by itself: nothing is known of another text. */
const readAlone = (text: string) => analyser.analyse(text, resolutionOf(`alone ${++databases}`), catalogue)
const said = ({ text, fingerprint, statements, refusal, constants }: AnalysedText) => ({
  text,
  fingerprint,
  statements,
  refusal,
  constants,
})

/** A statement with places for constants: `?` any, `#` a whole number, `'` a string. */
const statements = [
  'select * from people where id = #',
  "select name, email from people where id = # and name = ' limit #;",
  "select id, email || ' from people where age between # and # order by id",
  'select p.email, o.total from people p join orders o on o.person = p.id and o.total > ? where p.id in (#, #, #)',
  'select count(*) filter (where age > #), max(email) from people group by since having count(*) > #',
  "select case when age > # then email else ' end from people",
  'select mail(#), email from rich where total > ?',
  "with x as (select email from people where id = #) select * from x union all select ' limit #",
  "insert into people (id, name, email) values (#, ', ')",
  "insert into people values (#, ', ', #), (#, ', ', #) on conflict (id) do update set email = ' returning email",
  "insert into orders select #, id, ?, ' from people where age > #",
  "update people set email = ', age = age + # where id = #",
  "update people p set email = o.note from orders o where o.person = p.id and o.id = # and o.note <> '",
  'delete from people where id = #',
  "delete from orders where person = # and note in (', ') returning *",
  'delete from orders where id = -# and total < -(#)',
  "select 'kept' as \"it's -- no comment\", email from people where name = ' and age > #",
]

const whole = fc.integer({ min: 0, max: 999_999_999 }).map(String)
const string = fc
  .string({ unit: fc.constantFrom('a', 'b', 'Z', '0', '9', ' ', '%', "''", '-', '/', '*', '$', '"', ';', '(', ',') })
  .map(text => `'${text}'`)
const any = fc.oneof(
  whole,
  fc.nat().map(n => `${n % 1000}.${n}`),
  string,
)

const filled = (statement: string) => {
  const places = statement.match(/"[^"]*"|'kept'|[#?']/g) ?? []
  return fc
    .tuple(
      ...places.map(place =>
        place === '#' ? whole : place === '?' ? any : place === "'" ? string : fc.constant(place),
      ),
    )
    .map(constants => {
      let index = 0
      return statement.replace(/"[^"]*"|'kept'|[#?']/g, () => String(constants[index++]))
    })
}

describe('texts of one shape', () => {
  test.each(statements)('say what each says by itself: %s', statement => {
    fc.assert(
      fc.property(fc.array(filled(statement), { minLength: 4, maxLength: 8 }), texts => {
        for (const text of texts) expect(said(read(text))).toEqual(said(readAlone(text)))
      }),
      { numRuns: 25 },
    )
  })

  test.each(statements)('are read once: %s', statement => {
    const numbered = (n: number) => {
      let index = 0
      return statement.replace(/"[^"]*"|'kept'|[#?']/g, place =>
        place.length > 1 ? place : place === "'" ? `'v${n}${index++}'` : `${n}${index++}`,
      )
    }
    read(numbered(1))
    const second = read(numbered(2))
    expect(read(numbered(3)).shape).toBe(second.shape)
    expect(read(numbered(4)).shape).toBe(second.shape)
    expect(read(numbered(4)).statements[0]?.effects).toBe(second.statements[0]?.effects)
  })
})

describe('constants that matter', () => {
  test.each([
    ['a condition that holds always', (n: number) => `update people set age = 1 where ${n} = 3`],
    ['a pattern', (n: number) => `delete from people where name like '${['a', 'b', '%', 'c'][n - 1]}'`],
    ['a boolean as a string', (n: number) => `delete from people where '${['f', 'no', 't', 'off'][n - 1]}'`],
    ['a place in the list', (n: number) => `select id, email from people order by ${n}`],
    ['a setting', (n: number) => `select set_config('${['a.b', 'c.d', 'search_path', 'e.f'][n - 1]}', 'x', false)`],
    [
      'SQL in a string',
      (n: number) => `select query_to_xml('select ${['1', 'id', 'email', '2'][n - 1]} from people', true, true, '')`,
    ],
    // One kind to the grammar, and bigint, numeric or beyond both to the server.
    [
      'a number’s size',
      (n: number) => `select odd(${['12345678901', '1.5', '99999999999999999999', '12345678902'][n - 1]})`,
    ],
    ['a string that a function takes', (n: number) => `select odd('${['1', 'a', '2.5', '12345678901'][n - 1]}')`],
    ['a join on a place', (n: number) => `select id, secret from hidden group by 1, ${[2, 2, 1, 2][n - 1]}`],
    [
      'rows that are made up',
      (n: number) => `select p.email from people p join (values (${n}, '${'xyzw'[n - 1]}')) v(a, b) on p.email = v.b`,
    ],
    [
      'SQL that runs elsewhere',
      (n: number) =>
        `select xpath('${['/a', '/b', '//email', '/c'][n - 1]}', query_to_xml('select ${n} from people', true, true, ''))`,
    ],
    ['a relation in a string', (n: number) => `select nextval('${['a', 'b', 'people', 'c'][n - 1]}'::regclass)`],
  ])('%s', (_, text) => {
    for (const n of [1, 2, 3, 4, 3, 1]) expect(said(read(text(n)))).toEqual(said(readAlone(text(n))))
  })
})

describe('an outline', () => {
  test.each([
    'select 1 -- one',
    'select /* one */ 1',
    "select e'one'",
    "select E'it\\'s'",
    "select 'a\\'",
    "select u&'one'",
    'select u&"one"',
    "select n'one'",
    "select b'1'",
    'select $$one$$',
    'select $a$one$a$',
    'select 1e5',
    'select .5',
    'select 1.',
    'select 1..2',
    'select 0x1f',
    'select 1_000',
    'select 2147483648',
    'select $1a',
    "select 'open",
    "select 'one'\n'more'",
    'select "open',
    "select 'é'",
    'select é',
    'select 1\u0001',
  ])('is not made of %j', text => {
    expect(outlineOf(text)).toBeUndefined()
  })

  test('is the same only for what the parser reads as the same tokens', () => {
    const piece = fc.constantFrom(
      ...[
        'select',
        ' ',
        '\n',
        "'",
        '"',
        '1',
        '23',
        '.',
        '-',
        '--',
        '/',
        '*',
        '$',
        '$1',
        'a',
        'e',
        "e'",
        '&',
        'u&',
        ';',
        ',',
        '(',
        ')',
        "''",
        'x1',
        '_',
        '=',
        '0',
        'é',
        '\\',
      ],
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), pieces => {
        const text = pieces.join('')
        const outline = outlineOf(text)
        const tokens = analyser.parser.scan(text)
        if (outline === undefined || tokens === undefined) return
        const constants = tokens.filter(({ tokenName }) => /^[IFS]CONST$/.test(tokenName))
        expect(outline.starts).toEqual(constants.map(({ start }) => start))
        expect(outline.ends).toEqual(constants.map(({ end }) => end))
      }),
      { numRuns: 3000 },
    )
  })
})
