// What Drizzle gets for its work, as text: queries, prepared statements, upserts, transactions, migrations.
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { and, asc, eq, gt, ilike, sql } = require('drizzle-orm')
const { drizzle } = require('drizzle-orm/node-postgres')
const { migrate } = require('drizzle-orm/node-postgres/migrator')
const pg = require('drizzle-orm/pg-core')
const { Pool } = require('pg')

const show = (label, value) => console.log(`${label}: ${JSON.stringify(value)}`)
const customers = pg.pgTable('customers', {
  id: pg.integer().primaryKey(),
  name: pg.text().notNull(),
  email: pg.text().notNull(),
  city: pg.text().notNull(),
  tags: pg.text().array().notNull(),
  createdAt: pg.timestamp('created_at', { withTimezone: true }).notNull(),
})
const orders = pg.pgTable('orders', {
  id: pg.integer().primaryKey(),
  customerId: pg.integer('customer_id').notNull(),
  items: pg.jsonb().notNull(),
  total: pg.numeric({ precision: 10, scale: 2 }).notNull(),
  placedAt: pg.timestamp('placed_at', { withTimezone: true }).notNull(),
})
const pool = new Pool({ connectionString: process.env.CLIENT_URL, max: 2 })
const db = drizzle(pool)

async function main() {
  show('select', await db.select().from(customers).orderBy(asc(customers.id)).limit(3))
  show(
    'join',
    await db
      .select({ name: customers.name, n: sql`count(*)::int`, sum: sql`sum(${orders.total})` })
      .from(customers)
      .innerJoin(orders, eq(orders.customerId, customers.id))
      .where(and(gt(orders.total, '20'), ilike(customers.city, '%o%')))
      .groupBy(customers.name)
      .orderBy(customers.name),
  )
  const byId = db
    .select()
    .from(customers)
    .where(eq(customers.id, sql.placeholder('id')))
    .prepare('by_id')
  for (const id of [1, 2, 3]) show('prepared', await byId.execute({ id }))
  const ada = {
    id: 9401,
    name: 'Ada',
    email: 'ada@example.org',
    city: 'Turin',
    tags: ['a'],
    createdAt: new Date('2026-01-01T00:00:00Z'),
  }
  show(
    'inserted',
    await db
      .insert(customers)
      .values([ada, { ...ada, id: 9402, email: 'bo@example.org' }])
      .returning(),
  )
  show(
    'upserted',
    await db
      .insert(customers)
      .values(ada)
      .onConflictDoUpdate({ target: customers.id, set: { city: 'Cork' } })
      .returning({ city: customers.city }),
  )
  show(
    'cte',
    await db
      .execute(
        sql`with gone as (delete from customers where id = ${9402} returning id) select count(*)::int as n from gone`,
      )
      .then(result => result.rows),
  )
  await db.transaction(async tx => {
    await tx.update(customers).set({ city: 'Lyon' }).where(eq(customers.id, 9401))
    await tx
      .transaction(async inner => {
        await inner.delete(customers).where(eq(customers.id, 9401))
        inner.rollback()
      })
      .catch(error => show('savepoint', error.constructor.name))
    show('inside', await tx.select({ city: customers.city }).from(customers).where(eq(customers.id, 9401)))
  })
  show(
    'error',
    await db
      .insert(customers)
      .values(ada)
      .catch(error => error.cause?.code),
  )
  show('deleted', (await db.delete(customers).where(eq(customers.id, 9401))).rowCount)

  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drizzle-'))
  try {
    fs.mkdirSync(path.join(folder, 'meta'))
    fs.writeFileSync(
      path.join(folder, 'meta', '_journal.json'),
      JSON.stringify({
        version: '7',
        dialect: 'postgresql',
        entries: [
          { idx: 0, version: '7', when: 1, tag: '0000_make', breakpoints: true },
          { idx: 1, version: '7', when: 2, tag: '0001_more', breakpoints: true },
        ],
      }),
    )
    fs.writeFileSync(
      path.join(folder, '0000_make.sql'),
      'create table "drizzled" ("id" serial primary key, "note" text);\n--> statement-breakpoint\ncreate index "drizzled_note" on "drizzled" ("note");',
    )
    fs.writeFileSync(
      path.join(folder, '0001_more.sql'),
      'alter table "drizzled" add column "at" timestamptz default now() not null;\n--> statement-breakpoint\ninsert into "drizzled" ("note") values (\'one\');',
    )
    for (const time of ['migrated', 'again']) {
      await migrate(db, { migrationsFolder: folder })
      show(time, (await db.execute(sql`select id, note, at is not null as dated from drizzled`)).rows)
    }
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

main()
  .finally(() => pool.end())
  .catch(error => {
    console.error(error)
    process.exitCode = 1
  })
