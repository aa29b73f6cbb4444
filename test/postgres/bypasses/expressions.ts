import type { Attack } from './attacks.ts'

/** What the attacks below find. */
export const expressionSchema = `
create type wrap as (n int);
create function wrapped(i int) returns wrap language plpgsql as $$ begin delete from payments; return row(i); end $$;
create table wraps (w wrap);
`

const makeCast = 'create cast (int as wrap) with function wrapped(int) as assignment'

/** Casts that are functions, and each place of a statement where an expression may stand. */
export const blockedExpressions: readonly Attack[] = [
  ['a cast that is a function', makeCast, 'select 1::wrap'],
  ['a cast that is a function, as CAST', makeCast, 'select cast(id as wrap) from customers'],
  ['a cast that an INSERT applies by itself', makeCast, 'insert into wraps values (1)'],
  ['a cast that an UPDATE applies by itself', makeCast, 'insert into wraps values (null)', 'update wraps set w = 1'],
  [
    'a cast that is applied by itself',
    makeCast.replace('assignment', 'implicit'),
    'create function takes(w wrap) returns int language plpgsql as $$ begin return (w).n; end $$',
    'select takes(1)',
  ],
  ['a function in HAVING', 'select 1 from customers having wipe() = 1'],
  ['a function in DISTINCT ON', 'select distinct on (wipe()) id from customers'],
  ['a function in GROUP BY', 'select count(*) from customers group by wipe()'],
  ['a function in OFFSET', 'select 1 from customers offset wipe()'],
  ['a function in FILTER', 'select count(*) filter (where wipe() = 1) from customers'],
  ['a function in an aggregate’s order', 'select array_agg(id order by wipe()) from customers'],
  ['a function in a frame', 'select sum(id) over (order by id rows wipe() preceding) from customers'],
  ['a function in TABLESAMPLE', 'select 1 from customers tablesample bernoulli (wipe() * 100)'],
  ['a function in an array', 'select array[wipe()]'],
  ['a function as a subscript', 'select (array[1, 2])[wipe()]'],
  ['a function in COALESCE', 'select coalesce(null, wipe())'],
  ['a function in IN', 'select 1 from customers where id in (wipe(), 2)'],
  ['a function in BETWEEN', 'select 1 from customers where id between wipe() and 2'],
  ['a function in ANY', 'select 1 from customers where id = any (array[wipe()])'],
  ['a function in EXISTS', 'select 1 where exists (select 1 where wipe() = 1)'],
  ['a function in a join’s condition', 'select 1 from customers c join journal j on wipe() = 1'],
  ['a function in ROWS FROM', 'select * from rows from (generate_series(1, 2), wipe_set())'],
  ['a function in an INSERT’s SELECT', 'insert into journal select wipe(), t from journal'],
  [
    'a function in ON CONFLICT',
    `insert into customers values (1) on conflict (id) do update set name = 'x' where wipe() = 1`,
  ],
  ['a function in DELETE’s USING', 'delete from journal using wipe_set() w where false or w = 1'],
  ['a function in CALL', 'create procedure pg_temp.p(i int) language sql as $$ select 1 $$', 'call pg_temp.p(wipe())'],
  ['a function in EXECUTE', 'prepare p3 (int) as select $1', 'execute p3 (wipe())'],
  [
    'a function in a recursive CTE',
    'with recursive r (n) as (select wipe() union all select n + 1 from r where n < 2) select * from r',
  ],
  [
    'a function in XMLTABLE',
    `select x.* from xmltable('/a' passing (select xmlelement(name a, wipe())) columns b int path '.') x`,
  ],
].map(([name = '', ...sql]) => ({ name, sql }))

export const maskedExpressions: readonly Attack[] = [
  ['lead', 'select lead(ssn) over (order by id desc) from customers'],
  ['nth_value', 'select nth_value(ssn, 1) over (order by id) from customers'],
  ['an aggregate over a window', `select string_agg(ssn, '-') over () from customers`],
  ['array_agg over a window', 'select array_agg(c) over (order by id) from customers c'],
  ['rows in an array', 'select array_agg(c) from customers c'],
  ['a field of a row in an array', 'select ((array_agg(c))[1]).ssn from customers c'],
  ['rows made and put into an array', 'select array(select row(id, ssn) from customers)'],
  ['rows out of an array', 'select (unnest(array_agg(c))).ssn from customers c'],
  ['an array of arrays', 'select array[array[ssn], array[name]] from customers where id = 1'],
  ['a row of a row', 'select row(row(c)) from customers c'],
  ['xmlagg', 'select xmlagg(xmlelement(name a, ssn)) from customers'],
  ['xmlforest', 'select xmlforest(c.ssn) from customers c'],
  [
    'the detail of a unique violation',
    'create unique index lowered on customers (ssn)',
    'insert into customers select id + 10, name, ssn from customers where id = 1',
  ],
  [
    'the detail of an exclusion',
    'alter table customers add constraint apart exclude using btree (ssn with =)',
    'insert into customers select id + 10, name, ssn from customers where id = 1',
  ],
  [
    'the detail of a foreign key',
    'create table known (k text primary key)',
    'alter table customers add foreign key (ssn) references known',
  ],
  ['ASSERT', `do $$ begin assert false, (select ssn from customers where id = 1); end $$`],
  [
    'RAISE with a detail',
    `do $$ begin raise exception 'x' using detail = (select ssn from customers where id = 1); end $$`,
  ],
  ['percentile_disc', 'select percentile_disc(0.5) within group (order by ssn) from customers where id = 1'],
  ['a lateral copy', 'select y.z from customers c, lateral (select c.ssn) x (s), lateral (select x.s) y (z)'],
  ['a self-join', 'select b.ssn from customers a join customers b using (id)'],
  ['USING itself', 'select ssn from customers a join customers b using (ssn)'],
  [
    'a recursive CTE',
    'with recursive r as (select id, ssn from customers where id = 1 union select id, ssn from r) select ssn from r',
  ],
].map(([name = '', ...sql]) => ({ name, sql }))
