import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { agentgateBin, Place, type Tunnels } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith } from '../support/needs.ts'
import { until } from '../support/processes.ts'
import { keys, pseudoTerminal, Screen } from '../support/screen.ts'

const token = 'target-token-0123456789'
const passphrase = 'correct horse battery'
const armedMs = 700

let place: Place
let target: http.Server
const running: { close(): Promise<unknown> }[] = []

beforeAll(async () => {
  // Says what it was asked, and with what.
  target = http.createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
    request.on('end', () => response.end(JSON.stringify({ did: `${request.method ?? ''} ${request.url ?? ''}`, body })))
  })
  target.listen(0, '127.0.0.1')
  await once(target, 'listening')
  const resource = (name: string) => `  ${name}:
    kind: http
    address: 127.0.0.1:${(target.address() as AddressInfo).port}
    tls: off
    credential: { issuer: static, secret: "\${env:API_TOKEN}" }
    scopes: { all: {} }
`
  place = new Place(
    `version: 1
resources:
${resource('api')}${resource('other')}rules:
  - { name: no deletes, when: { method: [ DELETE ] }, then: deny, message: nothing is deleted here }
  - { name: posts are looked at, when: { method: [ POST ] }, then: approve, approvers: { within: 1m } }
`,
    { API_TOKEN: token },
  )
})

afterAll(() => target.close())

afterEach(async () => {
  for (const each of running.splice(0).reverse()) await each.close()
  await place.run(['down', '--all'])
})

async function connected(...more: string[]): Promise<Tunnels> {
  const tunnels = await place.connect(['api'], more)
  running.push(tunnels)
  return tunnels
}

/** A request through a tunnel, as a client would make it. */
async function ask(
  url: string,
  method = 'GET',
  route = '/orders',
  body?: string,
): Promise<{ status: number; text: string }> {
  const { username, password, origin } = new URL(url)
  const response = await fetch(`${origin}${route}`, {
    method,
    headers: { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` },
    ...(body === undefined ? {} : { body }),
  })
  return { status: response.status, text: await response.text() }
}

describe('connect --json', () => {
  it('says ready first, once the listener accepts, then what is decided and what came of it', async () => {
    const tunnels = await connected()
    expect(tunnels.events[0]).toMatchObject({ event: 'ready', tunnels: [{ resource: 'api', kind: 'http' }] })
    expect(await ask(tunnels.tunnel.url)).toMatchObject({ status: 200 })
    expect(await ask(tunnels.tunnel.url, 'DELETE')).toMatchObject({ status: 403 })
    await tunnels.event('outcome')
    expect(await tunnels.event('decision', event => event['decision'] === 'denied')).toMatchObject({
      rule: { name: 'no deletes' },
      text: 'DELETE /orders',
    })
    const { code, stderr } = await tunnels.close()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(tunnels.events.at(-1)).toMatchObject({ event: 'closed', reason: 'closed by SIGINT' })
  })

  it('keeps its password and its port from run to run', async () => {
    const first = await connected()
    await first.close()
    const second = await connected()
    expect(second.tunnel.url).toBe(first.tunnel.url)
  })

  it('never says the target’s secret', async () => {
    const tunnels = await connected()
    await ask(tunnels.tunnel.url)
    const { stdout, stderr } = await tunnels.close()
    expect(stdout + stderr).not.toContain(token)
  })

  it('ends when its reader goes away', async () => {
    const child = spawn(agentgateBin, ['connect', 'api', '--json', ...(await place.trusted())], {
      cwd: place.folder,
      env: place.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const [ready] = (await once(child.stdout, 'data')) as [Buffer]
    const { tunnels } = JSON.parse(ready.toString()) as { tunnels: [{ url: string }] }
    child.stdout.destroy()
    await ask(tunnels[0].url).catch(() => undefined)
    const [code] = (await once(child, 'close')) as [number]
    expect(code).toBe(0)
    expect((await place.run(['status'])).stdout).toBe('')
  })

  it('has GitHub mask the password before it is said, and leaves it out of another CI’s log', async () => {
    const github = place.start(['connect', 'api', '--json', ...(await place.trusted())], {
      CI: 'true',
      GITHUB_ACTIONS: 'true',
    })
    await github.said(/"event":"ready"/)
    const password = new URL(
      (JSON.parse(github.stdout().split('\n')[0]!) as { tunnels: [{ url: string }] }).tunnels[0].url,
    ).password
    expect(github.stderr()).toContain(`::add-mask::${password}\n`)
    github.child.kill('SIGINT')
    await github.finished()

    const gitlab = place.start(['connect', 'api', '--json', ...(await place.trusted())], {
      CI: 'true',
      GITLAB_CI: 'true',
    })
    await gitlab.said(/"event":"ready"/)
    expect(gitlab.stdout() + gitlab.stderr()).not.toContain(password)
    expect(gitlab.stderr()).toMatch(/passwords are left out/)
    gitlab.child.kill('SIGINT')
    await gitlab.finished()
  })

  it('ends with 8 when its time is over', async () => {
    const tunnels = await connected('--for', '2s')
    const { code, stderr } = await tunnels.running.finished()
    expect(code).toBe(8)
    expect(stderr).toMatch(/^error: .*\n/)
    expect(tunnels.events.map(event => event.event)).toContain('expired')
  })

  it.each(['SIGTERM', 'SIGHUP'] as const)('closes in order on %s', async signal => {
    const tunnels = await connected()
    tunnels.running.child.kill(signal)
    expect((await tunnels.running.finished()).code).toBe(0)
    expect(tunnels.events.at(-1)).toMatchObject({ event: 'closed', reason: `closed by ${signal}` })
  })
})

describe('connect in a pipe', () => {
  it('has what is open on stderr, and a line for each statement on stdout', async () => {
    const plain = place.start(['connect', 'api', ...(await place.trusted())])
    await plain.said(/agentgate policy explain/, 'stderr')
    const { stdout } = await place.run(['status', '--json'])
    const { session } = JSON.parse(stdout) as { session: string }
    expect(plain.stderr()).toContain(`recording ${session}`)
    const ready = await connected() // the same password, on another port
    const url = ready.tunnel.url.replace(/:\d+$/, /^open +127\.0\.0\.1(:\d+)/m.exec(plain.stderr())?.[1] ?? '')
    await ask(url, 'DELETE', '/orders/5')
    await plain.said(/denied/)
    const fields = plain.stdout().trim().split('\t')
    expect(fields.slice(1)).toEqual(['api', expect.any(String), 'denied', '', 'no deletes', 'DELETE /orders/5'])
    expect(fields[0]).toMatch(/^\d{4}-\d\d-\d\dT/)
    plain.child.kill('SIGINT')
    expect((await plain.finished()).code).toBe(0)
  })
})

describe('connect -d', () => {
  it('returns once it is ready, outlives its starter, and ends with down', async () => {
    const started = await place.run(['connect', 'api', '-d', '--json', ...(await place.trusted())])
    expect({ code: started.code, stderr: started.stderr }).toEqual({ code: 0, stderr: '' })
    const ready = JSON.parse(started.stdout) as { session: string; tunnels: [{ url: string }] }
    expect(await ask(ready.tunnels[0].url)).toMatchObject({ status: 200 })

    const { stdout } = await place.run(['status', '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ event: 'session', session: ready.session, statements: 1 })
    const row = (await place.run(['status'])).stdout.trim().split('\t')
    expect(row.slice(0, 3)).toEqual([ready.session, 'api', 'all'])

    const log = path.join(place.home, 'state/log')
    const [file = ''] = readdirSync(log)
    expect(statSync(path.join(log, file)).mode & 0o077).toBe(0)
    await until('the statement is in the log', () => readFileSync(path.join(log, file), 'utf8').includes('GET /orders'))
    const { password } = new URL(ready.tunnels[0].url)
    expect(readFileSync(path.join(log, file), 'utf8')).not.toContain(password)

    const ended = await place.run(['down', ready.session.slice(0, 6)])
    expect(ended).toMatchObject({ code: 0, stdout: `${ready.session}  api  closed\n` })
    await expect(ask(ready.tunnels[0].url)).rejects.toThrow()
    expect((await place.run(['status'])).stdout).toBe('')
  })

  it('says in its starter what went wrong in the background, with its code', async () => {
    const failed = await place.run(['connect', 'apo', '-d', ...(await place.trusted())])
    expect(failed.code).toBe(2)
    expect(failed.stderr).toMatch(/^error: no resource "apo" in agentgate\.yaml\nhint: {2}did you mean api\?/)
    const untrusted = await place.run(['connect', 'api', '-d'])
    expect(untrusted.code).toBe(4)
  })

  it('stays after expiry to say why, until it is ended', async () => {
    const started = await place.run(['connect', 'api', '-d', '--json', '--for', '2s', ...(await place.trusted())])
    const ready = JSON.parse(started.stdout) as { session: string; tunnels: [{ url: string }] }
    await sleep(4000)
    expect(await ask(ready.tunnels[0].url)).toMatchObject({
      status: 403,
      text: expect.stringMatching(/expired|ended/) as string,
    })
    expect((await place.run(['down', ready.session])).code).toBe(0)
  })
})

describe('several', () => {
  it('open together, and are told apart', async () => {
    const tunnels = await place.connect(['api', 'other'])
    running.push(tunnels)
    expect(tunnels.tunnels.map(each => each.resource)).toEqual(['api', 'other'])
    const rows = (await place.run(['status'])).stdout.trim().split('\n')
    expect(rows).toHaveLength(2)
    const two = await connected()
    expect((await place.run(['down'])).stderr).toMatch(/2 sessions are open: which\?/)
    expect((await place.run(['down', 'other'])).stdout).toContain(tunnels.session)
    expect(JSON.parse((await place.run(['status', '--json'])).stdout)).toMatchObject({ session: two.session })
  })
})

describe('connect -- CMD', () => {
  const run = async (command: readonly string[], env: Record<string, string> = {}, more: readonly string[] = []) =>
    await place.run(['connect', 'api', ...(await place.trusted()), ...more, '--', ...command], { env })

  it('runs it in the tunnel’s environment, with its own stdin, stdout and exit code', async () => {
    const { code, stdout, stderr } = await place.run(
      ['connect', 'api', ...(await place.trusted()), '--', 'sh', '-c', 'cat; echo "$AGENTGATE_API_URL"; exit 7'],
      { input: 'from stdin\n' },
    )
    expect({ code, stderr }).toEqual({ code: 7, stderr: '' })
    expect(stdout).toMatch(/^from stdin\nhttp:\/\/agentgate:ag_\w+@127\.0\.0\.1:\d+\n$/)
  })

  it('does not hand on what the target’s secret comes from', async () => {
    const { stdout } = await run(['sh', '-c', 'env'], { HARMLESS: 'kept' })
    expect(stdout).not.toContain(token)
    expect(stdout).toContain('HARMLESS=kept')
  })

  it.each([
    [['sh', '-c', 'kill -TERM $$'], 143],
    [['no-such-command-anywhere'], 127],
    [['/etc/passwd'], 126],
    [['true'], 0],
  ] as const)('%j ends with %d', async (command, code) => {
    expect((await run(command)).code).toBe(code)
  })

  it('gives options after -- to the command', async () => {
    expect((await run(['echo', '--json', '-d', '--help'])).stdout).toBe('--json -d --help\n')
  })

  it('is 124 when time is over while it runs, and ends it', async () => {
    const { code, stderr } = await run(['sleep', '60'], {}, ['--for', '2s'])
    expect(code).toBe(124)
    expect(stderr).toMatch(/^error: /)
  })

  it('carries much output to a slow reader whole', async () => {
    const child = spawn(
      agentgateBin,
      ['connect', 'api', ...(await place.trusted()), '--', 'head', '-c', '20000000', '/dev/zero'],
      {
        cwd: place.folder,
        env: place.env,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    let bytes = 0
    await sleep(1500) // the pipe is full long before
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) bytes += chunk.length
    expect(bytes).toBe(20_000_000)
  })

  it('hands signals on', async () => {
    const started = place.start([
      'connect',
      'api',
      ...(await place.trusted()),
      '--',
      'sh',
      '-c',
      'trap "echo got it; exit 9" TERM; echo up; while :; do sleep 0.05; done',
    ])
    await started.said(/up/)
    started.child.kill('SIGTERM')
    const { code, stdout } = await started.finished()
    expect({ code, stdout }).toEqual({ code: 9, stdout: 'up\ngot it\n' })
  })

  it('says with --json, on stderr, how it ended', async () => {
    const { stdout, stderr } = await run(['echo', 'x'], {}, ['--json'])
    expect(stdout).toBe('x\n')
    expect(JSON.parse(stderr)).toMatchObject({ event: 'closed', exitCode: 0, statements: 0 })
  })
})

describe('secret rotate', () => {
  it('makes saved connections need the new one, from the next connect on', async () => {
    const before = await connected()
    const rotated = await place.run(['secret', 'rotate', 'api', ...(await place.trusted())])
    expect(rotated.code).toBe(0)
    expect(rotated.stderr).toContain(before.session)
    expect(await ask(before.tunnel.url)).toMatchObject({ status: 200 })
    await before.close()
    const after = await connected()
    expect(after.tunnel.url).not.toBe(before.tunnel.url)
    expect((await ask(before.tunnel.url)).status).toBe(401)
  })
})

describeWith('approvals', [pseudoTerminal], () => {
  const held = async (tunnels: Tunnels, body = 'a=1') => {
    const answer = ask(tunnels.tunnel.url, 'POST', '/refunds', body)
    answer.catch(() => undefined)
    const event = await tunnels.event('approval', each =>
      (each['request'] as { view: { text: string } }).view.text.includes(body),
    )
    return { answer, id: (event['request'] as { id: string }).id }
  }

  beforeAll(async () => {
    using screen = new Screen(agentgateBin, ['passphrase'], { cwd: place.folder, env: place.env })
    await screen.shows(/new passphrase/)
    screen.send(`${passphrase}\r`)
    await screen.shows(/once more/)
    screen.send(`${passphrase}\r`)
    expect(await screen.exited()).toBe(0)
  })

  it('are listed for scripts', async () => {
    const tunnels = await connected()
    const { id } = await held(tunnels)
    const listed = JSON.parse((await place.run(['approvals', '--json'])).stdout) as {
      event: string
      request: { id: string }
    }
    expect(listed).toMatchObject({
      event: 'approval',
      request: { id, resource: 'api', rule: { name: 'posts are looked at' } },
    })
    expect((await place.run(['approvals', 'list'])).stdout).toMatch(new RegExp(`^${id}\\t${tunnels.session}\\tapi\\t`))
  })

  it('are rejected by a script with a reason, which the asker gets', async () => {
    const { answer, id } = await held(await connected())
    const rejected = await place.run(['approvals', 'reject', id.slice(0, 5), '--reason', 'not on a Friday', '--json'])
    expect(rejected.code).toBe(0)
    expect(JSON.parse(rejected.stdout)).toMatchObject({ event: 'answered', id, outcome: 'rejected' })
    expect(await answer).toMatchObject({ status: 403, text: expect.stringMatching(/not on a Friday/) as string })
    expect((await place.run(['approvals', 'approve', id])).code).toBe(2)
  })

  it('are not given without a person: 4, and nothing runs', async () => {
    const { id } = await held(await connected())
    for (const args of [
      ['approve', id],
      ['edit', id, '--text', 'POST /refunds\n\na=2'],
    ]) {
      // Without a terminal at all, as a script in the background is.
      const child = spawn('setsid', ['-w', agentgateBin, 'approvals', ...args], {
        cwd: place.folder,
        env: place.env,
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let stderr = ''
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
      const [code] = (await once(child, 'close')) as [number]
      expect({ args, code }).toEqual({ args, code: 4 })
      expect(stderr).toMatch(/typed at a terminal/)
    }
    expect((await place.run(['approvals', 'list'])).stdout).toContain(id)
  })

  it('are given with the passphrase, typed at a terminal', async () => {
    const { answer, id } = await held(await connected())
    using screen = new Screen(agentgateBin, ['approvals', 'approve', id], { cwd: place.folder, env: place.env })
    await screen.shows(/passphrase, to answer/)
    screen.send('wrong\r')
    expect(await screen.exited()).toBe(4)
    using again = new Screen(agentgateBin, ['approvals', 'approve', id], { cwd: place.folder, env: place.env })
    await again.shows(/passphrase, to answer/)
    again.send(`${passphrase}\r`)
    expect(await again.exited()).toBe(0)
    expect(again.raw).not.toContain(passphrase)
    expect(await answer).toMatchObject({ status: 200, text: expect.stringContaining('POST /refunds') as string })
  })

  it('are shown and decided live, over every session', async () => {
    const [one, two] = [await connected(), await connected()]
    using screen = new Screen(agentgateBin, ['approvals'], { cwd: place.folder, env: place.env })
    await screen.shows(/nothing is waiting/)
    await screen.shows(new RegExp(`${one.session} .*\n.*${two.session}`))
    const first = await held(one, 'from=one')
    const second = await held(two, 'from=two')
    const shown = await screen.shows(/1 of 2 waiting/)
    expect(shown).toMatch(/from=one/)
    screen.send(keys.down)
    await screen.shows(/from=two/)
    await screen.showsBold('[a]')
    screen.send('a')
    await screen.shows(/passphrase/)
    screen.send(`${passphrase}\r`)
    expect(await second.answer).toMatchObject({ status: 200 })
    await screen.shows(/approved {3}POST \/refunds/)
    // Remembered: the next one needs no passphrase, but a key of its own.
    await screen.shows(/from=one/)
    await screen.showsBold('[a]')
    screen.send('a')
    expect(await first.answer).toMatchObject({ status: 200 })
    await screen.shows(/nothing is waiting/)
    screen.send('q')
    expect(await screen.exited()).toBe(0)
  })

  it('show an edit before it runs, and run what was shown', async () => {
    const { answer } = await held(await connected(), 'amount=1000')
    using screen = new Screen(agentgateBin, ['approvals'], { cwd: place.folder, env: place.env })
    await screen.shows(/amount=1000/)
    await screen.showsBold('[a]')
    screen.send('e')
    await screen.shows(/ctrl-s/)
    screen.send(keys.down, keys.down, keys.end, keys.backspace)
    screen.send(keys.control('s'))
    await screen.shows(/- amount=1000\n +\+ amount=100$/m)
    await screen.showsBold('[a]')
    screen.send('a')
    await screen.shows(/passphrase/)
    screen.send(`${passphrase}\r`)
    expect(await answer).toMatchObject({ status: 200, text: expect.stringContaining('"amount=100"') as string })
  })

  it('end when the asker goes away, also on screen', async () => {
    const tunnels = await connected()
    const gone = new AbortController()
    const { username, password, origin } = new URL(tunnels.tunnel.url)
    const asking = fetch(`${origin}/refunds`, {
      method: 'POST',
      body: 'x',
      headers: { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` },
      signal: gone.signal,
    }).catch(() => undefined)
    using screen = new Screen(agentgateBin, ['approvals'], { cwd: place.folder, env: place.env })
    await screen.shows(/\[a\] approve once/)
    gone.abort()
    await asking
    await screen.shows(/the asker withdrew it/)
  })
})

describeWith('the connect screen on a real tunnel', [pseudoTerminal], () => {
  it('shows what passes, takes a key for presence, and closes', async () => {
    const url = (await connected()).tunnel.url
    await running.pop()?.close()
    const args = ['connect', 'api', '--for', '30m', '--reason', 'a test', ...(await place.trusted())]
    using screen = new Screen(agentgateBin, args, { cwd: place.folder, env: place.env })
    await screen.shows(/\[q\] close/)
    expect(screen.text()).toMatch(/^api {7}http · .* · scope all · as /m)
    await ask(url, 'GET', '/orders?page=1')
    await screen.shows(/GET \/orders\?page=1 .* ok /)
    await ask(url, 'DELETE', '/orders/5')
    await screen.shows(/DELETE \/orders\/5 +denied {2}no deletes/)
    const answer = ask(url, 'POST', '/refunds', 'a=1')
    await screen.shows(/\[a\] approve once/)
    expect(screen.text()).toMatch(/^why {7}a test$/m)
    await screen.showsBold('[a]')
    screen.send('a')
    // Run within a multiplexer, this terminal shows nothing about a person, and asks.
    const inMultiplexer = await screen.shows(/approved: POST|passphrase/)
    if (inMultiplexer.includes('passphrase')) screen.send(`${passphrase}\r`)
    expect((await answer).status).toBe(200)
    await screen.shows(/approved: POST \/refunds/)
    screen.send('q')
    // The client of this test keeps its connection.
    await screen.shows(/clients? connected: q again closes/)
    screen.send('q')
    expect(await screen.exited()).toBe(0)
    expect(screen.raw).not.toContain(token)
  })

  it('asks for the passphrase inside tmux, by whatever way it is inside', async () => {
    const tmux = ['/usr/bin/tmux', '/usr/local/bin/tmux', '/opt/homebrew/bin/tmux'].find(existsSync)
    if (tmux === undefined) return
    const url = (await connected()).tunnel.url
    await running.pop()?.close()
    const folder = newFolder('tmux')
    const socket = path.join(folder, 'tmux')
    const command = ['env', '-u', 'TMUX', '-u', 'TMUX_PANE', agentgateBin, 'connect', 'api', ...(await place.trusted())]
    execFileSync(tmux, ['-S', socket, '-f', '/dev/null', 'new-session', '-d', '-x', '110', '-y', '30', ...command], {
      cwd: place.folder,
      env: { ...place.env, TERM: 'xterm' },
    })
    const shown = () => execFileSync(tmux, ['-S', socket, 'capture-pane', '-p'], { encoding: 'utf8' })
    try {
      await until('the screen is there', () => shown().includes('[q] close'))
      const answer = ask(url, 'POST', '/refunds', 'a=1')
      answer.catch(() => undefined)
      await until('the question is there', () => shown().includes('[a] approve once'))
      await sleep(armedMs)
      // What a process of the same user can do to it.
      execFileSync(tmux, ['-S', socket, 'send-keys', 'a'])
      await until('it asks', () => shown().includes('passphrase'))
      expect(shown()).not.toMatch(/approved:/)
    } finally {
      execFileSync(tmux, ['-S', socket, 'kill-server'])
    }
  })
})
