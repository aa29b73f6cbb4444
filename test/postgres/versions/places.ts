/** Where a word may stand in a statement: each line is one, K the word. */
export const places: readonly string[] = `
select 1 K
select 1 as K
select K
select K from t
select K(1)
select K('a')
select K(a, b)
select K()
select K(*) from t
select K(distinct a) from t
select K(a order by b) from t
select s.K(1)
select K.a from K
select t.K from t
select (t).K from t
select * from K
select * from K(1)
select * from K('a') as x
select * from K(1) K
select * from t K
select * from t as K
select * from t K (a)
select * from t as K(a int)
select * from (select 1) K
select a K b from t
select a K from t
select a K, b from t
select a K 1
select 'a' K 'b'
select a from t where a K b
select a from t where a is K
select a from t where a is not K
select a from t where K a
select a from t where not K
select a from t order by K
select a from t order by a K
select a from t group by K
select a from t group by K a
select a from t group by K (a)
select a from t group by K(a), b
select K a from t
select K a, b from t
select a::K
select a::K(1)
select a::K[]
select cast(a as K)
select K 'x'
select K '1' K
select K(1) 'x'
select array[K]
select row(K)
select row(K, 1)
select (K).a
select (K(1)).a
select a[K]
select a.K
select a.K(1)
select a K.b from t
select a at K
select a at time zone K
select interval '1' K
select extract(K from a)
select trim(K from a)
select position(K in a)
select substring(a K b)
select overlay(a K b)
select f(K => 1)
select f(K := 1)
select f(variadic K)
select f(a) over K
select f(a) over (K)
select f(a) over (partition by a rows K preceding)
select f(a) filter (where K)
select f(a) within group (order by K)
select f(a) K
select f(a) K nulls
select f(a) K over ()
select f(K a)
select f(a K b)
select f(a, K b)
select f(a K)
select f(a K json)
select f(a) as K
with K as (select 1) select * from K
with K(a) as (select 1) select * from K
with a as K (select 1) select * from a
with recursive a as (select 1) K depth first by a set b select 1
with recursive a as (select 1) K a set b using c select 1
values (K)
table K
insert into K values (1)
insert into t (K) values (1)
insert into t values (K)
insert into t K values (1)
insert into t K select 1
insert into t as K values (1)
insert into t values (1) returning K
insert into t values (1) returning K a
insert into t values (1) returning K.a
insert into t values (1) returning K(a)
insert into t values (1) on conflict do K
update K set a = 1
update t set K = 1
update t K set a = 1
update t set a = K
update t set (a, K) = (1, 2)
update t set a = 1 from K
update t set a = 1 where K
update t set a = 1 returning K
update t set a = 1 returning K.a
delete from K
delete from t K
delete from t K where a
delete from t using K
delete from t where K
delete from t returning K
delete from t where current of K
merge into t using s on a when K then delete
merge into t using s on K when matched then delete
merge into t using s on a when matched then K
merge into K using s on a when matched then do nothing
create table K (a int)
create table t (K int)
create table t (a K)
create table t (a int K)
create table t (a int default K)
create table t (a int check (K))
create table t (a int) K
create table t (a int) with (K)
create table t (a int) with (K = 1)
create table t (like K)
create table t (like s K all)
create table t (like s including K)
create table t (a int, constraint K check (true))
create table t (a int, K (a))
create table t (a int, K a)
create table t (a int) partition by K (a)
create table t partition of s for values in (K)
create table t partition of s K
create view K as select 1
create view t as select K
create function K() returns int language sql as ''
create function f(K int) returns int language sql as ''
create function f(K) returns int language sql as ''
create function f(a K) returns int language sql as ''
create function f(K a int) returns int language sql as ''
create function f() returns K language sql as ''
create function f() returns int language K as ''
create function f() returns int K language sql as ''
create function f() returns int K 1
create function f() returns int K select 1
create procedure K() language sql as ''
create aggregate f(int) (sfunc = K, stype = int)
create aggregate f(int) (K = a, stype = int)
create operator + (K = int)
create type K as (a int)
create type t as (K int)
create type t as K
create type t as K ('a')
create domain K as int
create domain d as K
create domain d as int K
create index K on t (a)
create index on t (K)
create index on t (a K)
create index on t (K(a))
create index on t using K (a)
create index on t (a) K (b)
create trigger t after K on s execute function f()
create trigger t after insert on s for each K execute function f()
create trigger t after update of K on s execute function f()
create rule K as on insert to t do nothing
create sequence K
create sequence s K
create schema K
create role K
create role r K
create extension K
create policy p on t K
create policy p on t using (K)
create publication p for K t
create statistics K on a, b from t
create statistics s on K, b from t
create cast (K as int) with function f(int)
alter table t K a
alter table t add K
alter table t add K int
alter table t drop K
alter table t drop column K
alter table t alter K type int
alter table t alter a K
alter table t alter a set K
alter table t alter a set K 1
alter table t set (K)
alter table t K
alter table t rename K to a
alter table t rename to K
alter table t attach partition K default
alter table t detach partition a K
alter function f(K) stable
alter function f(int) K
alter system set K = 1
alter type t K
drop table K
drop table a, K
drop function K(int)
drop function f(K)
drop K a
drop table t K
truncate K
truncate t K
truncate t K identity
lock K
lock t in K mode
copy K to stdout
copy t to K
copy t K stdout
copy t (K) to stdout
copy t to stdout K
copy t to stdout (K)
copy t to stdout (K a)
copy t to stdout with (format K)
explain K select 1
explain (K) select 1
explain (format K) select 1
analyze K
analyze (K) t
vacuum K
vacuum (K) t
reindex K t
reindex table K
cluster K
grant K on t to a
grant K to a
grant select on K to a
grant select on K t to a
grant select (K) on t to a
grant select on t to K
grant a to b with K
grant a to b with K option
grant a to b with K true
grant a to b granted by K
revoke K option for a from b
revoke a from b K
set K = 1
set K to a
set a = K
set a to 1, K
set K time zone 1
set local K = 1
set session K = 1
reset K
show K
begin K
start transaction K
commit K
rollback to K
savepoint K
prepare K as select 1
prepare p (K) as select 1
execute K
execute p (K)
deallocate K
declare K cursor for select 1
declare c K cursor for select 1
declare c cursor K for select 1
fetch K
fetch K from c
fetch K c
fetch 1 K c
fetch c K
move K in c
close K
discard K
listen K
notify K
notify a, K
unlisten K
comment on K a is ''
comment on column K.a is ''
comment on table K is ''
security label on K a is ''
call K(1)
call f(K)
do K
do language K ''
load K
import foreign schema K from server a into b
refresh materialized view K
select 1 from t for K
select 1 from t for update K
select 1 from t for update of K
select 1 limit K
select 1 fetch K 1 rows only
select 1 fetch first 1 K only
select 1 offset 1 K
select a K join b on true from t
select * from a K join b on true
select * from a join b K
select * from a join b using (K)
select * from a join b using (a) as K
select * from a join b using (a) K
select * from a tablesample K (1)
select * from rows from (K(1))
select * from f() K ordinality
select * from f() with K
select * from lateral K(1)
select * from lateral K
select * from xmltable('a' passing b columns K int)
select * from xmltable('a' passing b columns c int K)
select * from json_table(a, 'b' columns (K int))
select 1 K select 2
select 1 K all select 2
select 1 intersect K select 2
select a from t window K as ()
select a operator(K.+) b
select a collate K
select a like b K c
select a K like b
select a K in (1)
select a in (K)
select a = K (array[1])
select a = any (K)
select case K when 1 then 2 end
select case when a then K end
select case when a then b K end
select exists (select K)
select K exists
select a is K null
select a is K from b
select a is distinct K b
select a between K and b
select a between K b and c
select a ~ K
select K ~ a
select @ K
select $1 K
select 1.5 K
select 'a'::text K
select 1 K
`
  .split('\n')
  .filter(line => /\bK\b/.test(line))

/** Numbers as 18 writes them, glued to what may follow. */
export const numbers: readonly string[] = [
  '0x1f',
  '0X1F',
  '0x_1f',
  '0b1',
  '0b_10',
  '0o7',
  '0o_7',
  '1_000',
  '1__0',
  '1_000.5',
  '1.5_0',
  '1e1_0',
  '.0_5',
  '0x',
  '0xg',
  '0b2',
  '0o8',
  '1_',
  '1x',
  '1abc',
  '1.5abc',
  '1e',
  '1ex',
  '0x1g',
  '$1_0',
  '$1a',
  '$2147483648',
  '1..2',
  '0x1.5',
  '1_000_000',
  '0_1',
  '100_',
].flatMap(number => [
  `select ${number}`,
  `select ${number} a`,
  `select a from t where b = ${number}`,
  `select a[${number}] from t`,
  `select ${number}, b from t`,
  `select x from (select ${number}) y`,
  `values (${number})`,
  `select a from t limit ${number}`,
])

/** What else changed its place or came since 13, and words that stand behind one another. */
export const others: readonly string[] = `
select '{}' format json
select '{}' is json
select '{}' is not json object
select json_object('{a,b}')
select json_object('a': 1)
select json_object('a' value 1)
select json_object(key 'a' value 1 absent on null)
select json_array(1, 2 null on null)
select json_array(select 1)
select json_arrayagg(a order by b) from t
select json_objectagg(a: b with unique keys) from t
select json('{}')
select json('{}' with unique keys)
select json '{}'
select '{}'::json
select cast('{}' as json)
select a.json from a
select json_scalar(1)
select json_serialize('{}' returning text)
select json_exists(a, '$') from t
select json_value(a, '$' returning int default 0 on error) from t
select json_query(a, '$' with wrapper keep quotes) from t
select * from json_table(a, '$' columns (b int path '$.b')) t
select * from json_table('a')
select system_user
select t.system_user from t
select "system_user" from t
select merge_action()
select any_value(a) from t
select a at local from t
select a at time zone 'utc' from t
select substring(a, 1) from t
select substring(a from 1 for 2) from t
select substring(a similar b escape c) from t
select overlay(a placing b from 1) from t
select position(a in b) from t
select trim(a) from t
select trim(both from a) from t
select extract(epoch from a) from t
select normalize(a) from t
select a is nfc normalized from t
select 5 !
select 5 ! a
select !! 5
select a !=- b
select a from t group by distinct rollup (a), cube (b)
select a from t group by all rollup (a)
select * from (select 1)
select * from (values (1))
select * from a join b using (c) as d
with recursive a as (select 1 union all select 2) search depth first by x set y select * from a
with recursive a as (select 1 union all select 2) cycle x set y using z select * from a
with a as not materialized (select 1) select * from a
merge into t using s on t.a = s.a when matched then delete
merge into t using s on t.a = s.a when not matched by source then delete
merge into t using s on t.a = s.a when matched then delete returning *
merge into only t using s on t.a = s.a when not matched then insert default values
insert into t values (1) returning old.a, new.a
update t set a = 1 returning with (old as o) o.a
delete from t where current of c
create table t (a int compression lz4)
create table t (a int storage plain)
create table t (a int generated always as (b) stored)
create table t (a int generated always as (b))
create table t (a int generated always as (b) virtual)
create table t (a int not null no inherit)
create table t (a int unique nulls not distinct)
create table t (a int, period b)
create table t (primary key (a, b without overlaps))
create table t (foreign key (a, period b) references s)
create table t (a int check (a > 0) not enforced)
create table t (a int) using heap
create function f() returns int return 1
create function f() returns int begin atomic select 1; end
create function f(out a int, variadic b int[]) language sql as ''
create procedure p(out a int) language sql as ''
create or replace trigger t before insert on s for each row execute function f()
create view v with (security_invoker) as select 1
create statistics s on (a + b), c from t
create statistics on a, b from t
create publication p for tables in schema s
create publication p for table t (a) where (a > 1)
create subscription s connection '' publication p
create role r in role a admin b
create database d strategy file_copy
create index on t (a) include (b) nulls not distinct
create schema if not exists s authorization current_role
alter table t alter a set compression lz4
alter table t alter a set storage default
alter table t detach partition a concurrently
alter table t alter constraint c not valid
alter table t alter column a drop expression
alter table t split partition a into (partition b default)
alter subscription s skip (lsn = '0/1')
alter system set a to b
grant a to b with admin true, inherit false
grant a to b with admin option granted by c
grant set on parameter a to b
grant maintain on t to b
revoke inherit option for a from b
reindex (concurrently) table t
cluster (verbose) t
vacuum (only_database_stats)
vacuum only t
analyze only t
lock table only t in share mode nowait
copy t from stdin with (on_error ignore)
copy t to stdout (format csv, force_quote *)
copy t from stdin where a > 1
fetch absolute -1 from c
declare c asensitive cursor for select 1
start transaction isolation level serializable, read only, deferrable
rollback and chain
prepare transaction 'a'
listen "a b"
comment on constraint a on domain b is ''
security label for a on table b is ''
select U&'!0041' uescape '!'
select U&"a" from t
select e'x'
select 'a'
  'b'
select b'1' x'f'
select n'a'
select interval '1' day to second (3)
select a operator(pg_catalog.+) b
select (a).b.c[1:2]
select a is document from t
select xmltable
select 1 order by 1 using < nulls first
select 1 fetch first 1 rows with ties
select a, count(*) filter (where b) over (order by c groups between 1 preceding and current row exclude ties) from t
values (1), (default)
table t union all table s
select distinct on (a) a from t for no key update of t skip locked
`
  .split('\n')
  .filter(line => line !== '')
