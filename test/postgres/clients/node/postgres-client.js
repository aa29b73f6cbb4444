// What porsager's postgres gets for its work, as text: it pipelines, describes and caches by itself.
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'

const notices = []
const sql = postgres(process.env.CLIENT_URL, { max: 4, onnotice: notice => notices.push(notice.message) })
const show = (label, value) => console.log(`${label}: ${JSON.stringify(value)}`)

async function failing(label, work) {
  try {
    await work()
    show(label, 'no error')
  } catch (error) {
    const { code, severity, message, detail, hint, position, table_name, constraint_name } = error
    show(label, { code, severity, message, detail, hint, position, table_name, constraint_name })
  }
}

show('rows', await sql`select * from customers order by id limit 5`)
show(
  'columns',
  (await sql`select id, total, items from orders limit 1`).columns.map(({ name, type }) => [name, type]),
)
for (let i = 1; i < 5; i++) show('cached', await sql`select name, tags from customers where id = ${i}`)
show(
  'pipelined',
  (await Promise.all(Array.from({ length: 60 }, (_, n) => sql`select ${n}::int as n`))).map(([{ n }]) => n),
)
show('simple', await sql`select 1 as a; select 2 as b`.simple())
show('described', (await sql`select * from payments where id = ${1}`.describe()).types)
await failing('syntax', async () => await sql`selec 1`)
await failing('check', async () => await sql`update payments set status = 'lost' where id = 1`)
await failing('transaction', async () => {
  await sql.begin(async tx => {
    show(
      'inserted',
      await tx`insert into customers ${tx({ id: 9300, name: 'Cy', email: 'cy@example.com', city: 'Cork', created_at: '2026-01-01T00:00:00Z' })} returning id, city`,
    )
    await tx.savepoint(async s => await s`select 1/0`).catch(error => show('savepoint', error.code))
    show('seen', await tx`select count(*)::int from customers where id = 9300`)
    throw new Error('rolled back on purpose')
  })
})
let count = 0
await sql`select id from orders order by id`.cursor(13, rows => void (count += rows.length))
show('cursor', count)
await sql.begin(async tx => {
  await tx`create temp table copied (a int, b text)`
  const writable = await tx`copy copied from stdin`.writable()
  await pipeline(Readable.from(Array.from({ length: 2000 }, (_, n) => `${n}\trow ${n}\n`)), writable)
  show('copied', await tx`select count(*)::int, sum(a)::int from copied`)
  await tx`drop table copied`
})
const chunks = []
const readable = await sql`copy (select id, total from orders order by id) to stdout`.readable()
for await (const chunk of readable) chunks.push(chunk)
show('copied out', Buffer.concat(chunks).toString().split('\n').slice(-4))
const heard = new Promise(
  resolve => void sql.listen('news', resolve).then(async () => await sql.notify('news', 'by postgres')),
)
show('notified', await heard)
const slow = sql`select pg_sleep(30)`
const cancelled = failing('cancelled', async () => await slow)
await Promise.race([cancelled, sleep(500)]).then(() => slow.cancel()) // sent again where it came before the query ran
await Promise.race([cancelled, sleep(2000)]).then(() => slow.cancel())
await cancelled
await sql`do $$ begin raise notice 'noticed'; end $$`
show('notices', notices)
show(
  'array',
  await sql`select ${sql.array([1, 2, 3])}::int[] as a, ${sql.json({ b: 1 })}::jsonb as j, ${new Date(0)}::timestamptz as t`,
)
await sql.end()
