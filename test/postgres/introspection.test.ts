import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Mask } from '../../src/policy/action.ts'
import { planMasks } from '../../src/protocols/postgres/analysis/plan-masks.ts'
import { AnalysedServer } from './support/analysed-server.ts'
import { servers } from './support/server.ts'

/** What clients ask of the catalogues by themselves, logged on PostgreSQL 15 (log_statement = all). */
const introspection: Readonly<Record<string, readonly string[]>> = JSON.parse(
  readFileSync(new URL('support/introspection.json', import.meta.url), 'utf8'),
)
const masks: readonly Mask[] = [
  { name: 'm', place: '', columns: ['customers.email', '*.ssn'], fields: [], detect: [], with: { kind: 'redact' } },
]

describe.each(servers)('$name', ({ name, available, binaries }) => {
  let server: AnalysedServer
  beforeAll(async () => {
    if (available)
      server = await AnalysedServer.start(
        binaries,
        'create table customers (id int primary key, email text, ssn text); create view v as select * from customers',
      )
  })
  afterAll(async () => await server?.stop())

  test.skipIf(!available).each(Object.keys(introspection))('%s: only read, and nothing hidden', async client => {
    for (const text of introspection[client]!) {
      const { refusal, statements } = server.analyse(text)
      // some of it is for older or newer servers
      if (name.includes('18') && refusal?.sqlstate === '42P01') continue
      expect(refusal, text).toBeNull()
      for (const statement of statements) {
        expect(statement.effect, `${statement.unknown}: ${text}`).toBe('read')
        if (statement.output.kind === 'prepared') continue
        await server.ask('begin')
        const answer = await server.ask(text).catch(() => null)
        await server.ask('rollback')
        if (answer === null) continue
        expect(planMasks(statement, masks, answer.fields, server.catalogue), text).toBe('clear')
      }
    }
  })
})
