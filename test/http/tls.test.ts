import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { http as protocol } from '../../src/protocols/http/http.ts'
import { connectTo } from '../../src/tunnel/tunnel.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith, program } from '../support/needs.ts'
import { HttpTunnel, targetSecret } from './tunnel.ts'

describeWith('a target over TLS', [program('openssl')], () => {
  let server: https.Server
  let ca = ''
  let address = ''
  let seen: string | undefined

  beforeAll(async () => {
    const folder = newFolder('tls')
    const openssl = (args: string) => execFileSync('openssl', args.split(' '), { cwd: folder, stdio: 'pipe' })
    openssl(
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem -subj /CN=api.internal -addext subjectAltName=DNS:api.internal',
    )
    ca = readFileSync(path.join(folder, 'cert.pem'), 'utf8')
    server = https.createServer({ key: readFileSync(path.join(folder, 'key.pem')), cert: ca }, (request, response) => {
      seen = request.headers.authorization
      response.writeHead(request.url === '/denied' ? 401 : 200).end('over TLS')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })

  it('gets the credential when its certificate is for the name that is expected', async () => {
    await using tunnel = await HttpTunnel.open({
      target: address,
      tls: { mode: 'verify-full', name: 'api.internal', ca },
    })
    expect(await (await tunnel.fetch('/')).text()).toBe('over TLS')
    expect(seen).toBe(`Bearer ${targetSecret}`)
  })

  it.each([
    [
      'for another name',
      () => ({ mode: 'verify-full' as const, name: 'other.internal', ca }),
      'not for other.internal',
    ],
    ['by nobody we trust', () => ({ mode: 'verify-full' as const, name: 'api.internal' }), 'not trusted'],
    ['by nobody we trust, with verify-ca', () => ({ mode: 'verify-ca' as const, name: 'api.internal' }), 'not trusted'],
  ])('gets nothing when its certificate is %s', async (_, tls, why) => {
    seen = undefined
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0' // what users set in despair must not reach us
    try {
      await using tunnel = await HttpTunnel.open({ target: address, tls: tls() })
      const answer = await tunnel.fetch('/')
      expect([answer.status, await answer.text()]).toEqual([502, expect.stringContaining(why)])
      expect(seen).toBeUndefined()
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before
    }
  })

  it('needs no certain name with verify-ca, and no certificate with require, which warns', async () => {
    await using byCa = await HttpTunnel.open({ target: address, tls: { mode: 'verify-ca', ca } })
    expect((await byCa.fetch('/')).status).toBe(200)
    await using any = await HttpTunnel.open({ target: address, tls: { mode: 'require' } })
    expect((await any.fetch('/')).status).toBe(200)
    const { resource } = any.context
    const upstream = async () => await connectTo('api', address)
    expect((await protocol.probe(resource, upstream)).warnings).toEqual([expect.stringContaining('not verified')])
  })

  it('is probed before the first client comes', async () => {
    const upstream = async () => await connectTo('api', address)
    const resource = (settings: unknown, tls: object) => ({
      ...new HttpTunnel({ target: address, settings, tls: { mode: 'verify-full', name: 'api.internal', ...tls } })
        .context.resource,
    })
    const known = { label: address, warnings: [], certificateEnd: expect.any(Date) as Date }
    expect(await protocol.probe(resource({ probe: '/' }, { ca }), upstream)).toMatchObject(known)
    expect(await protocol.probe(resource({}, { ca }), upstream)).toMatchObject(known)
    await expect(protocol.probe(resource({ probe: '/denied' }, { ca }), upstream)).rejects.toThrow(
      'does not take the credential',
    )
    await expect(protocol.probe(resource({}, {}), upstream)).rejects.toThrow('not trusted')
    await expect(
      protocol.probe(
        { ...resource({}, {}), address: 'api.internal:80', tls: { mode: 'off', name: undefined, ca: undefined } },
        upstream,
      ),
    ).rejects.toThrow('unencrypted')
  })
})
