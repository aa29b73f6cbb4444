import { readFileSync, statSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { agentgateBin, Place, shopEnvironment, shopPolicy, type Tunnels } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { freePort } from '../support/port.ts'
import { runProgram, startProgram } from '../support/processes.ts'
import { keys, pseudoTerminal, Screen } from '../support/screen.ts'
import { app, postgres15, startServer, type TestServer } from '../support/servers.ts'

const passphrase = 'correct horse battery'
const psql = program('psql')

// The whole way: the binary that users run, a real server behind it, psql in front, a person at a real terminal.
describeWith('connect to PostgreSQL', [postgres15.need, psql, pseudoTerminal], () => {
  const owned = new Owned()
  let server: TestServer
  let place: Place

  beforeAll(async () => {
    ownPort = ['--port', String(await freePort())]
    server = owned.add(await startServer(postgres15))
    place = new Place(
      shopPolicy(server, {
        rules: `
- { name: no unbounded writes, when: { statement: [update, delete], where: missing }, then: deny, message: an UPDATE or DELETE needs a WHERE }
- { name: payments need a second pair of eyes, when: { statement: [update, delete], table: payments }, then: approve, approvers: { within: 1m } }
`,
        masks: '- { name: contact data, columns: [customers.email], with: partial }',
      }),
      shopEnvironment,
    )
    using screen = new Screen(agentgateBin, ['passphrase'], { cwd: place.folder, env: place.env })
    await screen.shows(/new passphrase/)
    screen.send(`${passphrase}\r`)
    await screen.shows(/once more/)
    screen.send(`${passphrase}\r`)
    expect(await screen.exited()).toBe(0)
  })
  afterEach(async () => {
    await place.run(['down', '--all'])
  })
  afterAll(async () => await owned.close())

  const terminal = async (...more: string[]) =>
    new Screen(agentgateBin, ['connect', 'shop', ...(await place.trusted()), ...ownPort, ...more], {
      cwd: place.folder,
      env: place.env,
      columns: 130,
    })

  // A port of this suite's own: others on this machine may be given the one that it had last time.
  let ownPort: readonly string[] = []

  /** The url of the tunnel, which is the same from run to run. */
  const url = async (): Promise<string> => {
    const tunnels: Tunnels = await place.connect(['shop'], ownPort)
    await tunnels.close()
    return tunnels.tunnel.url
  }
  const urlOfOpen = async (): Promise<string> => {
    const other = await place.connect()
    await other.close()
    return other.tunnel.url
  }
  const ask = (at: string, statement: string) =>
    startProgram('psql', ['-X', '-At', at, '-c', statement], {
      env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent' },
    })

  it('runs psql in the tunnel, masked and ruled, and ends with it', async () => {
    const script = ['-c', 'select email from customers order by id limit 1', '-c', 'delete from orders']
    const { code, stdout, stderr } = await place.run([
      'connect',
      'shop',
      ...(await place.trusted()),
      '--',
      'psql',
      '-X',
      '-At',
      '-v',
      'ON_ERROR_STOP=1',
      '-c',
      'select current_user',
      ...script,
    ])
    const [direct] = await server.query('select email from customers order by id limit 1')
    expect(stdout).toMatch(new RegExp(`^${app.user}\n.*\\*.*@`))
    expect(stdout).not.toContain(String(direct?.['email']))
    expect(stderr).toMatch(/an UPDATE or DELETE needs a WHERE/)
    expect(stderr).toMatch(/no unbounded writes/)
    expect(code).not.toBe(0) // psql's own
    expect(await server.query('select count(*)::int as n from orders')).toEqual([{ n: 300 }])
  })

  it('shows every statement with what came of it', async () => {
    const at = await url()
    using screen = await terminal()
    await screen.shows(/\[q\] close/)
    expect(screen.text()).toMatch(/^shop {6}postgres · .* · scope all · as /m)
    expect(screen.text()).toMatch(/postgresql:\/\/\S+ {7}c copies it with its password/)
    await ask(at, 'select id, email from customers limit 7').finished()
    // A client that is gone at once may have no name.
    await screen.shows(/\d +(psql)? +select id, email from customers limit \S+ +7 rows +\S+ m?s {3}.* masked/)
    await ask(at, 'delete from orders').finished()
    await screen.shows(/delete from orders +denied {2}no unbounded writes/)
    await ask(at, 'select 1/0').finished()
    await screen.shows(/select 1\/0 +failed/)
    await screen.shows(/nobody connected · 3 statements, 1 denied/)
    screen.send('q')
    expect(await screen.exited()).toBe(0)
    expect(screen.raw).not.toContain(app.password)
  })

  it('holds what a rule says, shows its effects and values, and runs what was approved', async () => {
    const at = await url()
    using screen = await terminal('--ticket', 'INC-2201')
    await screen.shows(/\[q\] close/)
    const asking = ask(at, "update payments set status = 'refunded' where id = 41 returning id, status")
    await screen.shows(/\[a\] approve once/)
    const shown = screen.text()
    expect(shown).toMatch(/^shop {6}UPDATE payments/m)
    expect(shown).toMatch(/^changes {3}.*payments/m)
    expect(shown).toMatch(/^asked by {2}.* · ticket INC-2201/m)
    expect(shown).toMatch(/^rule {6}payments need a second pair of eyes \(agentgate\.yaml:\d+\)/m)
    await asking.said(/waiting for approval/, 'stderr')
    await screen.showsBold('[a]')
    screen.send('a')
    if (/passphrase/.test(await screen.shows(/approved: UPDATE|passphrase/))) screen.send(`${passphrase}\r`)
    expect(await asking.finished()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^41\|refunded/) as string })
    await screen.shows(/1 row .*approved/)
  })

  it('runs an edit in place of what was asked, once it has been shown with its decision', async () => {
    const at = await url()
    using screen = await terminal()
    await screen.shows(/\[q\] close/)
    const asking = ask(at, 'delete from payments where id > 40')
    await screen.shows(/\[a\] approve once/)
    await screen.showsBold('[a]')
    screen.send('e')
    await screen.shows(/ctrl-s/)
    screen.send(keys.end, ' and id < 43', keys.control('s'))
    const shown = await screen.shows(/\[a\] run this instead/)
    expect(shown).toMatch(/- delete from payments where id > 40$/m)
    expect(shown).toMatch(/\+ delete from payments where id > 40 and id < 43$/m)
    await screen.showsBold('[a]')
    screen.send('a')
    if (/passphrase/.test(await screen.shows(/edited: DELETE|passphrase/))) screen.send(`${passphrase}\r`)
    expect((await asking.finished()).stdout).toMatch(/DELETE 2/)
  })

  it('shows what an edit would be refused for', async () => {
    const at = await url()
    using screen = await terminal()
    await screen.shows(/\[q\] close/)
    const asking = ask(at, 'delete from payments where id = 50')
    await screen.shows(/\[a\] approve once/)
    await screen.showsBold('[a]')
    screen.send('e')
    await screen.shows(/ctrl-s/)
    screen.send(keys.control('k'), 'delete from payments', keys.control('s'))
    await screen.shows(/an UPDATE or DELETE needs a WHERE/)
    screen.send(keys.escape, keys.escape)
    await screen.shows(/\[a\] approve once/)
    await screen.showsBold('[a]')
    screen.send('r')
    await screen.shows(/why not/)
    await screen.type('keep it\r')
    expect((await asking.finished()).stderr).toMatch(/keep it/)
    expect(await server.query('select count(*)::int as n from payments where id = 50')).toEqual([{ n: 1 }])
  })

  it('takes the request away when Ctrl-C in psql withdraws it', async () => {
    const at = await url()
    using screen = await terminal()
    await screen.shows(/\[q\] close/)
    const asking = ask(at, 'delete from payments where id = 51')
    await screen.shows(/\[a\] approve once/)
    asking.child.kill('SIGINT')
    await screen.shows(/the asker withdrew it/)
    await asking.finished()
  })

  it('writes files that libpq finds the tunnel by', async () => {
    using screen = await terminal('--write-files')
    const shown = await screen.shows(/\[q\] close/)
    const file = (name: string) => new RegExp(`export ${name}=(\\S+)`).exec(shown)?.[1] ?? ''
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: '/nonexistent',
      PGSERVICEFILE: file('PGSERVICEFILE'),
      PGPASSFILE: file('PGPASSFILE'),
    }
    expect(statSync(env.PGPASSFILE).mode & 0o077).toBe(0)
    expect(readFileSync(env.PGPASSFILE, 'utf8')).not.toContain(app.password)
    const { stdout, stderr } = await runProgram('psql', ['-X', '-At', 'service=shop', '-c', 'select 42'], { env })
    expect({ stdout, stderr }).toEqual({ stdout: '42\n', stderr: '' })
  })

  it('listens on a unix socket too, where asked, and says where', async () => {
    using screen = await terminal('--socket')
    const shown = await screen.shows(/\[q\] close/)
    const folder = /^socket +(\S+)\/\.s\.PGSQL\.5432$/m.exec(shown)?.[1] ?? ''
    const password = new URL(await urlOfOpen()).password
    const { stdout, stderr } = await runProgram(
      'psql',
      ['-X', '-At', '-h', folder, '-c', 'select 42', 'shop', 'anyone'],
      {
        env: { PATH: process.env['PATH'] ?? '', PGPASSWORD: password },
      },
    )
    expect({ stdout, stderr }).toEqual({ stdout: '42\n', stderr: '' })
  })

  it('gives the terminal to psql, whole, with -- psql', async () => {
    using screen = await terminal('--', 'psql', '-X')
    await screen.shows(/agentgate: shop \(all\) · as .* · until .* approvals: agentgate approvals/)
    await screen.shows(/shop=[>#] $/)
    await screen.type('select 40 + 2 as answer;\r')
    await screen.shows(/ {5}42\n\(1 row\)/)
    screen.send(keys.control('c')) // psql's own
    await screen.shows(/\^C\nshop=[>#] $/) // which takes what was typed with it
    await screen.type('\\q\r')
    expect(await screen.exited()).toBe(0)
    expect(screen.text()).toMatch(/agentgate: \d+ statements? · agentgate sessions show s_/)
  })

  it('stays quick for thousands of statements with the screen open', async () => {
    const at = await url()
    using screen = await terminal()
    await screen.shows(/\[q\] close/)
    const many = Array.from({ length: 5000 }, (_, index) => `select ${index};`).join('\n')
    const done = await runProgram('psql', ['-X', '-At', '-q', at], {
      input: many,
      env: { PATH: process.env['PATH'] ?? '' },
      deadlineMs: 60_000,
    })
    expect(done.stdout.split('\n')).toHaveLength(5001)
    await screen.shows(/nobody connected · 5,000 statements/)
    screen.send('q')
    expect(await screen.exited()).toBe(0)
  })
})
