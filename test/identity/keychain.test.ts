import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { cpSync, mkdirSync, readFileSync, realpathSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { confirmAsPerson } from '../../src/demo/browser.ts'
import { demoClient, IdentityProvider, maria } from '../../src/demo/identity-provider.ts'
import { Place, root } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { pseudoTerminal, Screen } from '../support/screen.ts'
import { runProgram, startProgram } from '../support/processes.ts'

const needs = [
  program('dbus-run-session', 'apt-get install dbus'),
  program('gnome-keyring-daemon', 'apt-get install gnome-keyring'),
  program('secret-tool', 'apt-get install libsecret-tools'),
  pseudoTerminal,
]
const password = 'of the keyring'

/** Whoever calls a service that is not there yet must not have another one started. */
const busWithoutActivation = `<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
`

/** A session bus of its own with a real gnome-keyring on it, or without one. */
class Session {
  readonly bus: string
  readonly env: Record<string, string>
  readonly #holder: ChildProcess
  #daemon: ChildProcess | undefined

  private constructor(bus: string, env: Record<string, string>, holder: ChildProcess) {
    this.bus = bus
    this.env = env
    this.#holder = holder
  }

  static async start(): Promise<Session> {
    const home = newFolder('keyring')
    const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: home, XDG_RUNTIME_DIR: home }
    const script = 'echo "bus $DBUS_SESSION_BUS_ADDRESS"; exec cat'
    const config = path.join(home, 'bus.conf')
    writeFileSync(config, busWithoutActivation)
    const holder = startProgram('dbus-run-session', ['--config-file', config, '--', 'sh', '-c', script], { env })
    const [, bus = ''] = await holder.said(/bus (.+)\n/)
    return new Session(bus, { ...env, DBUS_SESSION_BUS_ADDRESS: bus }, holder.child)
  }

  /** As logging in to the desktop does. */
  async unlock(): Promise<void> {
    await ended(this.#daemon)
    const daemon = startProgram('gnome-keyring-daemon', ['--foreground', '--unlock', '--components=secrets'], {
      env: this.env,
    })
    this.#daemon = daemon.child
    daemon.child.stdin?.end(password)
    // The collection is there once something could be put into it.
    const store = async () =>
      await runProgram('secret-tool', ['store', '--label=x', 'a', 'b'], { env: this.env, input: 'x' })
    await expect.poll(store, { timeout: 20_000 }).toMatchObject({ code: 0, stderr: '' })
  }

  async secretTool(...args: string[]) {
    return await runProgram('secret-tool', args, { env: this.env })
  }

  /** Its tokens, as any other program of this user reads them. */
  async tokens(): Promise<string> {
    return (await this.secretTool('search', '--all', 'service', 'agentgate')).stdout
  }

  async lock(): Promise<void> {
    const service = ['--session', '--print-reply', '--dest=org.freedesktop.secrets', '/org/freedesktop/secrets']
    const call = ['org.freedesktop.Secret.Service.Lock', 'array:objpath:/org/freedesktop/secrets/collection/login']
    expect(await runProgram('dbus-send', [...service, ...call], { env: this.env })).toMatchObject({ code: 0 })
  }

  hang(): void {
    this.#daemon?.kill('SIGSTOP')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ended(this.#daemon)
    // Killed, it would leave its bus behind: it ends that, and itself, when what it runs has ended.
    if (this.#holder.exitCode !== null || this.#holder.signalCode !== null) return
    const over = once(this.#holder, 'exit')
    this.#holder.stdin?.end()
    await over
  }
}

async function ended(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

describeWith('a login in a real keychain', needs, () => {
  const owned = new Owned()
  const perTest = new Owned()
  let idp: IdentityProvider
  let session: Session
  let place: Place

  beforeAll(async () => {
    idp = owned.add(await IdentityProvider.start())
  })
  afterAll(async () => await owned.close())
  beforeEach(async () => {
    session = perTest.add(await Session.start())
    place = new Place(`version: 1\nissuers: [ { issuer: "${idp.issuer}", audience: ${demoClient} } ]\n`, {
      DBUS_SESSION_BUS_ADDRESS: session.bus,
    })
  })
  afterEach(async () => await perTest.close())

  const login = async (at = place) => {
    const running = at.start(['login', ...(await at.trusted())])
    await confirmAsPerson(await idp.nextCode(), maria)
    return await running.finished()
  }
  const whoami = async () => await place.run(['whoami', ...(await place.trusted())])
  const file = () => path.join(place.home, 'state', 'logins.json')
  const inFile = () => readFileSync(file(), 'utf8').includes('eyJ')

  it('is kept there, read there, and gone from there after logout', async () => {
    await session.unlock()
    const { code, stderr } = await login()
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.not.stringContaining('notice') })
    expect(inFile()).toBe(false)
    expect(await session.tokens()).toMatch(/eyJ/)
    expect(await whoami()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^maria@shop\.example/) })
    expect(await place.run(['logout'])).toMatchObject({ code: 0, stdout: expect.stringContaining('taken back') })
    expect(await session.tokens()).not.toMatch(/eyJ/)
    expect((await whoami()).code).toBe(3)
  })

  it('is not given out while it is locked: that is said, and nobody is asked', async () => {
    await session.unlock()
    await login()
    await session.lock()
    const refused = await whoami()
    expect(refused.code).toBe(3)
    expect(refused.stderr).toBe(
      'error: your login is in the keychain, which is locked\nhint:  unlock it, or: AGENTGATE_KEYCHAIN=off agentgate login\n',
    )
    using screen = new Screen(path.join(root, 'bin', 'agentgate'), ['whoami', ...(await place.trusted())], {
      env: place.env,
    })
    expect(await screen.exited()).toBe(3)
    expect(screen.text()).toContain('which is locked')
  })

  it('goes to a file of one’s own while it is locked, and back once it is not and one logs in', async () => {
    await session.unlock()
    await session.lock()
    const { code, stderr } = await login()
    expect(code).toBe(0)
    expect(stderr).toContain(`notice: the keychain is locked; the tokens are in ${file()}, for you alone to read\n`)
    expect(statSync(file()).mode & 0o777).toBe(0o600)
    expect(inFile()).toBe(true)
    expect((await whoami()).code).toBe(0)
    await session.unlock()
    expect((await login()).stderr).not.toContain('notice')
    expect(inFile()).toBe(false)
    expect((await whoami()).code).toBe(0)
  })

  it('goes to a file where nobody keeps secrets', async () => {
    expect((await login()).stderr).toContain('notice: no keychain here')
    expect(inFile()).toBe(true)
    expect((await whoami()).code).toBe(0)
  })

  it('goes to a file where what keeps secrets does not answer', async () => {
    await session.unlock()
    session.hang()
    const { code, stderr } = await login()
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('notice: the keychain does not answer'),
    })
    expect(inFile()).toBe(true)
    expect((await whoami()).code).toBe(0)
  })

  it('says that it is in what does not answer any more', async () => {
    await session.unlock()
    await login()
    session.hang()
    expect(await whoami()).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('error: your login is in the keychain, which does not answer\n'),
    })
  })

  it('goes to a file where npm left the keychain’s package out', async () => {
    await session.unlock()
    const folder = newFolder('without-keytar')
    for (const part of ['bin', 'dist', 'package.json'])
      cpSync(path.join(root, part), path.join(folder, part), { recursive: true })
    mkdirSync(path.join(folder, 'node_modules', '@bufbuild'), { recursive: true })
    for (const name of ['libpg-query', 'libsql', '@bufbuild/cel'])
      symlinkSync(realpathSync(path.join(root, 'node_modules', name)), path.join(folder, 'node_modules', name))
    const running = startProgram(path.join(folder, 'bin', 'agentgate'), ['login', ...(await place.trusted())], {
      env: place.env,
    })
    await confirmAsPerson(await idp.nextCode(), maria)
    expect(await running.finished()).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('notice: no keychain here'),
    })
    expect(await session.tokens()).not.toMatch(/eyJ/)
  })

  it('gives a policy its secret, or says within seconds why not', async () => {
    await session.unlock()
    const schema = 'org.freedesktop.Secret.Generic' // what keytar looks for
    const stored = await runProgram(
      'secret-tool',
      ['store', '--label=billing', 'xdg:schema', schema, 'service', 'billing', 'account', 'robot'],
      { env: session.env, input: 'of the billing system' },
    )
    expect(stored).toMatchObject({ code: 0 })
    const shown: unknown[] = []
    const target = http.createServer((request, response) => {
      shown.push(request.headers['x-api-key'])
      response.end()
    })
    target.listen(0, '127.0.0.1')
    await once(target, 'listening')
    const reads = new Place(
      `version: 1
resources:
  billing:
    kind: http
    address: 127.0.0.1:${(target.address() as AddressInfo).port}
    tls: off
    header: x-api-key
    credential: { issuer: static, secret: "\${keychain:billing/robot}" }
    scopes: { all: {} }
`,
      { DBUS_SESSION_BUS_ADDRESS: session.bus },
    )
    const tunnels = await reads.connect(['billing'])
    const url = new URL(tunnels.tunnel.url)
    const authorization = `Basic ${Buffer.from(`${url.username}:${url.password}`).toString('base64')}`
    expect((await fetch(`http://${url.host}/`, { headers: { authorization } })).status).toBe(200)
    expect(shown).toEqual(['of the billing system'])
    await tunnels.close()
    const refused = async () => (await reads.run(['connect', 'billing', ...(await reads.trusted())])).stderr
    await session.lock()
    expect(await refused()).toContain('${keychain:billing/robot} could not be read: the keychain is locked')
    await session.unlock()
    session.hang()
    expect(await refused()).toContain('${keychain:billing/robot} could not be read: the keychain does not answer')
    target.closeAllConnections()
    target.close()
  }, 60_000)
})
