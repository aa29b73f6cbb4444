/** A way to learn of a masked value without being shown it: what comes back differs between two values. */
export interface Question {
  readonly name: string
  readonly sql: readonly string[]
  /** The oldest server that knows it. */
  readonly since?: number
  /** Run before, directly: what is there already, by somebody else. */
  readonly given?: string
}

const question = (name: string, ...sql: readonly string[]): Question => ({ name, sql })

export const schema = `
create table people (id int primary key, nick text, ssn text, age int, vip boolean, tags text[], doc jsonb);
create table guesses (id int primary key, ssn text);
create table notes (id int primary key, t text);
insert into guesses values (1, 'alpha'), (2, 'omega');
insert into notes values (1, 'first'), (2, 'second');
create view v_people as select id, nick, ssn as number from people;
create view v_v as select number as digits, id from v_people;
create view v_other as select p.id, g.id as guess from people p join guesses g on p.ssn > g.ssn;
create function starting(p text) returns setof int language sql stable as 'select id from people where ssn like p || ''%''';
create function asks(p text) returns text language plpgsql stable as
  $$ declare s text; begin select ssn into s from people where id = 1; if s like p then return 'yes'; end if; return 'no'; end $$;
create table watched (n int);
`

/** The two values; nothing else differs. */
export const fill = (ssn: string, age: number, vip: boolean) => `
delete from people;
insert into people values (1, 'ann', '${ssn}', ${age}, ${vip}, array['${ssn}', 'x'], '{"ssn": "${ssn}"}'), (2, 'bob', 'middle', 50, false, array['middle'], '{"ssn": "middle"}');
`
export const masked = ['people.ssn', 'people.age', 'people.vip', 'people.tags', 'people.doc']

/** What asks for order, pattern or part. */
export const ranges: readonly Question[] = [
  question('>', "select id from people where ssn > 'n' order by id"),
  question('BETWEEN', "select id from people where ssn between 'a' and 'c'"),
  question('LIKE', "select count(*) from people where ssn like 'a%'"),
  question('NOT ILIKE', "select id from people where ssn not ilike 'A%' order by id"),
  question('SIMILAR TO', "select id from people where ssn similar to 'a%'"),
  question('a regular expression', "select id from people where ssn ~ '^a'"),
  question('starts_with', "select id from people where starts_with(ssn, 'a')"),
  question('a part', "select id from people where substr(ssn, 1, 1) = 'a'"),
  question('a length', 'select id from people where length(ssn) = 5 and ascii(ssn) = 97'),
  question('arithmetic', 'select id from people where age + 1 > 40 order by id'),
  question('an array that holds it', "select id from people where tags @> array['alpha']"),
  question('a document that holds it', `select id from people where doc @> '{"ssn": "alpha"}'`),
  question('a field of a document', "select id from people where doc ->> 'ssn' = 'alpha'"),
  question('the whole row', "select id from people p where p::text like '%alpha%'"),
  question('a row’s order', "select id from people where (ssn, id) > ('n', 0) order by id"),
  question('a sub-select', "select 1 where (select ssn from people where id = 1) > 'n'"),
  question('EXISTS', "select 1 where exists (select 1 from people where ssn > 'n')"),
  question(
    'IN with made-up rows',
    "select id from people where ssn in (select 'alph' || chr(i) from generate_series(90, 100) i)",
  ),
  question('a join with a series', 'select g from generate_series(20, 40) g join people p on p.age = g where g < 35'),
  question('a join with VALUES', "select v.x from (values ('alpha'), ('omega')) v (x) join people p on p.ssn = v.x"),
  question(
    'a recursive CTE',
    'with recursive r (n) as (select 20 union all select n + 1 from r where n < 40) select n from r join people on age = n',
  ),
  question(
    'INTERSECT',
    'select count(*) from (select age from people intersect select g from generate_series(0, 40) g) x',
  ),
  question('UNION', 'select count(*) from (select age from people union select g from generate_series(0, 40) g) x'),
  question('numbered rows', 'select n from (select row_number() over () as n from pg_class) x join people on age = n'),
  question('a join on order', 'select g.id from people p join guesses g on p.ssn > g.ssn where p.id = 1 order by g.id'),
  question('HAVING', "select count(*) from people having min(ssn) < 'b'"),
  question('FILTER', "select count(*) filter (where ssn < 'b') from people"),
  question('CASE', "select id, case when ssn < 'b' then pg_sleep(0) end is null from people order by id"),
  question('CASE that fails', "select case when ssn < 'b' then 1 / (id - id) end from people"),
  question('a division', 'select 1 / (ascii(ssn) - 97) from people where id = 1'),
  question(
    'a cast',
    "select ('0' || replace(replace(ssn, 'alpha', '1'), 'middle', '2'))::int from people where id = 1",
  ),
  question('LIMIT', 'select id from notes limit (select ascii(ssn) - 97 from people where id = 1)'),
  question('OFFSET', 'select id from notes offset (select ascii(ssn) - 97 from people where id = 1)'),
  question(
    'a series of its length',
    'select * from generate_series(1, (select ascii(ssn) - 97 from people where id = 1))',
  ),
  question('GROUP BY of a part', 'select count(*) from people group by left(ssn, 1) = $$a$$ order by 1'),
  question('GROUP BY of an order', "select count(*) from people group by ssn > 'a' and ssn < 'd' order by 1"),
  question(
    'DISTINCT of a part',
    "select count(*) from (select distinct left(ssn, 1) = any (array['a', 'm']) from people) x",
  ),
  question('a view', "select id from v_people where number like 'a%'"),
  question('a view in a view', "select id from v_v where digits > 'n' order by id"),
  question('a view that compares with a table of one’s own', 'select id, guess from v_other order by 1, 2'),
  question('a CTE', "with c as (select id, ssn as s from people) select id from c where s > 'n' order by id"),
  question('a derived table', "select id from (select id, upper(ssn) as s from people) x where s like 'A%'"),
  question('LATERAL', "select p.id from people p, lateral (select p.ssn like 'a%' as b) l where l.b"),
  question('a function', "select starting('a')"),
  question('a function that branches', "select t from notes where asks('a%') = 'yes' or id = 2 order by id"),
  question('a function’s error', "select 1 / length(replace(asks('a%'), 'no', ''))"),
  question('UPDATE', "update notes set t = 'hit' from people p where p.ssn like 'a%' and notes.id = p.id"),
  question(
    'UPDATE … RETURNING',
    "update notes set t = 'hit' where exists (select 1 from people where ssn like 'a%') returning id",
  ),
  question('DELETE', "delete from notes where id = 1 and (select ssn from people where id = 1) < 'b'"),
  question('INSERT … SELECT', "insert into watched select 1 from people where ssn like 'a%'"),
  question(
    'ON CONFLICT … WHERE',
    "insert into people (id) values (1) on conflict (id) do update set nick = 'hit' where people.ssn like 'a%'",
  ),
  {
    ...question(
      'MERGE',
      "merge into notes n using people p on n.id = p.id and p.ssn like 'a%' when matched then update set t = 'hit'",
    ),
    since: 15,
  },
  {
    ...question(
      'MERGE … WHEN',
      "merge into notes n using people p on n.id = p.id when matched and p.ssn like 'a%' then delete",
    ),
    since: 15,
  },
  question(
    'a CTE that writes',
    "with d as (delete from notes where exists (select 1 from people where ssn like 'a%') returning 1) select count(*) from d",
  ),
  question('PREPARE', "prepare q as select id from people where ssn like 'a%'", 'execute q'),
  question(
    'PREPARE with a parameter',
    'prepare q (text) as select id from people where ssn like $1',
    "execute q ('a%')",
  ),
  question('a cursor', "declare c cursor for select id from people where ssn like 'a%'", 'fetch all from c'),
  question('COPY', "copy (select id from people where ssn like 'a%') to stdout"),
  question(
    'EXPLAIN ANALYZE',
    "explain (analyze, costs off, timing off, summary off) select id from people where ssn like 'a%'",
  ),
  question('CREATE TABLE AS', "create table made as select id from people where ssn like 'a%'", 'select * from made'),
  question(
    'a view of one’s own',
    "create view mine as select id from people where ssn like 'a%'",
    'select * from mine',
  ),
  question(
    'a materialized view',
    "create materialized view mine as select id from people where ssn like 'a%'",
    'select * from mine',
  ),
  question(
    'a function of one’s own',
    "create function pg_temp.f() returns bigint language sql as 'select count(*) from people where ssn like ''a%'''",
    'select pg_temp.f()',
  ),
  question(
    'DO',
    "do $$ begin if (select ssn from people where id = 1) like 'a%' then raise exception 'yes'; end if; end $$",
  ),
  question(
    'DO with a variable',
    "do $$ declare s text; begin select ssn into s from people where id = 1; if starts_with(s, 'a') then raise exception 'yes'; end if; end $$",
  ),
  question(
    'DO with a loop',
    "do $$ declare r record; begin for r in select ssn from people where ssn like 'a%' loop raise exception 'yes'; end loop; end $$",
  ),
  question(
    'DO with a text that is run',
    "do $$ begin execute 'select 1 / (ascii(ssn) - 97) from peo' || 'ple where id = 1'; end $$",
  ),
  question(
    'a table made by a text that is run',
    "do $$ begin execute 'create table made as select id from peo' || 'ple where ssn like $q$a%$q$'; end $$",
    'select * from made',
  ),
  question('a CHECK', "alter table people add constraint c check (ssn not like 'a%')"),
  question('an index’s condition', "create unique index i on people ((1)) where ssn < 'n'"),
]

export const sorts: readonly Question[] = [
  question('ORDER BY', 'select id from people order by ssn'),
  question('ORDER BY an alias', 'select id from (select id, ssn as s from people) x order by s'),
  question('ORDER BY a position', 'select ssn, id from people order by 1'),
  question('ORDER BY of a computation', 'select id from people order by upper(ssn) desc'),
  question('ORDER BY … LIMIT', 'select id from people order by ssn limit 1'),
  question('a window', 'select id, row_number() over (order by ssn) = 1 from people order by id'),
  question(
    'a named window',
    'select id from (select id, rank() over w as r from people window w as (order by ssn)) x order by r',
  ),
  question('an aggregate’s order', 'select array_agg(id order by ssn) from people'),
  question('WITHIN GROUP', 'select percentile_disc(0) within group (order by ssn) = $$alpha$$ from people'),
  question('a set operation', "select 0 as i, 'b' as s union all select id, ssn from people order by s"),
  question('DISTINCT ON', 'select distinct on (nick is null) id from people order by nick is null, ssn'),
  question('a cursor', 'declare c cursor for select id from people order by ssn', 'fetch 1 from c'),
  question('a view', 'select id from v_people order by number'),
  question('COPY', 'copy (select id from people order by ssn) to stdout'),
]

export const equalities: readonly Question[] = [
  question('=', "select id from people where ssn = 'alpha'"),
  question('<>', "select id from people where ssn <> 'alpha' order by id"),
  question('IN', "select id from people where ssn in ('alpha', 'beta')"),
  question('= ANY', "select id from people where ssn = any (array['alpha'])"),
  question('IS DISTINCT FROM', "select id from people where ssn is not distinct from 'alpha'"),
  question('another case', "select id from people where lower(ssn) = lower('Alpha')"),
  question('a join', 'select g.id from guesses g join people p on g.ssn = p.ssn'),
  question('USING', 'select g.id from guesses g join people p using (ssn)'),
  question('NATURAL JOIN', 'select g.id from (select id, ssn from guesses) g natural join (select ssn from people) p'),
  question('IN with a sub-select', 'select id from guesses where ssn in (select ssn from people)'),
  question('NOT IN', 'select id from guesses where ssn not in (select ssn from people) order by id'),
  question('a sub-select', "select 1 where (select ssn from people where id = 1) = 'alpha'"),
  question('a truth', 'select id from people where vip'),
  question('IS TRUE', 'select id from people where vip is true'),
  question('CASE with an operand', "select case ssn when 'alpha' then 1 / (id - id) end from people where id = 1"),
  question(
    'NULLIF',
    "select 1 / (case when nullif(ssn, 'alpha') is null then id - id else 1 end) from people where id = 1",
  ),
  question('a view', "select id from v_v where digits = 'alpha'"),
  question('a count', "select count(*) from people where ssn = 'alpha'"),
]

export const groups: readonly Question[] = [
  question(
    'GROUP BY',
    'select count(*) from (select ssn from people union all select ssn from guesses where id = 1) x group by ssn order by 1',
  ),
  question(
    'GROUP BY a position',
    'select ssn, count(*) from (select ssn from people union all select ssn from guesses where id = 1) x group by 1 order by 2',
  ),
  question(
    'DISTINCT',
    'select count(*) from (select distinct ssn from (select ssn from people union all select ssn from guesses where id = 1) y) x',
  ),
  question(
    'DISTINCT ON',
    'select count(*) from (select distinct on (ssn) 1 from (select ssn from people union all select ssn from guesses where id = 1) y) x',
  ),
  question('UNION', 'select count(*) from (select ssn from people union select ssn from guesses where id = 1) x'),
  question(
    'INTERSECT',
    'select count(*) from (select ssn from people intersect select ssn from guesses where id = 1) x',
  ),
  question('EXCEPT', 'select count(*) from (select ssn from people except select ssn from guesses where id = 1) x'),
  question(
    'PARTITION BY',
    'select id from (select id, count(*) over (partition by ssn) as n from (select id, ssn from people union all select 9, ssn from guesses where id = 1) y) x where n > 1 order by 1',
  ),
]
