// What TypeORM gets for its work, as text: repositories, query builder, transactions, migrations, synchronisation.
require('reflect-metadata')
const { DataSource, EntitySchema, In, MoreThan } = require('typeorm')

const show = (label, value) => console.log(`${label}: ${JSON.stringify(value)}`)
const Customer = new EntitySchema({
  name: 'Customer',
  tableName: 'customers',
  columns: {
    id: { type: 'int', primary: true },
    name: { type: 'text' },
    email: { type: 'text', unique: true },
    city: { type: 'text' },
    tags: { type: 'text', array: true, default: '{}' },
    createdAt: { type: 'timestamptz', name: 'created_at' },
  },
  relations: { orders: { type: 'one-to-many', target: 'Order', inverseSide: 'customer' } },
})
const Order = new EntitySchema({
  name: 'Order',
  tableName: 'orders',
  columns: {
    id: { type: 'int', primary: true },
    items: { type: 'jsonb' },
    total: { type: 'numeric' },
    placedAt: { type: 'timestamptz', name: 'placed_at' },
  },
  relations: {
    customer: { type: 'many-to-one', target: 'Customer', inverseSide: 'orders', joinColumn: { name: 'customer_id' } },
  },
})
const Note = new EntitySchema({
  name: 'Note',
  tableName: 'typeorm_notes',
  columns: {
    id: { type: 'int', primary: true, generated: 'increment' },
    text: { type: 'varchar', length: 40 },
    at: { type: 'timestamptz', createDate: true },
  },
  indices: [{ columns: ['text'] }],
})
class Make1700000000000 {
  name = 'Make1700000000000'
  up = runner => runner.query('create table typeorm_made (id serial primary key, what text not null)')
  down = runner => runner.query('drop table typeorm_made')
}
const options = {
  type: 'postgres',
  url: process.env.CLIENT_URL,
  entities: [Customer, Order],
  migrations: [Make1700000000000],
}

async function main() {
  const source = await new DataSource(options).initialize()
  try {
    const customers = source.getRepository('Customer')
    show('find', await customers.find({ order: { id: 'ASC' }, take: 3 }))
    show(
      'relations',
      await customers.findOne({ where: { id: 1 }, relations: { orders: true }, order: { orders: { id: 'ASC' } } }),
    )
    show('count', await customers.countBy({ id: In([1, 2, 3, 99999]) }))
    show(
      'builder',
      await source
        .createQueryBuilder('Order', 'o')
        .innerJoin('o.customer', 'c')
        .select('c.city', 'city')
        .addSelect('sum(o.total)', 'sum')
        .where('o.total > :least', { least: 10 })
        .groupBy('c.city')
        .orderBy('c.city')
        .getRawMany(),
    )
    show(
      'saved',
      await customers.save([
        {
          id: 9501,
          name: 'Ada',
          email: 'ada@example.net',
          city: 'Turin',
          tags: ['a', 'b'],
          createdAt: new Date('2026-01-01T00:00:00Z'),
        },
      ]),
    )
    show('changed', (await customers.update({ id: MoreThan(9500) }, { city: 'Cork' })).affected)
    show(
      'upsert',
      (
        await customers.upsert(
          [{ id: 9501, name: 'Bo', email: 'ada@example.net', city: 'Lyon', createdAt: new Date(0) }],
          ['id'],
        )
      ).identifiers,
    )
    await source
      .transaction(async manager => {
        await manager.delete('Customer', { id: 9501 })
        throw new Error('not this time')
      })
      .catch(error => show('rolled back', error.message))
    show(
      'error',
      await customers
        .insert({ id: 9501, name: '', email: '', city: '', tags: [], createdAt: new Date(0) })
        .catch(error => error.driverError.code),
    )
    const stream = await source.createQueryBuilder('Customer', 'c').orderBy('c.id').limit(5).getMany()
    show('many', stream.length)
    show('removed', (await customers.delete({ id: 9501 })).affected)
    show(
      'migrated',
      (await source.runMigrations()).map(each => each.name),
    )
    show('again', (await source.runMigrations()).length)
    await source.undoLastMigration()
  } finally {
    await source.destroy()
  }
  const own = await new DataSource({ ...options, entities: [Note], migrations: [], synchronize: true }).initialize()
  try {
    show('synchronized', (await own.getRepository('Note').save({ text: 'one' })).id)
    await own.synchronize()
    show('kept', await own.getRepository('Note').count())
  } finally {
    await own.destroy()
  }
}

main().catch(error => {
  console.error(error)
  process.exitCode = 1
})
