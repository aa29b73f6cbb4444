import { describe, expect, it } from 'vitest'
import { findResources } from './init-sources.ts'

const files = (content: Readonly<Record<string, string>>) => (file: string) => content[file]
const none = files({})

describe('what init starts from', () => {
  it('is DATABASE_URL, without any secret of it', () => {
    const env = { DATABASE_URL: 'postgres://app:hunter2@db.internal:6432/shop?sslmode=require', PGHOST: 'other' }
    const found = findResources(env, none)
    expect(found).toEqual([
      {
        name: 'shop',
        source: 'DATABASE_URL',
        address: 'db.internal:6432',
        database: 'shop',
        tls: 'require',
        credential: 'url: "${env:DATABASE_URL}"',
        note: 'sslmode=require checks no certificate; verify-full does',
      },
    ])
    expect(JSON.stringify(found)).not.toContain('hunter2')
  })

  it.each([
    ['postgres://db.internal/shop', 'db.internal:5432'],
    ['postgres://u@[::1]:7/shop', '[::1]:7'],
    ['postgresql:///shop?host=/var/run/postgresql', '/var/run/postgresql/.s.PGSQL.5432'],
    ['postgres://%2Fvar%2Frun%2Fpg/shop', '/var/run/pg/.s.PGSQL.5432'],
  ])('reads the address of %s', (url, address) => {
    expect(findResources({ DATABASE_URL: url }, none)[0]?.address).toBe(address)
  })

  it('is the variables of libpq', () => {
    const env = {
      PGHOST: 'db.internal',
      PGUSER: 'app',
      PGDATABASE: 'Shop 2',
      PGPASSWORD: 'hunter2',
      PGSSLMODE: 'disable',
    }
    expect(findResources(env, none)).toEqual([
      {
        name: 'shop-2',
        source: 'PGHOST',
        address: 'db.internal:5432',
        database: 'Shop 2',
        tls: 'off',
        credential: 'user: "app", password: "${env:PGPASSWORD}"',
        note: 'sslmode=disable: password and data go in the clear',
      },
    ])
  })

  it('is a service', () => {
    const read = files({
      '/h/.pg_service.conf':
        '# x\n[other]\nhost=no\n[prod]\nhost = db.internal\nport=1\ndbname=shop\nuser=app\npassword=hunter2\n',
    })
    const found = findResources({ PGSERVICE: 'prod', HOME: '/h' }, read)
    expect(found).toMatchObject([
      {
        name: 'prod',
        address: 'db.internal:1',
        database: 'shop',
        credential: 'user: "app", password: "${env:PGPASSWORD}"',
      },
    ])
    expect(JSON.stringify(found)).not.toContain('hunter2')
  })

  it('is what the password file names, each once, never a password', () => {
    const read = files({
      '/h/.pgpass':
        '# a comment\ndb.internal:5432:shop:app:hunter2\ndb.internal:5432:shop:other:hunter2\n*:*:*:app:hunter2\ndb2:*:*:*:hun\\:ter2\n\\:\\:1:5432:shop:app:hunter2\nbroken\n',
    })
    const found = findResources({ HOME: '/h' }, read)
    expect(found.map(({ name, address, database }) => [name, address, database])).toEqual([
      ['shop', 'db.internal:5432', 'shop'],
      ['db2', 'db2:5432', undefined],
      ['shop-2', '[::1]:5432', 'shop'],
    ])
    expect(JSON.stringify(found)).not.toContain('hunter2')
  })

  it.each(['mysql://x/y', 'not a url', ''])('is nothing for DATABASE_URL=%s', url => {
    expect(findResources({ DATABASE_URL: url, HOME: '/h' }, none)).toEqual([])
  })
})
