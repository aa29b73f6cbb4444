/** Random SQL over a schema that has the features through which a value can travel. */
export const randomSchema = `
create table t (id int primary key, a text not null, s text, n int, sn int, j jsonb, arr text[], sarr text[]);
create table u (id int primary key, tid int references t(id), b text, us text, k int);
create table p (id int, a text, s text, n int) partition by range (id);
create table p1 partition of p for values from (0) to (100);
create table par (id int, a text, s text); create table chi (extra text) inherits (par);
create type comp as (x text, y int);
create view v as select id, a, upper(s) as vs, n + coalesce(length(s), 0) as vn, s from t;
create view vv as select v.*, u.b, u.us from v join u on u.id = v.id;
create view vj as select id, to_jsonb(t) as doc, row(t.s, t.a)::text as r from t;
create view vu as select id, a as x, null::text as y from t union all select id, us, b from u;
create materialized view mv as select id, s as ms, a from t;
create table g (id int, s text, low text generated always as (lower(s)) stored, a text);
create table audit (id int, note text, whole jsonb);
create function f_s(i int) returns text language sql stable as 'select s from t where id = i';
create function f_a(i int) returns text language sql stable as $$ select a from t where id = i $$;
create function f_plp(i int) returns text language plpgsql stable as $$ declare r record; x text; begin select * into r from u where id = i; x := r.us; return x; end $$;
create function f_id(x text) returns text language sql immutable as 'select x';
create function f_tab(i int) returns table(q text, w int) language sql stable as 'select s, n from t where id >= i';
create function f_set() returns setof t language sql stable as 'select * from t';
create function f_clean() returns table(q text, w int) language sql stable as 'select a, n from t';
create function fullrow(t) returns text language sql stable as 'select $1.s';
create function arow(t) returns text language sql stable as 'select $1.a';
create function trg() returns trigger language plpgsql as $$ begin new.b := (select s from t where id = new.id); return new; end $$;
create table w (id int primary key, b text, d text);
create trigger trg before insert or update on w for each row execute function trg();
create view wv as select id, b, d from w;
create operator === (leftarg = text, rightarg = text, function = texteq);

`

/** Columns whose values are secret there. */
export const secretColumns = ['t.s', 't.sn', 't.sarr', 'u.us', 'public.p.s', 'par.s', 'g.s']

/** Statements that fill the tables; only the secret columns depend on `secret`. */
export function fill(secret: string): string {
  const rows: string[] = ['truncate t, u, p, par, chi, g, audit, w cascade']
  for (let i = 1; i <= 4; i++) {
    const value = `${secret}${i * 7}${secret}`
    const number = secret.length * 40 + i
    rows.push(
      `insert into t values (${i}, 'a${i}', '${value}', ${i * 2}, ${number}, '{"k": ${i}}', array['x${i}'], array['${value}'])`,
      `insert into u values (${i}, ${i}, 'b${i}', 'u${value}', ${i})`,
      `insert into p values (${i}, 'pa${i}', '${value}', ${i})`,
      `insert into ${i % 2 === 1 ? 'par' : 'chi'}(id, a, s) values (${i}, 'pa${i}', '${value}')`,
      `insert into g(id, s, a) values (${i}, '${value}', 'ga${i}')`,
      `insert into w(id, d) values (${i}, 'd${i}')`,
    )
  }
  rows.push('refresh materialized view mv')
  return rows.join(';\n')
}

type Kind = 'text' | 'int' | 'jsonb' | 'text[]'
type Columns = readonly (readonly [name: string, kind: Kind])[]
interface Source {
  readonly alias: string
  readonly cols: Columns
  readonly rel?: string
}

const T = 'text' as const
const I = 'int' as const
const J = 'jsonb' as const
const A = 'text[]' as const
const rels: Record<string, Columns> = {
  t: [
    ['id', I],
    ['a', T],
    ['s', T],
    ['n', I],
    ['sn', I],
    ['j', J],
    ['arr', A],
    ['sarr', A],
  ],
  u: [
    ['id', I],
    ['tid', I],
    ['b', T],
    ['us', T],
    ['k', I],
  ],
  p: [
    ['id', I],
    ['a', T],
    ['s', T],
    ['n', I],
  ],
  p1: [
    ['id', I],
    ['a', T],
    ['s', T],
    ['n', I],
  ],
  par: [
    ['id', I],
    ['a', T],
    ['s', T],
  ],
  chi: [
    ['id', I],
    ['a', T],
    ['s', T],
    ['extra', T],
  ],
  v: [
    ['id', I],
    ['a', T],
    ['vs', T],
    ['vn', I],
    ['s', T],
  ],
  vv: [
    ['id', I],
    ['a', T],
    ['vs', T],
    ['vn', I],
    ['s', T],
    ['b', T],
    ['us', T],
  ],
  vj: [
    ['id', I],
    ['doc', J],
    ['r', T],
  ],
  vu: [
    ['id', I],
    ['x', T],
    ['y', T],
  ],
  mv: [
    ['id', I],
    ['ms', T],
    ['a', T],
  ],
  g: [
    ['id', I],
    ['s', T],
    ['low', T],
    ['a', T],
  ],
  w: [
    ['id', I],
    ['b', T],
    ['d', T],
  ],
}

/** A statement for a seed; the same one each time. */
export function randomStatement(seed: number): string {
  let state = Math.imul(seed + 1, 0x9e3779b9)
  let ctr = 0
  // mulberry32
  const rnd = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const int = (n: number) => Math.floor(rnd() * n)
  const pick = <Item>(items: readonly Item[]): Item => items[int(items.length)]!
  const colsOf = (srcs: Source[], ty: Kind) =>
    srcs.flatMap(s =>
      s.cols
        .filter(c => c[1] === ty)
        .map(c => (rnd() < 0.8 ? `${s.alias}.${c[0]}` : rnd() < 0.5 ? `(${s.alias}).${c[0]}` : `${s.alias}.${c[0]}`)),
    )
  /** An expression of a kind over what FROM brings. */
  function expr(srcs: Source[], ty: Kind, d: number): string {
    const cs = colsOf(srcs, ty)
    if (d <= 0 || rnd() < 0.35)
      return cs.length && rnd() < 0.9
        ? pick(cs)
        : ty === T
          ? `'lit${int(5)}'`
          : ty === I
            ? String(int(9))
            : ty === J
              ? `'{"z":1}'::jsonb`
              : `array['q']`
    const e = (t: Kind) => expr(srcs, t, d - 1)
    const tables = srcs.filter(s => s.rel)
    if (ty === T)
      switch (int(22)) {
        case 0:
          return `upper(${e(T)})`
        case 1:
          return `(${e(T)} || ${e(T)})`
        case 2:
          return `substr(${e(T)}, 1, 3)`
        case 3:
          return `coalesce(nullif(${e(T)}, 'zz'), ${e(T)})`
        case 4:
          return `case when ${bool(srcs, d - 1)} then ${e(T)} else ${e(T)} end`
        case 5:
          return `(${e(I)})::text`
        case 6:
          return `md5(${e(T)})`
        case 7:
          return `(select ${sub(srcs, T, d - 1)})`
        case 8:
          return `f_id(${e(T)})`
        case 9:
          return `f_s(${e(I)})`
        case 10:
          return `f_plp(${e(I)})`
        case 11:
          return `f_a(${e(I)})`
        case 12:
          return `(${e(J)})::text`
        case 13:
          return `(${e(A)})[1]`
        case 14:
          return `array_to_string(${e(A)}, ',')`
        case 15:
          return tables.length ? (s => `row_to_json(${s.alias})::text`)(pick(tables)) : e(T)
        case 16:
          return tables.length ? (s => `(${s.alias})::text`)(pick(tables)) : e(T)
        case 17: {
          const t = srcs.filter(s => s.rel === 't')
          return t.length ? (rnd() < 0.5 ? `${pick(t).alias}.fullrow` : `arow(${pick(t).alias})`) : e(T)
        }
        case 18:
          return `greatest(${e(T)}, ${e(T)})`
        case 19:
          return `format('%s-%s', ${e(T)}, ${e(I)})`
        case 20:
          return `(row(${e(T)}, ${e(I)})::comp).x`
        default:
          return `concat(${e(T)}, ${e(T)})`
      }
    if (ty === I)
      switch (int(8)) {
        case 0:
          return `(${e(I)} + ${e(I)})`
        case 1:
          return `length(${e(T)})`
        case 2:
          return `case when ${bool(srcs, d - 1)} then ${e(I)} else 0 end`
        case 3:
          return `(select ${sub(srcs, I, d - 1)})`
        case 4:
          return `coalesce(${e(I)}, 0)`
        case 5:
          return `ascii(${e(T)})`
        case 6:
          return `(${bool(srcs, d - 1)})::int`
        default:
          return `coalesce(array_length(${e(A)}, 1), 0)`
      }
    if (ty === J)
      switch (int(4)) {
        case 0:
          return `to_jsonb(${e(T)})`
        case 1:
          return `jsonb_build_object('k', ${e(T)}, 'n', ${e(I)})`
        case 2:
          return tables.length ? `to_jsonb(${pick(tables).alias})` : `to_jsonb(${e(I)})`
        default:
          return `(${e(J)} || jsonb_build_object('y', ${e(I)}))`
      }
    switch (int(3)) {
      case 0:
        return `array[${e(T)}, ${e(T)}]`
      case 1:
        return `array_append(${e(A)}, ${e(T)})`
      default:
        return `array(select ${sub(srcs, T, d - 1, true)})`
    }
  }
  function bool(srcs: Source[], d: number): string {
    switch (int(6)) {
      case 0:
        return `${expr(srcs, T, d)} like 'A%'`
      case 1:
        return `${expr(srcs, I, d)} > ${int(9)}`
      case 2:
        return `${expr(srcs, T, d)} = ${expr(srcs, T, d)}`
      case 3:
        return `exists (select 1 from ${pick(['t', 'u', 'p', 'v'])} q${++ctr} where ${rnd() < 0.5 ? 'true' : `q${ctr}.id > 2`})`
      case 4:
        return `${expr(srcs, I, d)} in (select ${pick(['id', 'n', 'sn'])} from t)`
      default:
        return `${expr(srcs, T, d)} is not null`
    }
  }
  /** The rest of a sub-select, after SELECT. */
  function sub(outer: Source[], ty: Kind, d: number, many = false): string {
    const [from, srcs] = fromClause(Math.min(d, 1), outer)
    const all = [...srcs, ...outer]
    if (rnd() < 0.4 && !many) {
      const x = expr(all, ty, d - 1)
      const filter = rnd() < 0.3 ? ` filter (where ${bool(srcs, 0)})` : ''
      if (ty === T) {
        const agg = pick([`max(${x})`, `min(${x})`, `string_agg(${x}, ',' order by ${x})`])
        return `${agg}${filter} from ${from}`
      }
      return `(${pick(['sum', 'count', 'max'])}(${x})${filter})::int from ${from}`
    }
    return `${expr(all, ty, d - 1)} from ${from} ${rnd() < 0.5 ? `where ${bool(all, 0)}` : ''} order by 1 limit ${many ? 2 : 1}`
  }
  function source(d: number, outer: Source[], ctes: Source[]): [string, Source] {
    const alias = `x${++ctr}`
    const k = int(10)
    if (d > 0 && k < 2) {
      const [q, cols] = select(d - 1, [])
      return [`(${q}) ${alias}`, { alias, cols }]
    }
    if (d > 0 && k === 2) {
      const list = [0, 1].map(() => `(${expr(outer, T, 1)}, ${expr(outer, I, 1)})`).join(',')
      return [
        `(values ${list}) ${alias}(c1, c2)`,
        {
          alias,
          cols: [
            ['c1', T],
            ['c2', I],
          ],
        },
      ]
    }
    if (k === 3)
      return [
        `f_tab(2) ${alias}`,
        {
          alias,
          cols: [
            ['q', T],
            ['w', I],
          ],
        },
      ]
    if (k === 4)
      return [
        `f_clean() ${alias}`,
        {
          alias,
          cols: [
            ['q', T],
            ['w', I],
          ],
        },
      ]
    if (k === 5) return [`f_set() ${alias}`, { alias, cols: rels.t! }]
    if (ctes.length && k < 8) {
      const cte = pick(ctes)
      return [`${cte.alias} ${alias}`, { alias, cols: cte.cols }]
    }
    const rel = pick(Object.keys(rels))
    return [`${rel} ${alias}`, { alias, cols: rels[rel]!, rel }]
  }
  function fromClause(d: number, outer: Source[], ctes: Source[] = []): [string, Source[]] {
    const [f, s] = source(d, [], ctes)
    if (rnd() < 0.55) return [f, [s]]
    const k = int(5)
    if (k === 0) {
      const alias = `l${++ctr}`
      return [
        `${f} cross join lateral (select ${expr([s], T, 2)} as lt, ${expr([s], I, 1)} as li) ${alias}`,
        [
          s,
          {
            alias,
            cols: [
              ['lt', T],
              ['li', I],
            ],
          },
        ],
      ]
    }
    if (k === 1 && s.cols.some(c => c[1] === A)) {
      const alias = `un${++ctr}`
      return [
        `${f} cross join unnest(${s.alias}.${pick(s.cols.filter(c => c[1] === A))[0]}) ${alias}(el)`,
        [s, { alias, cols: [['el', T]] }],
      ]
    }
    const [f2, s2] = source(d, [], ctes)
    const hasId = (x: Source) => x.cols.some(c => c[0] === 'id' && c[1] === I)
    if (hasId(s) && hasId(s2)) {
      if (k === 2) return [`${f} join ${f2} using (id)`, [s, s2]]
      if (k === 3) return [`${f} left join ${f2} on ${s.alias}.id = ${s2.alias}.id`, [s, s2]]
    }
    return [`${f} cross join ${f2}`, [s, s2]]
  }
  function select(d: number, ctes: Source[]): [string, Columns] {
    if (d > 0 && rnd() < 0.12) {
      const types = Array.from({ length: 1 + int(3) }, () => pick([T, I, J]))
      const one = () => plain(d - 1, ctes, types)[0]
      const op = pick(['union all', 'union', 'except', 'intersect', 'union all'])
      const names = types.map((_, i) => `o${i}`)
      return [
        `select * from (${one()} ${op} ${one()}) so${++ctr}(${names.join()})`,
        types.map((t, i) => [names[i]!, t]),
      ]
    }
    if (d > 0 && rnd() < 0.15) {
      const alias = `cte${++ctr}`
      const [q, cols] = select(d - 1, [])
      const [q2, cols2] = select(d - 1, [{ alias, cols }])
      return [`with ${rnd() < 0.3 ? 'recursive ' : ''}${alias} as ${pick(['', 'materialized '])}(${q}) ${q2}`, cols2]
    }
    if (d > 0 && rnd() < 0.06) {
      const alias = `rc${++ctr}`
      const s: Source = {
        alias,
        cols: [
          ['lv', I],
          ['tx', T],
        ],
      }
      const [f, src] = fromClause(0, [])
      return [
        `with recursive ${alias}(lv, tx) as (select 1, ${expr(src, T, 1)} from ${f} union all select r.lv + 1, ${rnd() < 0.5 ? 'r.tx' : `(select ${pick(['s', 'a', 'us', 'b'])} from t join u on u.id=t.id where t.id = r.lv)`} from ${alias} r where r.lv < 3) select ${expr([{ ...s, alias: 'z' }], T, 1)} as r1, z.lv from ${alias} z`,
        [
          ['r1', T],
          ['lv', I],
        ],
      ]
    }
    return plain(d, ctes, null)
  }
  function plain(d: number, ctes: Source[], want: readonly Kind[] | null): [string, Columns] {
    const [f, srcs] = fromClause(d, [], ctes)
    const out: [string, Kind][] = []
    const items: string[] = []
    const agg = rnd() < 0.2
    const types = want ?? Array.from({ length: 1 + int(4) }, () => pick([T, T, I, J, A]))
    for (const ty of types) {
      const name = `k${++ctr}`
      let e: string
      if (agg)
        e =
          ty === T
            ? pick([
                `max(${expr(srcs, T, d)})`,
                `string_agg(${expr(srcs, T, d)}, ',' order by 1)`,
                `min(${expr(srcs, T, d)}) filter (where ${bool(srcs, 0)})`,
              ])
            : ty === I
              ? pick([
                  `count(*)::int`,
                  `sum(${expr(srcs, I, d)})::int`,
                  `(count(*) filter (where ${bool(srcs, 0)}))::int`,
                  `count(distinct ${expr(srcs, T, 0)})::int`,
                ])
              : ty === J
                ? pick([
                    `jsonb_agg(${expr(srcs, T, d)})`,
                    `jsonb_object_agg(${expr(srcs, I, 0)}::text || 'k', ${expr(srcs, T, d)})`,
                  ])
                : `array_agg(${expr(srcs, T, d)})`
      else if (rnd() < 0.1 && ty === T)
        e = pick([
          `first_value(${expr(srcs, T, 1)}) over (order by ${expr(srcs, I, 0)})`,
          `lag(${expr(srcs, T, 1)}) over wn`,
        ])
      else if (rnd() < 0.1 && ty === I)
        e = pick([
          `(row_number() over (order by ${expr(srcs, T, 0)}, 1))::int`,
          `(rank() over (partition by ${expr(srcs, T, 0)} order by ${expr(srcs, I, 0)}))::int`,
        ])
      else e = expr(srcs, ty, d)
      items.push(`${e} as ${name}`)
      out.push([name, ty])
    }
    const w = items.some(i => i.includes('over wn')) ? ` window wn as (order by ${expr(srcs, T, 0)})` : ''
    const alias = srcs[0]!
    const where =
      rnd() < 0.3
        ? ` where ${alias.cols.some(c => c[0] === 'id' && c[1] === I) ? `${alias.alias}.id < ${2 + int(3)}` : 'true'}`
        : ''
    let stars = ''
    if (!want && !agg && rnd() < 0.12) {
      stars = `, ${pick(srcs).alias}.*`
    }
    return [`select ${items.join(', ')}${stars} from ${f}${where}${w}`, out]
  }
  function dml(): string {
    const k = int(6)
    if (k === 0)
      return `insert into u(id, b, us, k) select id + 100, ${expr([{ alias: 't', cols: rels.t!, rel: 't' }], T, 2)}, 'x', 1 from t returning ${expr([{ alias: 'u', cols: rels.u!, rel: 'u' }], T, 2)} as r, id`
    if (k === 1)
      return `update u set b = ${expr(
        [
          { alias: 't', cols: rels.t!, rel: 't' },
          { alias: 'u', cols: rels.u!, rel: 'u' },
        ],
        T,
        2,
      )} from t where t.id = u.id returning u.b, u.k, ${expr(
        [
          { alias: 't', cols: rels.t!, rel: 't' },
          { alias: 'u', cols: rels.u!, rel: 'u' },
        ],
        T,
        1,
      )} as r`
    if (k === 2) return `update ${pick(['w', 'wv'])} set d = d || 'x' returning id, b, d`
    if (k === 3)
      return `with up as (update u set b = (select max(${pick(['s', 'a'])}) from t) returning *) select up.b, up.k, ${expr([{ alias: 'up', cols: rels.u! }], T, 1)} as r from up`
    if (k === 4)
      return `insert into w(id, d) values (1, (select ${pick(['s', 'a'])} from t where id = 2)) on conflict (id) do update set d = ${pick(['excluded.d', 'w.d', "'z'"])} returning d, id`
    return `delete from u using t where t.id = u.id and u.id < 3 returning ${expr(
      [
        { alias: 't', cols: rels.t!, rel: 't' },
        { alias: 'u', cols: rels.u!, rel: 'u' },
      ],
      T,
      2,
    )} as r, u.*`
  }

  return rnd() < 0.12 ? dml() : select(1 + int(3), [])[0]
}
