import { blockedExpressions, expressionSchema, maskedExpressions } from './expressions.ts'

/** One way that somebody might try: statements in order, each known to work where agentgate is not. */
export interface Attack {
  readonly name: string
  readonly sql: readonly string[]
  /** The oldest server on which it works. */
  readonly since?: number
}

const attack = (name: string, ...sql: readonly string[]): Attack => ({ name, sql })

/** Not to be found in anything that a server says by itself. */
export const secret = 'Zq7-secret-4000-1234'

export const schema = `
create table customers (id int primary key, name text, ssn text, born text);
insert into customers values (1, 'Ann', '${secret}', 'x'), (2, 'Bob', 'other', 'y');
create table payments (id int primary key, customer int references customers on delete cascade, amount int);
insert into payments values (1, 1, 10), (2, 2, 20);
create table payments_child () inherits (payments);
insert into payments_child values (3, 1, 30);
create table journal (n int, t text);
insert into journal values (1, 'first');
create schema other;
create table other.orders (id int);
create view v_payments as select * from payments;
create view v_v as select id, amount as sum from v_payments where id < 100;
create view v_customers as select id, ssn as number from customers;
create view v_rows as select c as whole from customers c;
create function wipe() returns int language plpgsql as $$ begin delete from payments; return 1; end $$;
create function wipe_sql() returns int language sql as 'delete from payments; select 1';
create function wipe_set() returns setof int language sql as 'delete from payments returning id';
create function wipe_named(t text) returns void language plpgsql as $$ begin execute format('delete from %I', t); end $$;
create function wipe_inner() returns int language sql as 'select wipe()';
create function run(q text) returns void language plpgsql as $$ begin execute q; end $$;
create procedure wipe_proc() language plpgsql as $$ begin delete from payments; end $$;
create function wipe_row() returns trigger language plpgsql as $$ begin delete from payments; return new; end $$;
create function wipe_event() returns event_trigger language plpgsql as $$ begin delete from payments; end $$;
create function same(a int, b int) returns boolean language plpgsql as $$ begin delete from payments; return true; end $$;
create operator === (leftarg = int, rightarg = int, function = same);
create function adds(a int, b int) returns int language plpgsql as $$ begin delete from payments; return 1; end $$;
create aggregate wiped(int) (sfunc = adds, stype = int, initcond = '0');
create domain checked as int check (wipe() is not null);
create table hooked (n int);
create trigger hooked after insert on hooked for each row execute function wipe_row();
create table ruled (n int);
create rule ruled as on update to ruled do also delete from payments;
insert into ruled values (1);
create view v_instead as select 1 as n;
create function instead() returns trigger language plpgsql as $$ begin delete from payments; return null; end $$;
create trigger instead instead of insert on v_instead for each row execute function instead();
create function ssn_of(i int) returns text language sql stable as 'select ssn from customers where id = i';
create function ssn_plpgsql(i int) returns text language plpgsql stable as $$ declare s text; begin select ssn into s from customers where id = i; return s; end $$;
create function ssn_out(i int, out s text) language sql as 'select ssn from customers where id = i';
create function ssn_table() returns table (a int, b text) language sql as 'select id, ssn from customers';
${expressionSchema}`

/** Each changes \`payments\`, which a rule denies. */
export const blocked: readonly Attack[] = [
  attack('DELETE', 'delete from payments'),
  attack('other case, quotes, comments', 'DeLeTe/**/FROM--\n"payments"'),
  attack('its schema', 'delete from public.payments'),
  attack('its database and schema', 'delete from postgres.public.payments'),
  attack('ONLY', 'delete from only payments'),
  attack('a Unicode name', 'delete from U&"\\0070ayments"'),
  attack('an alias', 'delete from payments as p where p.id > 0'),
  attack('USING', 'delete from payments p using customers c where c.id = p.customer'),
  attack('TRUNCATE', 'truncate payments'),
  attack('TRUNCATE of what it refers to', 'truncate customers cascade'),
  attack('DROP TABLE', 'drop table payments cascade'),
  attack('DROP of an owner of it', 'drop schema public cascade'),
  attack('UPDATE', 'update payments set amount = 0'),
  attack('UPDATE FROM', 'update payments p set amount = c.id from customers c'),
  attack('UPDATE of several columns from a sub-select', 'update payments set (amount, customer) = (select 0, 1)'),
  attack('INSERT', 'insert into payments values (9, 1, 1)'),
  attack('INSERT … SELECT', 'insert into payments select 9, 1, 1'),
  attack('ON CONFLICT DO UPDATE', 'insert into payments values (1, 1, 1) on conflict (id) do update set amount = 0'),
  {
    ...attack('MERGE', 'merge into payments p using customers c on p.customer = c.id when matched then delete'),
    since: 15,
  },
  attack('a CTE that is not read', 'with gone as (delete from payments returning *) select 1'),
  attack(
    'a CTE in a CTE',
    'with a as (with b as (select 1) select * from b), c as (update payments set amount = 0 returning 1) select * from a',
  ),
  attack('a view', 'delete from v_payments'),
  attack('a view of a view, other names', 'update v_v set sum = 0'),
  attack('an INSTEAD OF trigger', 'insert into v_instead values (1)'),
  attack('its child', 'delete from payments_child'),
  attack('taking its child away', 'alter table payments_child no inherit payments'),
  attack('a foreign key that cascades', 'delete from customers'),
  attack('a trigger of another table', 'insert into hooked values (1)'),
  attack('a rule of another table', 'update ruled set n = 2'),
  attack('a function', 'select wipe()'),
  attack('a function in SQL', 'select wipe_sql()'),
  attack('a function that calls it', 'select wipe_inner()'),
  attack('a function in FROM', 'select * from wipe_set()'),
  attack('a function in LATERAL', 'select * from customers c, lateral (select wipe() where c.id = 1) x'),
  attack('a function in VALUES', 'values (wipe())'),
  attack('a function in WHERE', 'select 1 from customers where wipe() is not null'),
  attack('a function in ORDER BY', 'select 1 from customers order by wipe()'),
  attack('a function in LIMIT', 'select 1 from customers limit wipe()'),
  attack('a function in CASE', 'select case when wipe() = 1 then 2 end'),
  attack('a function in a window', 'select sum(wipe()) over () from customers'),
  attack('a function in RETURNING', "insert into journal values (2, 'x') returning wipe()"),
  attack('a function in SET of another table', 'update journal set n = wipe()'),
  attack(
    'a function as a default',
    'create temp table d (a int default wipe(), b int)',
    'insert into d (b) values (1)',
  ),
  attack('a function in a CHECK', 'create temp table d (a int check (wipe() > a))', 'insert into d values (0)'),
  attack('a domain', 'select 1::checked'),
  attack('an operator', 'select 1 === 2'),
  attack('an operator, by its full name', 'select 1 operator(public.===) 2'),
  attack('an aggregate', 'select wiped(id) from customers'),
  attack('a procedure', 'call wipe_proc()'),
  attack('a name made at run time', "select wipe_named('payments')"),
  attack('a text that is run', "select run('delete from payments')"),
  attack(
    'a text that is run, encoded',
    "select run(convert_from(decode('64656c6574652066726f6d207061796d656e7473', 'hex'), 'utf8'))",
  ),
  attack('DO', 'do $$ begin delete from payments; end $$'),
  attack('DO with a text put together', "do $$ begin execute 'del' || 'ete from pay' || 'ments'; end $$"),
  attack('PREPARE and EXECUTE', 'prepare p1 as delete from payments', 'execute p1'),
  attack('EXPLAIN ANALYZE', 'explain analyze delete from payments'),
  attack('EXPLAIN (ANALYZE)', 'explain (costs off, analyze true) update payments set amount = 0'),
  attack('EXPLAIN ANALYZE EXECUTE', 'prepare p2 as delete from payments', 'explain analyze execute p2'),
  attack('a cursor', 'declare c1 cursor for select wipe()', 'fetch all from c1'),
  attack('COPY of a query', 'copy (delete from payments returning 1) to stdout'),
  attack('COPY of a function', 'copy (select wipe()) to stdout'),
  attack('COPY FROM PROGRAM', "copy payments from program 'printf ''9\\t1\\t9\\n'''"),
  attack('CREATE TABLE AS a function', 'create temp table made as select wipe() as n'),
  attack('SELECT INTO', 'select wipe() as n into temp made from customers'),
  attack('a materialized view', 'create materialized view m1 as select wipe() as n'),
  attack(
    'a function of one’s own',
    "create function pg_temp.f1() returns int language sql as 'delete from payments; select 1'",
    'select pg_temp.f1()',
  ),
  attack(
    'a function of one’s own, atomic',
    'create function pg_temp.f2() returns int begin atomic; delete from payments; select 1; end',
    'select pg_temp.f2()',
  ),
  attack(
    'a function that says it is immutable',
    "create function f3() returns int immutable language plpgsql as $$ begin perform run('delete from payments'); return 1; end $$",
    'select f3()',
  ),
  attack('a view of one’s own', 'create temp view tv as select * from payments', 'delete from tv'),
  attack(
    'a rule of one’s own',
    'create table hook (n int)',
    'create rule r as on insert to hook do delete from payments',
    'insert into hook values (1)',
  ),
  attack(
    'a trigger of one’s own',
    'create trigger t1 after update on journal for each row execute function wipe_row()',
    'update journal set n = 5',
  ),
  attack(
    'an event trigger',
    'create event trigger e1 on ddl_command_end execute function wipe_event()',
    'create table made (n int)',
  ),
  attack(
    'an index on a function',
    "create function f4(i int) returns int immutable language plpgsql as $$ begin perform run('delete from payments'); return 1; end $$",
    'create index on journal (f4(n))',
  ),
  attack('a column of another type', 'alter table payments alter amount type text using 0'),
  attack('a column with a default', 'alter table payments add extra int default 7'),
  attack('a column less', 'alter table payments drop amount'),
  attack('another name', 'alter table payments rename to paid', 'delete from paid'),
  attack('another schema', 'alter table payments set schema other', 'delete from other.payments'),
  attack(
    'the search path',
    'create view other.orders2 as select * from public.payments',
    'set local search_path = other, public',
    'delete from orders2',
  ),
  attack('set_config', "select set_config('search_path', 'other, public', true)", 'delete from payments'),
  attack('another role', 'set local role pg_read_all_data', 'reset role', 'delete from payments'),
  attack('behind others in one string', 'select 1; select 2', 'delete from payments'),
  attack('within a savepoint', 'savepoint s1', 'delete from payments', 'release s1'),
  attack('query_to_xml', "select query_to_xml('delete from payments returning 1', true, true, '')"),
  attack(
    'query_to_xml of a cursor’s query',
    "select query_to_xmlschema('select wipe()', true, true, ''), query_to_xml('select wipe()', true, true, '')",
  ),
  attack('ts_stat', "select * from ts_stat('select to_tsvector(''a'') from wipe_set()')"),
  attack('the system’s own tables', "update pg_class set relname = 'gone' where relname = 'payments'"),
  ...blockedExpressions,
]

/** Each brings the bytes of \`customers.ssn\`, which a mask hides, in this or another form. */
export const masked: readonly Attack[] = [
  attack('the column', 'select ssn from customers'),
  attack('*', 'select * from customers'),
  attack('an alias', 'select c.ssn as hello from customers c'),
  attack('TABLE', 'table customers'),
  attack('upper', 'select upper(ssn) from customers'),
  attack('reverse', 'select reverse(ssn) from customers'),
  attack('a cast', 'select ssn::varchar(100)::text from customers'),
  attack('bytea', "select convert_to(ssn, 'utf8') from customers"),
  attack('hex', "select encode(ssn::bytea, 'hex') from customers"),
  attack('base64', "select encode(ssn::bytea, 'base64') from customers"),
  attack('a sub-string', "select substr(ssn, 1, 40) || '' from customers"),
  attack('concatenation', "select name || ' ' || ssn from customers"),
  attack('concat', 'select concat(id, ssn) from customers'),
  attack('format', "select format('%s %s', id, ssn) from customers"),
  attack('CASE', "select case when id = 1 then ssn else 'none' end from customers"),
  attack('coalesce', "select coalesce(ssn, 'x') from customers"),
  attack('greatest', "select greatest(ssn, 'A') from customers"),
  attack('a sub-select', 'select (select ssn from customers where id = 1)'),
  attack('a correlated sub-select', 'select (select max(i.ssn) from customers i where i.id = o.id) from customers o'),
  attack('a derived table', 'select s from (select ssn as s from customers) x'),
  attack('column aliases', 'select b from customers as c (a, x, b)'),
  attack('a CTE', 'with c as (select ssn from customers) select * from c'),
  attack('a CTE with other names', 'with c (a, b) as (select id, ssn from customers) select b from c'),
  attack(
    'a recursive CTE',
    'with recursive r as (select 1 as n, ssn from customers where id = 1 union all select n + 1, ssn from r where n < 3) select ssn from r',
  ),
  attack('a join', 'select b.ssn from customers a join customers b using (id)'),
  attack('a natural join', 'select ssn from customers natural join (select 1 as id) x'),
  attack('LATERAL', 'select l.s from customers c, lateral (select c.ssn as s) l'),
  attack('UNION', 'select name from customers union all select ssn from customers'),
  attack('UNION behind a constant', "select 'x' as a union select ssn from customers"),
  attack('EXCEPT', "select ssn from customers except select 'x'"),
  attack('VALUES', 'values ((select ssn from customers where id = 1))'),
  attack('a view', 'select * from v_customers'),
  attack('a view’s whole rows', 'select whole from v_rows'),
  attack('the whole row', 'select c from customers c'),
  attack('the whole row as text', 'select c::text from customers c'),
  attack('(c).*', 'select (c).* from (select customers as c from customers) x'),
  attack('a row', 'select row(id, ssn) from customers'),
  attack('an array', 'select array[ssn] from customers'),
  attack('an element of an array', 'select (array[ssn])[1] from customers'),
  attack('ARRAY(…)', 'select array(select ssn from customers)'),
  attack('unnest', 'select unnest(array[ssn]) from customers'),
  attack('array_agg', 'select array_agg(ssn) from customers'),
  attack('string_agg', "select string_agg(ssn, ',') from customers"),
  attack('max', 'select max(ssn) filter (where id = 1) from customers'),
  attack('mode', 'select mode() within group (order by ssn desc) from customers where id = 1'),
  attack('a window function', 'select first_value(ssn) over (order by id) from customers'),
  attack('lag', 'select lag(ssn) over (order by id) from customers'),
  attack('GROUP BY', 'select ssn, count(*) from customers group by 1'),
  attack('DISTINCT ON', 'select distinct on (id) ssn from customers'),
  attack('to_json', 'select to_json(c) from customers c'),
  attack('row_to_json', 'select row_to_json(c) from customers c'),
  attack('json_build_object', "select json_build_object('a', ssn) from customers"),
  attack('a key of a JSON object', 'select json_build_object(ssn, 1) from customers'),
  attack('json_agg', 'select json_agg(c) from customers c'),
  attack('jsonb and back', "select to_jsonb(c) ->> 'ssn' from customers c"),
  attack('jsonb_each_text', 'select e.* from customers c, jsonb_each_text(to_jsonb(c)) e'),
  attack('xml', 'select xmlelement(name a, ssn)::text from customers'),
  attack('table_to_xml', "select table_to_xml('customers', true, true, '')"),
  attack('query_to_xml', "select query_to_xml('select * from customers', true, true, '')"),
  attack('regexp_matches', "select regexp_matches(ssn, '.*') from customers"),
  attack('regexp_split_to_table', "select regexp_split_to_table(ssn, '#') from customers"),
  attack('replace of another text', "select replace('x', 'x', ssn) from customers"),
  attack('lpad', "select lpad('', 20, ssn) from customers"),
  attack('overlay', "select overlay('x' placing ssn from 1) from customers"),
  attack('generate_series over it', 'select substr(ssn, i, 20) from customers, generate_series(1, 2) i where id = 1'),
  attack('a function', 'select ssn_of(1)'),
  attack('a function in PL/pgSQL', 'select ssn_plpgsql(1)'),
  attack('an OUT parameter', 'select * from ssn_out(1)'),
  attack('a function that gives a table', 'select b from ssn_table()'),
  attack('ROWS FROM', 'select * from rows from (ssn_table(), generate_series(1, 2)) as x'),
  attack('RETURNING', 'update customers set name = name returning ssn'),
  attack(
    'RETURNING as another column',
    'update customers c set born = c.born from customers o where o.id = c.id returning o.ssn',
  ),
  attack('DELETE RETURNING in a CTE', 'with d as (delete from customers where id = 1 returning *) select ssn from d'),
  attack('into another column', 'update customers set born = ssn', 'select born from customers'),
  attack('into another table', 'insert into journal select id, ssn from customers', 'select t from journal'),
  attack('a table of one’s own', 'create temp table mine as select ssn as s from customers', 'select s from mine'),
  attack('SELECT INTO', 'select ssn as s into temp mine from customers', 'select s from mine'),
  attack('a view of one’s own', 'create temp view tv as select ssn as s from customers', 'select s from tv'),
  attack('a materialized view', 'create materialized view mv as select ssn as s from customers', 'select s from mv'),
  attack('another name', 'alter table customers rename ssn to nick', 'select nick from customers'),
  attack('another table’s name', 'alter table customers rename to people', 'select ssn from people'),
  attack(
    'a function of one’s own',
    "create function pg_temp.f() returns setof text language sql as 'select ssn from customers'",
    'select pg_temp.f()',
  ),
  attack(
    'a text that is run',
    'create function pg_temp.g(q text) returns text language plpgsql as $$ declare r text; begin execute q into r; return r; end $$',
    "select pg_temp.g('select ssn from customers where id = 1')",
  ),
  attack('a cursor', 'declare c cursor for select ssn from customers', 'fetch all from c'),
  attack('PREPARE and EXECUTE', 'prepare p as select ssn from customers', 'execute p'),
  attack(
    'a setting',
    "select set_config('my.x', ssn, false) from customers where id = 1",
    "select current_setting('my.x')",
  ),
  attack('a notification', 'listen news', "select pg_notify('news', ssn) from customers where id = 1"),
  attack('a large object', 'select lo_from_bytea(4711, ssn::bytea) from customers where id = 1', 'select lo_get(4711)'),
  attack(
    'statistics',
    'analyze customers',
    "select most_common_vals, histogram_bounds from pg_stats where tablename = 'customers' and attname = 'ssn'",
  ),
  attack('EXPLAIN of what a function gives', 'explain select * from journal where t = ssn_immutable()'),
  attack('a failed cast', 'select ssn::int from customers where id = 1'),
  attack('a failed cast in WHERE', 'select 1 from customers where ssn::int = 1'),
  attack('RAISE', 'do $$ begin raise notice $x$%$x$, (select ssn from customers where id = 1); end $$'),
  attack('RAISE EXCEPTION', 'do $$ begin raise exception $x$%$x$, (select ssn from customers where id = 1); end $$'),
  attack(
    'a violation’s detail',
    "alter table customers add constraint good check (born <> 'bad')",
    "update customers set born = 'bad' where id = 1",
  ),
  attack('NOT NULL’s detail', 'update customers set id = null where id = 1'),
  attack('a name that is none', 'select quote_ident(ssn)::regclass from customers where id = 1'),
  attack(
    'the bytes one by one',
    'select chr(ascii(substr(ssn, i, 1))) || substr(ssn, i + 1) from customers, generate_series(1, 1) i where id = 1',
  ),
  attack('another schema', 'alter table customers set schema other', 'select ssn from other.customers'),
  attack('another name of the schema', 'alter schema public rename to private', 'select ssn from private.customers'),
  attack(
    'a child',
    'create table child () inherits (customers)',
    'insert into child select * from customers',
    'select ssn from child',
  ),
  attack('another type', 'alter table customers alter born type text using ssn', 'select born from customers'),
  attack(
    'a generated column',
    'alter table customers add copy text generated always as (ssn) stored',
    'select copy from customers',
  ),
  attack('a default', 'alter table customers add again text default ssn_of(1)', 'select again from customers'),
  attack(
    'a trigger that copies',
    'create function copies() returns trigger language plpgsql as $$ begin new.born := new.ssn; return new; end $$',
    'create trigger copies before update on customers for each row execute function copies()',
    'update customers set id = id',
    'select born from customers',
  ),
  attack(
    'a rule that copies',
    'create rule copies as on update to customers do also insert into journal select old.id, old.ssn',
    'update customers set name = name',
    'select t from journal',
  ),
  attack(
    'an index’s statistics',
    'create index lowered on customers (lower(ssn), upper(ssn))',
    'analyze customers',
    "select * from pg_stats where tablename = 'lowered'",
  ),
  attack(
    'extended statistics',
    'create statistics st on id, ssn from customers',
    'analyze customers',
    'select m.values from pg_statistic_ext join pg_statistic_ext_data on oid = stxoid, pg_mcv_list_items(stxdmcv) m',
  ),
  attack(
    'a default of a table of one’s own',
    'create temp table d (a int, s text default ssn_of(1))',
    'insert into d values (1)',
    'select s from d',
  ),
  attack(
    'a default that is set',
    'alter table journal alter t set default ssn_of(1)',
    'insert into journal values (7)',
    'select t from journal',
  ),
  attack(
    'a domain’s default',
    'create domain dd as text default ssn_of(1)',
    'create temp table d (a int, s dd)',
    'insert into d (a) values (1)',
    'select s from d',
  ),
  attack(
    'a default partition',
    'create temp table q (id int, name text, ssn text, born text) partition by list (id)',
    'create temp table q1 partition of q default',
    'insert into q select * from customers',
    'select ssn from q1',
  ),
  {
    ...attack(
      'MERGE into another table',
      'merge into journal j using customers c on j.n = c.id when matched then update set t = c.ssn',
      'select t from journal',
    ),
    since: 15,
  },
  attack(
    'ON CONFLICT into another column',
    "insert into customers values (1, 'x', 'y', 'z') on conflict (id) do update set born = customers.ssn",
    'select born from customers',
  ),
  attack('a composite type', 'create type pair as (a int, b text)', 'select (row(id, ssn)::pair).b from customers'),
  attack('hstore-like text of a row', "select regexp_replace(c::text, 'x', 'y') from customers c"),
  attack('an operator on rows', 'select array_to_string(array(select c from customers c), $$;$$)'),
  attack('json_populate_record', 'select (json_populate_record(null::customers, to_json(c))).ssn from customers c'),
  attack('a sort order by itself', 'select ssn from (select ssn from customers order by ssn) x limit 1'),
  attack('FOR UPDATE', 'select ssn from customers for update'),
  attack('TABLESAMPLE', 'select ssn from customers tablesample system (100)'),
  attack('a subscript of a whole row’s JSON', "select to_jsonb(c) -> 'ssn' from customers c"),
  attack('jsonb_path_query', "select jsonb_path_query(to_jsonb(c), '$.ssn') from customers c"),
  attack('text search', "select to_tsvector('simple', ssn || ' x'), ssn from customers"),
  ...maskedExpressions,
]
