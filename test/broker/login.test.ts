import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { RunningBroker } from './running-broker.ts'
import { lines, Team } from './team.ts'

const policy = `admins: { policy: { group: dba } }
access:
  - { who: { group: eng }, resources: [ api ], scopes: [ all ] }
resources:
  api: { kind: http, address: "127.0.0.1:9", tls: off, credential: { issuer: none }, scopes: { all: {} } }
`

/** One that names no issuers. */
const shownPolicy = `version: 1
resources:
  api: { kind: http, address: "127.0.0.1:9", tls: off, credential: { issuer: none }, scopes: { all: {} } }
`

/** Somebody else's server that says what a broker says, and writes down all that it is sent. */
class Harvester {
  readonly seen: string[] = []
  readonly #server: https.Server

  private constructor(server: https.Server) {
    this.#server = server
  }

  static async start(team: Team, answer: (route: string) => { status: number; text: string }): Promise<Harvester> {
    const folder = path.dirname(team.idp.caFile)
    const server = https.createServer({
      cert: readFileSync(team.idp.caFile),
      key: readFileSync(path.join(folder, 'key.pem')),
    })
    const harvester = new Harvester(server)
    server.on('request', (request, response) => {
      const { authorization } = request.headers
      harvester.seen.push(`${request.method ?? ''} ${request.url ?? ''} ${authorization ?? 'nothing'}`)
      const { status, text } = answer(request.url ?? '')
      response.writeHead(status, { 'content-type': 'application/json' }).end(text)
    })
    server.listen(0, 'localhost')
    await once(server, 'listening')
    return harvester
  }

  get address(): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

describeWith('login to a broker by its address', [program('openssl')], () => {
  const owned = new Owned()
  let team: Team
  let second: RunningBroker
  /** Somebody's machine, logged in to the team's broker. */
  let place: Place

  beforeAll(async () => {
    team = owned.add(await Team.start(policy, {}))
    second = owned.add(await RunningBroker.start(team.policy, { NODE_EXTRA_CA_CERTS: team.idp.caFile }, team.listen))
    place = newcomer()
  })
  afterAll(async () => await owned.close())

  /** A machine that knows nothing; its policy is one that nobody trusts. */
  const newcomer = (env: Readonly<Record<string, string>> = {}) =>
    new Place(shownPolicy, {
      NODE_EXTRA_CA_CERTS: team.idp.caFile, // the provider's; the broker is believed by --ca alone
      DBUS_SESSION_BUS_ADDRESS: '',
      AGENTGATE_BROKER: '',
      CI: '1', // none may start by itself
      ...env,
    })
  const login = async (
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    account = 'maria',
    at = place,
  ) => {
    const running = at.start(['login', ...args], env)
    const [, code = ''] = await running.said(/code {2}(\S+)/, 'stderr')
    await team.idp.confirm(code, { kind: 'yes' }, account)
    return await running.finished()
  }
  const toFirst = async () => await login([team.broker.https, '--ca', team.idp.caFile])
  const stateFile = (name: string) => path.join(place.home, 'state', name)
  const harvester = async () =>
    await Harvester.start(team, route =>
      route === '/v1/issuers'
        ? {
            status: 200,
            text: JSON.stringify({
              issuers: [{ issuer: team.idp.issuer, audience: 'agentgate', clientId: 'agentgate', scopes: null }],
            }),
          }
        : { status: 401, text: JSON.stringify({ error: { code: 'NOT_LOGGED_IN', message: 'who are you' } }) },
    )

  it('needs nothing else from then on', async () => {
    const done = await toFirst()
    expect(done).toMatchObject({ code: 0 })
    expect(done.stdout).toContain(`logged in as maria@example.com at ${team.broker.https}  (eng, dba)`)
    for (const name of ['brokers.json', 'logins.json']) expect(statSync(stateFile(name)).mode & 0o777).toBe(0o600)
    // The authority was taken down with it, and is the only one that vouches.
    const who = await place.run(['whoami'], { env: { NODE_EXTRA_CA_CERTS: '' } })
    expect(who).toMatchObject({ code: 0, stderr: '' })
    expect(who.stdout).toBe(`maria  (eng, dba)  by ${team.broker.https}, an administrator\n`)
    expect((await place.run(['access', 'of', 'me'])).stdout).toContain('api')
    // The grant comes from there: what does not answer is the target.
    const connect = await place.run(['connect', 'api'])
    expect(connect.stderr).toMatch(/cannot reach api at 127\.0\.0\.1:9/)
    expect(lines((await place.run(['status', '--json'])).stdout)[0]).toEqual({
      event: 'broker',
      address: team.broker.https,
    })
    const doctor = lines((await place.run(['doctor', '--json'])).stdout).filter(each => each['check'] === 'broker')
    expect(doctor.map(each => [each['state'], each['text']])).toEqual([
      ['ok', `broker ${team.broker.https} answers (as logged in to)`],
      ['ok', 'broker: you are maria, an administrator'],
    ])
  }, 90_000)

  it('shows the tokens to that broker alone: another, with a good certificate, harvests nothing', async () => {
    await using other = await harvester()
    const env = { AGENTGATE_BROKER: other.address, AGENTGATE_BROKER_CA: team.idp.caFile }
    for (const args of [['whoami'], ['connect', 'api'], ['approvals', 'list']]) {
      const refused = await place.run(args, { env })
      expect(refused, args.join(' ')).toMatchObject({ code: 3 })
      expect(refused.stderr, args.join(' ')).toContain(
        `error: you are not logged in to ${other.address}: your login is for ${team.broker.https}, and no other is shown it\n`,
      )
    }
    // Nor are tokens made for it because a variable says so.
    const again = await place.run(['login'], { env })
    expect(again).toMatchObject({ code: 4 })
    expect(again.stderr).toBe(
      `error: AGENTGATE_BROKER is ${other.address}, and you have logged in to ${team.broker.https} only\n` +
        `hint:  if you mean that one: agentgate login ${other.address}\n`,
    )
    expect(new Set(other.seen)).toEqual(new Set(['GET /v1/issuers nothing']))
    // The right one is as it was.
    expect((await place.run(['whoami'])).code).toBe(0)
  }, 90_000)

  it('does not let another authority vouch for the broker than at login', async () => {
    const file = path.join(place.folder, 'other.pem')
    writeFileSync(file, `# another\n${readFileSync(team.idp.caFile, 'utf8')}`)
    const refused = await place.run(['whoami'], { env: { AGENTGATE_BROKER_CA: file } })
    expect(refused).toMatchObject({ code: 4 })
    expect(refused.stderr).toContain(`AGENTGATE_BROKER_CA is not the authority that vouched for ${team.broker.https}`)
    const same = await place.run(['whoami'], { env: { AGENTGATE_BROKER_CA: team.idp.caFile } })
    expect(same).toMatchObject({ code: 0 })
  }, 60_000)

  it('keeps two brokers apart, each with its own login', async () => {
    const named = { AGENTGATE_BROKER: team.broker.https }
    const other = await login([second.https, '--ca', team.idp.caFile], named, 'john')
    expect(other).toMatchObject({ code: 0 })
    expect(other.stderr).toContain(`notice: AGENTGATE_BROKER is ${team.broker.https}, and goes before it\n`)
    const who = async (env: Readonly<Record<string, string>> = {}) => (await place.run(['whoami'], { env })).stdout
    expect(await who()).toContain(`john  (eng, dba)  by ${second.https}`)
    expect(await who(named)).toContain(`maria  (eng, dba)  by ${team.broker.https}`)
    expect(await place.run(['logout', new URL(second.https).host])).toMatchObject({ code: 0 })
    expect(await who(named)).toContain('maria')
    const gone = await place.run(['whoami'], { env: { AGENTGATE_BROKER: second.https } })
    expect(gone.stderr).toMatch(/the certificate of .* is not one to believe|not logged in to/)
    // The other is known, and not taken for the one that is gone.
    expect((await place.run(['grants', 'list'])).stderr).toContain('there is no broker here\nhint:  start one:')
    expect(await login([team.broker.https])).toMatchObject({ code: 0 }) // its authority is still known
    expect(await who()).toContain('maria')
  }, 120_000)

  it('goes to the policy here where that is named, and to AGENTGATE_BROKER before both', async () => {
    const here = await place.run(['whoami', ...(await place.trusted())])
    expect(here).toMatchObject({ code: 0, stderr: '' })
    expect(here.stdout).toContain('by the operating system')
    const none = await place.run(['whoami'], { env: { AGENTGATE_BROKER: 'none' } })
    expect(none.stderr).toContain('agentgate.yaml has not been trusted')
  }, 60_000)

  it('renews a login for the same broker', async () => {
    // As if it were about to end: the ID token counts for nothing now, the refresh token does.
    const file = stateFile('logins.json')
    const logins = JSON.parse(readFileSync(file, 'utf8')) as {
      logins: Record<string, { broker: string; secrets: { idToken: string; refreshToken: string } }>
    }
    const [[key, kept] = ['', undefined]] = Object.entries(logins.logins)
    const before = kept!.secrets.idToken
    kept!.secrets.idToken = `${before.slice(0, -8)}AAAAAAAA`
    writeFileSync(file, JSON.stringify(logins), { mode: 0o600 })
    expect((await place.run(['whoami'])).stdout).toContain('maria')
    const after = (JSON.parse(readFileSync(file, 'utf8')) as typeof logins).logins
    expect(Object.keys(after)).toEqual([key])
    expect(after[key]).toMatchObject({ broker: team.broker.https })
    expect(after[key]!.secrets.refreshToken).not.toBe(kept!.secrets.refreshToken)
  }, 60_000)

  it('refuses what is no broker', async () => {
    const before = readFileSync(stateFile('brokers.json'), 'utf8')
    await using page = await Harvester.start(team, () => ({ status: 404, text: '<h1>nothing here</h1>' }))
    await using odd = await Harvester.start(team, () => ({ status: 200, text: '{"issuers":"all"}' }))
    await using moved = await Harvester.start(team, () => ({ status: 302, text: '' }))
    const plain = http.createServer((_, response) => response.end('{}'))
    plain.listen(0, 'localhost')
    await once(plain, 'listening')
    const free = new URL(team.broker.https)
    const ca = ['--ca', team.idp.caFile]
    const plainPort = (plain.address() as AddressInfo).port
    const table: readonly (readonly [string, readonly string[], number, RegExp])[] = [
      ['http', [`http://localhost:${free.port}`], 2, /is no address of a broker\nhint: {2}.*TLS only: https:/],
      [
        'no such host',
        ['https://localhost:1', ...ca],
        6,
        /the broker does not answer at https:\/\/localhost:1 \(ECONN/,
      ],
      ['no such file', [team.broker.https, '--ca', '/nonexistent.pem'], 2, /authority cannot be read/],
      ['no certificate', [team.broker.https, '--ca', place.policy], 2, /holds no certificate/],
      ['another name', [`https://127.0.0.1:${free.port}`, ...ca], 6, /certificate for another name|does not answer/],
      ['no TLS behind it', [`https://localhost:${plainPort}`, ...ca], 6, /the broker does not answer/],
      ['a web server', [page.address, ...ca], 6, /what answers at .* is no agentgate broker/],
      ['something that says other things', [odd.address, ...ca], 6, /is no agentgate broker/],
      ['a redirect', [moved.address, ...ca], 6, /is no agentgate broker/],
      ['the provider itself', [team.idp.issuer, ...ca], 6, /is no agentgate broker\nhint: .*--issuer/],
      ['an authority for nothing', [...ca], 2, /--ca is for the broker/],
    ]
    try {
      for (const [name, args, code, said] of table) {
        const refused = await place.run(['login', ...args])
        expect({ name, code: refused.code, stdout: refused.stdout }).toEqual({ name, code, stdout: '' })
        expect(refused.stderr, name).toMatch(said)
      }
      // Nothing was kept of any.
      expect(readFileSync(stateFile('brokers.json'), 'utf8')).toBe(before)
      expect([...page.seen, ...odd.seen, ...moved.seen].every(each => each.endsWith(' nothing'))).toBe(true)
    } finally {
      plain.closeAllConnections()
      plain.close()
    }
  }, 90_000)

  it('believes nobody whom no authority vouches for', async () => {
    const bare = newcomer({ NODE_EXTRA_CA_CERTS: '' })
    const refused = await bare.run(['login', team.broker.https])
    expect(refused).toMatchObject({ code: 6 })
    expect(refused.stderr).toMatch(/the certificate of https:\/\/localhost:\d+ is not one to believe/)
    expect(refused.stderr).toContain('agentgate login … --ca ca.pem')
  })

  it('refuses a damaged list of brokers, and leaves it', async () => {
    const file = stateFile('brokers.json')
    const whole = readFileSync(file)
    writeFileSync(file, '{"used":', { mode: 0o600 })
    const refused = await place.run(['grants', 'list'])
    expect(refused.stderr).toMatch(/brokers\.json is damaged: it is not JSON\nhint: {2}move it away/)
    expect(readFileSync(file, 'utf8')).toBe('{"used":')
    writeFileSync(file, whole)
  })

  it('forgets all at logout', async () => {
    const logout = await place.run(['logout'])
    expect(logout.stdout).toBe(
      `logged out of ${team.broker.https}, by ${team.idp.issuer}, and its tokens were taken back\n`,
    )
    const after = await place.run(['grants', 'list'])
    expect(after).toMatchObject({ code: 6 })
    expect(after.stderr).toContain('there is no broker here\nhint:  start one: agentgate broker; or log in to one:')
  })
})
