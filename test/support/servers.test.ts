import { expect, it } from 'vitest'
import { describeWith } from './needs.ts'
import { app, query, serverKinds, startServer } from './servers.ts'
import { shopSize } from '../../src/demo/shop.sql.ts'

for (const kind of serverKinds)
  describeWith(`a test server, ${kind.name}`, [kind.need], () => {
    it('is of that version, holds the shop, and lets the role of the tunnels in', async () => {
      await using server = await startServer(kind)
      expect(server.version).toMatch(new RegExp(`^${kind.version}\\.`))
      const rows = await query(server.appUrl, 'select current_user, count(*)::int as customers from customers')
      expect(rows).toEqual([{ current_user: app.user, customers: shopSize.customers }])
    })
  })
