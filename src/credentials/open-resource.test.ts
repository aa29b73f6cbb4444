import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { newGrantId, type ResourceName, type ScopeName } from '../ids.ts'
import { loadPolicy, type LoadOptions } from '../policy/load.ts'
import { findPolicy, readPolicyFiles } from '../policy/policy-files.ts'
import { fakeKinds, person } from '../policy/testing/fake-kind.ts'
import { Secret } from '../secret.ts'
import { HeldCredential } from './held-credential.ts'
import { openResource, type OpenedResource } from './open-resource.ts'
import { unchanging } from './static.ts'

let folder: string
let env: Record<string, string>

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'ag-credentials-'))
  env = { AGENTGATE_HOME: path.join(folder, 'home'), PATH: process.env['PATH'] ?? '', SECRET: 's3cret' }
  write(
    `version: 1\nresources: { db: { kind: fake, address: "db.internal", credential: { issuer: static, user: app, secret: "\${exec:touch evaluated}\${env:SECRET}" } } }\n`,
  )
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const options = (more: Partial<LoadOptions> = {}): LoadOptions => ({ cwd: folder, env, kinds: fakeKinds, ...more })
const files = () => readPolicyFiles(findPolicy({ cwd: folder, env }), folder)
const write = (text: string) => writeFileSync(path.join(folder, 'agentgate.yaml'), text)
const errorOf = async (work: Promise<unknown>) => {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  return error as { code: string; message: string; hint: string }
}

describe('opening a resource', () => {
  const db = 'db' as ResourceName
  const only = 'default' as ScopeName
  const resolve = async (text: string, more: Record<string, string> = {}, resource = db) => {
    write(text)
    const loaded = await loadPolicy(options({ digest: files().digest }))
    return await openResource(loaded, resource, only, { env: { ...env, ...more } })
  }
  const minted = async (opened: OpenedResource) =>
    await opened.issuer.mint({ grant: newGrantId(), subject: person(), scope: opened.scope, ttlSeconds: 60 })
  const withCredential = (credential: string, more = 'address: "db.internal"') =>
    `version: 1\nresources: { db: { kind: fake, ${more}, credential: { issuer: static, ${credential} } } }\n`

  it('is refused for a policy that is not trusted, and runs nothing of it', async () => {
    const loaded = await loadPolicy(options({ untrusted: 'accept' }))
    expect(loaded.policy.access(person())).toHaveLength(1)
    expect(await errorOf(openResource(loaded, db, only, { env }))).toMatchObject({ code: 'POLICY_UNTRUSTED' })
    expect(() => readFileSync(path.join(folder, 'evaluated'))).toThrow()
  })

  it('gives the parts of what is served', async () => {
    const resolved = await resolve(withCredential('user: app, password: "${env:SECRET}"'))
    expect(resolved).toMatchObject({
      name: 'db',
      kind: 'fake',
      address: 'db.internal:5432',
      tls: { mode: 'verify-full', name: undefined, ca: undefined },
      scope: { name: 'default' },
    })
    const credential = await minted(resolved)
    expect(credential).toMatchObject({ issuer: 'static', user: 'app', certificate: null, expiresAt: null })
    expect(credential.secret?.reveal()).toBe('s3cret')
  })

  it('takes a URL apart', async () => {
    const URL = 'postgres://ap%70:p%40ss@db.internal:6432/shop?sslmode=require'
    const resolved = await resolve(withCredential('url: "${env:URL}"', 'port: 1'), { URL })
    expect(resolved).toMatchObject({
      address: 'db.internal:6432',
      settings: { database: 'shop' },
    })
    const credential = await minted(resolved)
    expect(credential.user).toBe('app')
    expect(credential.secret?.reveal()).toBe('p@ss')
    const fixed = await resolve(withCredential('url: "${env:URL}"', 'address: "127.0.0.1:1", database: other'), { URL })
    expect(fixed).toMatchObject({ address: '127.0.0.1:1', settings: { database: 'other' }, tls: { mode: 'off' } })
  })

  it('refuses what is no URL, or a URL for a password, without showing it', async () => {
    for (const [credential, value] of [
      ['url: "${env:V}"', 'hunter2'],
      ['url: "${env:V}"', 'postgres://a:hunter2%zz@x/y'],
      ['secret: "${env:V}"', 'postgres://a:hunter2@x/y'],
    ] as const) {
      const error = await errorOf(resolve(withCredential(credential), { V: value }))
      expect(error.code).toBe('SECRET_UNRESOLVED')
      expect(`${error.message} ${error.hint}`).not.toContain('hunter2')
    }
  })

  it.each([
    ['localhost:1', 'off'],
    ['127.0.0.1:1', 'off'],
    ['"[::1]:1"', 'off'],
    ['/run/pg/.s.PGSQL.5432', 'off'],
    ['db.internal:1', 'verify-full'],
    ['localhost.evil.com:1', 'verify-full'],
    ['127.0.0.1.evil.com:1', 'verify-full'],
    ['10.0.0.1:1', 'verify-full'],
    ['"[fd00::1]:1"', 'verify-full'],
    ['"[::2]:1"', 'verify-full'],
  ])('%s has TLS %s by default', async (address, mode) => {
    expect((await resolve(withCredential('secret: "${env:SECRET}"', `address: ${address}`))).tls.mode).toBe(mode)
  })

  it('reads a certificate authority, and refuses what is none', async () => {
    const ca = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'
    writeFileSync(path.join(folder, 'ca.pem'), ca)
    const text = (file: string) =>
      withCredential('secret: "${env:SECRET}"', `address: "x:1", tls: { name: db-2, ca: "\${file:${file}}" }`)
    expect((await resolve(text('ca.pem'))).tls).toEqual({ mode: 'verify-full', name: 'db-2', ca })
    expect(await errorOf(resolve(text('agentgate.yaml')))).toMatchObject({ code: 'SECRET_UNRESOLVED' })
  })

  it.each([['placement: gateway, credential: { issuer: none }', 'gateway']])(
    'refuses what needs the broker: %s',
    async (inside, message) => {
      const error = await errorOf(resolve(`version: 1\nresources: { db: { kind: fake, address: "x:1", ${inside} } }\n`))
      expect(error.code).toBe('DENIED')
      expect(error.message).toContain(message)
    },
  )

  it('prefers a scope’s own credential', async () => {
    const loaded = await (async () => {
      write(
        'version: 1\nresources: { db: { kind: fake, address: "x:1", credential: { issuer: static, user: reader }, scopes: { read: , write: { credential: { issuer: static, user: writer } } } } }\n',
      )
      return await loadPolicy(options({ digest: files().digest }))
    })()
    const user = async (scope: string) =>
      (await minted(await openResource(loaded, db, scope as ScopeName, { env }))).user
    expect([await user('read'), await user('write')]).toEqual(['reader', 'writer'])
  })
})

describe('a static credential', () => {
  it('stays what it is: nothing at the target is ours to end', async () => {
    const credential = { issuer: 'static', user: 'app', secret: new Secret('s'), certificate: null, expiresAt: null }
    const issuer = unchanging(credential)
    const request = { grant: newGrantId(), subject: person(), scope: { name: 'read', settings: {} }, ttlSeconds: 60 }
    const held = await HeldCredential.mint(issuer, request)
    held.tick(3600, text => {
      throw new Error(text)
    })
    expect(held.current).toBe(credential)
    expect(await held.end()).toBeUndefined()
    expect(await issuer.sweep()).toBe(0)
  })
})
