import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { node, oldestNode } from '../../src/cli/doctor-machine.ts'
import { Place, root } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'

interface Found {
  readonly event: string
  readonly check: string
  readonly state: string
  readonly text: string
  readonly hint?: string
  readonly resource?: string
  readonly code?: string
  readonly certificateDays?: number
}

it('asks for the node that package.json asks for', () => {
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { engines: { node: string } }
  expect(manifest.engines.node).toBe(`>=${oldestNode.join('.')}`)
  expect(node('20.18.9')).toMatchObject({ state: 'fail', hint: expect.stringContaining('20.19') as string })
  expect(node('20.19.0').state).toBe('ok')
  expect(node('24.0.0').state).toBe('ok')
})

describeWith('agentgate doctor', [program('openssl'), program('bwrap', 'apt-get install bubblewrap')], () => {
  const servers: Server[] = []
  let place: Place
  let args: readonly string[] = []
  let ports: Record<'plain' | 'secure', number>

  const listen = async (server: Server) => {
    servers.push(server.listen(0, '127.0.0.1'))
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }
  const api = (port: number, more: string) => `
    kind: http
    address: 127.0.0.1:${port}
    probe: /
    credential: { issuer: static, secret: "\${env:API_TOKEN}" }
    ${more}`

  beforeAll(async () => {
    place = new Place('', { API_TOKEN: 'api-token' })
    const openssl = (words: string) => execFileSync('openssl', words.split(' '), { cwd: place.folder, stdio: 'pipe' })
    openssl(
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -keyout key.pem -out cert.pem -subj /CN=api.internal -addext subjectAltName=DNS:api.internal',
    )
    const [key, cert] = ['key.pem', 'cert.pem'].map(name => readFileSync(path.join(place.folder, name)))
    const answer: http.RequestListener = (request, response) =>
      void response.writeHead(request.headers.authorization === 'Bearer api-token' ? 200 : 401).end()
    ports = {
      plain: await listen(http.createServer(answer)),
      secure: await listen(https.createServer({ key, cert }, answer)),
    }
    writeFileSync(
      place.policy,
      `version: 1
resources:
  plain:${api(ports.plain, 'tls: off')}
  secure:${api(ports.secure, 'tls: { mode: verify-full, name: api.internal, ca: "${file:cert.pem}" }')}
  gone:${api(9, 'tls: off')}
`,
    )
    args = await place.trusted()
  })
  afterAll(() => servers.forEach(server => server.close()))

  const doctor = async (names: readonly string[] = []) => {
    const ended = await place.run(['doctor', ...names, '--json', ...args])
    const found = ended.stdout
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line) as Found)
    return { ...ended, found, of: (check: string) => found.filter(each => each.check === check) }
  }

  it('looks at the machine, having really built walls and opened a terminal', async () => {
    const { found, of } = await doctor(['plain'])
    expect(found.every(each => each.event === 'check' && ['ok', 'warn', 'fail'].includes(each.state))).toBe(true)
    expect(of('node')).toMatchObject([{ state: 'ok', text: expect.stringContaining(process.versions.node) as string }])
    expect(of('confinement')).toMatchObject([
      { state: 'ok', text: expect.stringMatching(/bubblewrap \d.* tried/) as string },
    ])
    expect(of('terminal')).toMatchObject([{ state: 'ok' }])
    expect(of('demo')).toMatchObject([{ state: 'ok' }])
  })

  it('tells of each target, the days its certificate has left, and what to do', async () => {
    const { of, code } = await doctor()
    expect(code).toBe(6)
    expect(of('policy')).toMatchObject([{ state: 'ok' }])
    expect(of('target')).toMatchObject([
      { resource: 'plain', state: 'ok' },
      { resource: 'secure', state: 'warn', certificateDays: 2, hint: expect.stringContaining('renewed') as string },
      { resource: 'gone', state: 'fail', code: 'TARGET_UNREACHABLE', hint: expect.any(String) as string },
    ])
    expect((await doctor(['plain', 'secure'])).code).toBe(0)
  })

  it('tells of a credential that the target does not take', async () => {
    const ended = await place.run(['doctor', 'plain', ...args], { env: { API_TOKEN: 'another' } })
    expect(ended.code).toBe(6)
    expect(ended.stdout).toMatch(/^fail {2}plain answers 401|^fail {2}plain: .*401/m)
    expect(ended.stdout).not.toContain('another')
  })

  it('names the nearest resource', async () => {
    const { of, code } = await doctor(['plane'])
    expect(code).toBe(2)
    expect(of('target')).toMatchObject([{ state: 'fail', code: 'NO_SUCH_RESOURCE' }])
  })

  it.each([
    ['there is none', {}, 2, 'NO_POLICY', '/'],
    ['it is not trusted', {}, 4, 'POLICY_UNTRUSTED', undefined],
  ])('tells of the policy: %s', async (_, env, exit, code, cwd) => {
    const ended = await place.run(['doctor', '--json'], { env, ...(cwd === undefined ? {} : { cwd }) })
    expect(ended.code).toBe(exit)
    expect(ended.stdout).toContain(`"code":"${code}"`)
  })

  it('tells whether one is logged in, where the policy wants it', async () => {
    const other = new Place(
      'version: 1\nissuers: [ { issuer: "https://idp.invalid", audience: agentgate } ]\nresources:\n  web: { kind: egress, hosts: [ example.com ] }\n',
      { AGENTGATE_KEYCHAIN: 'off' },
    )
    const ended = await other.run(['doctor', '--json', ...(await other.trusted())])
    expect(ended.code).toBe(3)
    expect(ended.stdout).toMatch(/"check":"identity","state":"fail"[^\n]*agentgate login/)
    expect(ended.stdout).toMatch(/"check":"keychain","state":"ok","text":"keychain: is not here|keychain: turned off/)
    expect(ended.stdout).not.toContain('"check":"target"')
    expect((await doctor(['plain'])).of('keychain')).toEqual([])
  })

  it('tells of what other users can read in the state folder', async () => {
    await place.run(['secret', 'rotate', 'plain', ...args])
    const file = path.join(place.home, 'state', 'client-secrets.json')
    const before = await doctor(['plain'])
    expect(before.of('state')).toMatchObject([{ state: 'ok' }])
    chmodSync(file, 0o644)
    const { of, code } = await doctor(['plain'])
    expect(of('state')).toMatchObject([{ state: 'warn', hint: expect.stringContaining('chmod') as string }])
    expect(code).toBe(0)
    chmodSync(file, 0o600)
  })
})
