// What Prisma gets for its work, as text: relations, transactions, raw SQL, errors.
const { PrismaPg } = require('@prisma/adapter-pg')
const { PrismaClient } = require('@prisma/client')

const show = (label, value) =>
  console.log(`${label}: ${JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}n` : v))}`)
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.CLIENT_URL }) })

async function main() {
  show('find', await prisma.customers.findMany({ take: 3, orderBy: { id: 'asc' } }))
  show(
    'related',
    await prisma.customers.findFirst({
      where: { orders: { some: { total: { gt: 50 } } } },
      orderBy: { id: 'asc' },
      include: { orders: { orderBy: { id: 'asc' }, take: 2 } },
    }),
  )
  show(
    'filter',
    await prisma.orders.count({
      where: { OR: [{ status: 'paid' }, { note: { contains: 'gift', mode: 'insensitive' } }] },
    }),
  )
  show(
    'group',
    await prisma.orders.groupBy({ by: ['status'], _sum: { total: true }, _count: true, orderBy: { status: 'asc' } }),
  )
  const made = await prisma.customers.create({
    data: {
      id: 9301,
      name: 'Ada',
      email: 'ada@example.com',
      city: 'Turin',
      tags: ['a', 'b'],
      created_at: new Date('2026-01-01T00:00:00Z'),
      orders: {
        create: [
          { id: 9301, items: [{ sku: 'x', n: 2 }], total: '12.50', placed_at: new Date('2026-01-02T00:00:00Z') },
        ],
      },
    },
    include: { orders: true },
  })
  show('created', made)
  show(
    'upserted',
    await prisma.customers.upsert({
      where: { id: 9301 },
      update: { city: 'Cork' },
      create: { ...made, orders: undefined },
    }),
  )
  show(
    'duplicate',
    await prisma.customers
      .create({ data: { id: 9301, name: '', email: '', city: '', created_at: new Date(0) } })
      .catch(error => error.code),
  )
  show('updated', await prisma.orders.updateMany({ where: { customer_id: 9301 }, data: { status: 'shipped' } }))
  show('raw', await prisma.$queryRaw`select id, items->0->>'sku' as sku, total from orders where customer_id = ${9301}`)
  await prisma
    .$transaction(async tx => {
      await tx.orders.deleteMany({ where: { customer_id: 9301 } })
      throw new Error('not this time')
    })
    .catch(error => show('rolled back', error.message))
  show('still there', await prisma.orders.count({ where: { customer_id: 9301 } }))
  show(
    'deleted',
    await prisma.$transaction([
      prisma.orders.deleteMany({ where: { customer_id: 9301 } }),
      prisma.customers.delete({ where: { id: 9301 } }),
    ]),
  )
}

main()
  .finally(() => prisma.$disconnect())
  .catch(error => {
    console.error(error)
    process.exitCode = 1
  })
