// What node's pg gets for its work, as text: the same straight from the server and through a tunnel.
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

const connectionString = process.env.CLIENT_URL
const show = (label, value) => console.log(`${label}: ${JSON.stringify(value)}`)

async function failing(label, work) {
  try {
    await work()
    show(label, 'no error')
  } catch (error) {
    // Not file, line and routine: a text that cannot be read is refused before the server's parser sees it.
    const { code, severity, message, detail, hint, position, table, constraint } = error
    show(label, { code, severity, message, detail, hint, position, table, constraint })
  }
}

const client = new pg.Client({ connectionString })
const notices = []
client.on('notice', notice => notices.push(notice.message))
await client.connect()
show('rows', (await client.query('select * from customers order by id limit 5')).rows)
show(
  'fields',
  (await client.query('select id, total from orders limit 0')).fields.map(({ name, dataTypeID, format }) => [
    name,
    dataTypeID,
    format,
  ]),
)
for (let i = 1; i < 5; i++) {
  const query = { name: 'by id', text: 'select name, tags from customers where id = $1', values: [i] }
  show('named', (await client.query(query)).rows)
}
show(
  'array mode',
  (await client.query({ text: 'select 1, null, true, $1::jsonb', values: [{ a: 1 }], rowMode: 'array' })).rows,
)
show(
  'several',
  (
    await client.query(
      "select 1 as a; insert into orders (customer_id, items, total, placed_at) values (1, '[]', 1, now()); delete from orders where items = '[]'",
    )
  ).map(r => [r.command, r.rowCount, r.rows]),
)
show('empty', (await client.query('')).command)
await failing('syntax', async () => await client.query('select from where'))
await failing(
  'unique',
  async () =>
    await client.query('insert into customers (id, name, email, city, created_at) values (1, $1, $1, $1, now())', [
      'x',
    ]),
)
await failing('binding', async () => await client.query('select $1::int', ['x']))
await client.query('begin')
await failing('in transaction', async () => await client.query('select 1/0'))
await failing('aborted', async () => await client.query('select 1'))
await client.query('rollback')
await client.query("do $$ begin raise notice 'noticed'; end $$")
show('notices', notices)
const all = await Promise.all(Array.from({ length: 50 }, (_, n) => client.query('select $1::int as n', [n])))
show(
  'queued',
  all.map(({ rows }) => rows[0].n),
)
const note = new Promise(resolve => client.once('notification', ({ channel, payload }) => resolve([channel, payload])))
await client.query('listen news')
await client.query("notify news, 'by pg'")
show('notified', await note)
const {
  rows: [{ pid }],
} = await client.query('select pg_backend_pid() as pid')
const killer = new pg.Client({ connectionString })
await killer.connect()
let done = false
const slow = failing('cancelled', async () => await client.query('select pg_sleep(30)')).then(() => (done = true))
while (!done) {
  await killer.query('select pg_cancel_backend($1)', [pid])
  await sleep(100)
}
await slow
await killer.end()
show('large', (await client.query("select repeat('x', 3000000) as big")).rows[0].big.length)
show('many', (await client.query('select n, md5(n::text) from generate_series(1, 20000) n')).rows.at(-1))
await client.end()
const pool = new pg.Pool({ connectionString, max: 6 })
show(
  'pool',
  (await Promise.all(Array.from({ length: 30 }, (_, n) => pool.query('select $1::int * 2 as n', [n])))).map(
    ({ rows }) => rows[0].n,
  ),
)
await pool.end()
