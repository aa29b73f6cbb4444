// What TypeORM and Drizzle do: schemas made and compared with the database, entities, relations, transactions, streams.
import { createRequire } from 'node:module'
import path from 'node:path'

const require = createRequire(path.join(process.env.CLIENT_ORM, 'package.json'))
const { DataSource, EntitySchema, In, Like, MoreThan } = require('typeorm')
const { drizzle } = require('drizzle-orm/node-postgres')
const { integer, pgTable, serial, text } = require('drizzle-orm/pg-core')
const { and, count, desc, eq, gt, sql } = require('drizzle-orm')
const pg = require('pg')

const url = process.env.CLIENT_URL
const show = (label, value) => console.log(label, JSON.stringify(value))

const Author = new EntitySchema({
  name: 'Author',
  tableName: 'orm_authors',
  columns: {
    id: { type: 'int', primary: true, generated: true },
    name: { type: 'varchar', length: 80, unique: true },
    tags: { type: 'text', array: true, default: [] },
    born: { type: 'date', nullable: true },
    about: { type: 'jsonb', nullable: true },
  },
  relations: { books: { type: 'one-to-many', target: 'Book', inverseSide: 'author' } },
})
const Book = new EntitySchema({
  name: 'Book',
  tableName: 'orm_books',
  columns: {
    id: { type: 'uuid', primary: true, generated: 'uuid' },
    title: { type: 'text' },
    price: { type: 'numeric', precision: 8, scale: 2, default: 0 },
    version: { type: 'int', version: true },
  },
  relations: { author: { type: 'many-to-one', target: 'Author', inverseSide: 'books', onDelete: 'CASCADE' } },
  indices: [{ columns: ['title'] }],
})

const source = new DataSource({
  type: 'postgres',
  url,
  entities: [Author, Book],
  migrations: [
    class AddNote1700000000000 {
      name = 'AddNote1700000000000'
      up = async runner => await runner.query('ALTER TABLE orm_books ADD COLUMN note text')
      down = async runner => await runner.query('ALTER TABLE orm_books DROP COLUMN note')
    },
  ],
})
await source.initialize()
await source.synchronize()
show('compared', (await source.driver.createSchemaBuilder().log()).upQueries.length)
const authors = source.getRepository(Author)
const books = source.getRepository(Book)
await authors.save([
  { name: 'Ann', tags: ['a', 'b'], born: '1970-01-02', about: { likes: ['tea'] } },
  { name: 'Bob', tags: [] },
])
const ann = await authors.findOneBy({ name: 'Ann' })
await books.save([
  { title: 'One', price: '1.50', author: ann },
  { title: 'Two', price: '2.25', author: ann },
])
show(
  'with books',
  (await authors.find({ relations: { books: true }, order: { id: 'ASC', books: { title: 'ASC' } } })).map(one => [
    one.name,
    one.tags,
    one.about,
    one.books.map(book => [book.title, book.price, book.version]),
  ]),
)
show('found', await authors.findBy({ name: In(['Ann', 'Cid']), id: MoreThan(0) }))
show('like', await books.countBy({ title: Like('T%') }))
show(
  'summed',
  await books
    .createQueryBuilder('b')
    .select('sum(b.price)', 'sum')
    .groupBy('b.author')
    .having('count(*) > :n', { n: 1 })
    .getRawMany(),
)
await authors.upsert({ name: 'Bob', tags: ['c'] }, ['name'])
show('upserted', (await authors.findOneBy({ name: 'Bob' })).tags)
await source
  .transaction(async manager => {
    await manager.update(Author, { name: 'Bob' }, { tags: ['gone'] })
    await manager
      .transaction(async inner => await inner.insert(Author, { name: 'Ann' }))
      .catch(error => show('inside', error.code))
    show('still', (await manager.findOneBy(Author, { name: 'Bob' })).tags)
    throw new Error('take it back')
  })
  .catch(error => show('outside', error.message))
show('after', (await authors.findOneBy({ name: 'Bob' })).tags)
await source.runMigrations()
show('migrated', await source.query('select count(*)::int from migrations'))
await source.undoLastMigration()
show('deleted', (await authors.delete({ name: 'Ann' })).affected)
show('left', await books.count())
await source.dropDatabase().catch(error => show('drop', error.message))
await source.destroy()

const pool = new pg.Pool({ connectionString: url, max: 2 })
const db = drizzle(pool)
const items = pgTable('drizzle_items', { id: serial('id').primaryKey(), name: text('name').notNull(), n: integer('n') })
await db.execute(sql`create table drizzle_items (id serial primary key, name text not null, n int)`)
show(
  'inserted',
  await db
    .insert(items)
    .values([{ name: 'a', n: 1 }, { name: 'b', n: 2 }, { name: 'c' }])
    .returning(),
)
show(
  'selected',
  await db
    .select()
    .from(items)
    .where(and(gt(items.n, 0), eq(items.name, 'b')))
    .orderBy(desc(items.id)),
)
show('counted', await db.select({ n: count() }).from(items))
show(
  'updated',
  await db
    .update(items)
    .set({ n: sql`${items.n} + 1` })
    .where(eq(items.name, 'a'))
    .returning({ n: items.n }),
)
await db
  .transaction(async tx => {
    await tx.delete(items)
    show('inside', await tx.$count(items))
    tx.rollback()
  })
  .catch(error => show('rolled back', error.message))
show('outside', await db.$count(items))
const prepared = db
  .select()
  .from(items)
  .where(eq(items.id, sql.placeholder('id')))
  .prepare('by_id')
show('prepared', [await prepared.execute({ id: 1 }), await prepared.execute({ id: 3 })])
await db.execute(sql`drop table drizzle_items`)
await pool.end()
