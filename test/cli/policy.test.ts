import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { Terminal } from '../support/terminal.ts'

const policy = `version: 1
resources:
  db-prod:
    kind: postgres
    address: db.internal
    database: shop
    credential: { issuer: static, user: app, password: "\${exec:touch evaluated}" }
    scopes: { read: {}, write: {} }
  api:
    kind: http
    address: api.example.com
    credential: { issuer: static, secret: "\${env:API_KEY}" }
rules:
  - name: no unbounded writes
    when: { statement: [ update, delete ], where: missing }
    then: deny
    message: an UPDATE or DELETE needs a WHERE
  - { name: payments wait, when: { table: payments }, unless: { group: fin }, then: approve }
  - { name: agents keep off the api, when: { actor: "*", method: [ POST, DELETE ], path: "/v1/**" }, then: deny }
masks:
  - { name: contact data, resource: "db-*", columns: [ "*.email" ], with: partial }
`

const cases = `fixtures: |
  create table orders (id int primary key, email text);
  create table payments (id int primary key, card text);
  create view due as select * from payments;
defaults: { principal: maria, resource: db-prod, scope: write }
cases:
  - { statement: select * from orders, expect: allow, rule: null, masks: [ contact data ] }
  - { statement: delete from orders, expect: deny, rule: no unbounded writes }
  - { statement: delete from orders where true, expect: deny, rule: no unbounded writes }
  - { name: through a view, statement: select * from due, expect: approve, rule: payments wait }
  - { statement: select * from due, groups: fin, expect: allow }
  - { name: agents have read only, statement: select 1, actor: claude, expect: deny, rule: null }
  - { statement: delete from orders where id = 1, actor: claude, scope: read, expect: deny, rule: null }
  - { statement: DELETE /v1/customers/1, actor: claude, resource: api, scope: default, expect: deny, rule: agents keep off the api }
  - { statement: GET /v1/customers/1, actor: claude, resource: api, scope: default, expect: allow }
`

describe('policy check', () => {
  it('says what holds', async () => {
    const place = new Place(policy)
    const { code, stdout, stderr } = await place.run(['policy', 'check'])
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(stdout).toContain(
      'agentgate.yaml:21:5  warning: masks hold in local placement only for confined children; db-prod is local',
    )
    expect(stdout).toContain('0 errors, 1 warning')
    expect(stdout).toContain('db-prod\tpostgres\tread, write\twhatever no rule forbids\treading only\tread\n')
  })

  it('shows each error with its line, and ends with 2', async () => {
    const place = new Place(policy.replace('[ update, delete ]', '[ udpate ]').replace('http', 'htp'))
    const { code, stdout } = await place.run(['policy', 'check'])
    expect(code).toBe(2)
    expect(stdout).toContain('agentgate.yaml:15:26  error: unknown statement "udpate"; expected one of')
    expect(stdout).toContain('^^^^^^ did you mean update?')
    expect(stdout).toContain('did you mean http?')
    expect(stdout).toContain('2 errors, 0 warnings')
  })

  it('has a line of JSON for each', async () => {
    const place = new Place(policy.replace('partial', 'blur'))
    const { code, stdout } = await place.run(['policy', 'check', '--json'])
    const lines = stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, unknown>)
    expect(code).toBe(2)
    expect(lines).toMatchObject([
      { event: 'problem', severity: 'error', file: 'agentgate.yaml', line: 21, column: 75 },
      { event: 'checked', errors: 1, warnings: 0 },
    ])
  })

  it('reads a folder as one', async () => {
    const place = new Place('version: 1\n')
    const folder = path.join(place.folder, 'policies')
    mkdirSync(folder)
    writeFileSync(path.join(folder, 'a.yaml'), policy)
    writeFileSync(path.join(folder, 'b.yaml'), 'version: 1\nrules: [ { name: payments wait, when: {}, then: deny } ]\n')
    const { code, stdout } = await place.run(['policy', 'check', 'policies'])
    expect(code).toBe(2)
    expect(stdout).toContain('policies/b.yaml:2:18  error: another rule is called "payments wait"')
  })
})

describe('policy test', () => {
  it('runs the cases beside the policy', async () => {
    const place = new Place(policy)
    writeFileSync(path.join(place.folder, 'agentgate.test.yaml'), cases)
    const { code, stdout, stderr } = await place.run(['policy', 'test'])
    expect(stderr).toBe('')
    expect(stdout).toContain('9 passed, 0 failed')
    expect(stdout).not.toContain('fail  ')
    expect(code).toBe(0)
    expect(existsSync(path.join(place.folder, 'evaluated'))).toBe(false)
  })

  it('ends with 7 where one fails, and says why', async () => {
    const place = new Place(policy)
    writeFileSync(
      path.join(place.folder, 'x.test.yaml'),
      'cases:\n  - { statement: delete from t, resource: db-prod, expect: allow }\n',
    )
    const { code, stdout } = await place.run(['policy', 'test'])
    expect(code).toBe(7)
    expect(stdout).toContain('fail  delete from t  x.test.yaml:2')
    expect(stdout).toContain(
      'expected allow, got deny by rule "no unbounded writes" (agentgate.yaml:14): an UPDATE or DELETE needs a WHERE',
    )
    const json = await place.run(['policy', 'test', '--json'])
    expect(
      json.stdout
        .trim()
        .split('\n')
        .map(line => JSON.parse(line) as unknown),
    ).toMatchObject([
      { event: 'case', passed: false, expected: 'allow', got: { decision: 'deny', rule: 'no unbounded writes' } },
      { event: 'tested', passed: 0, failed: 1 },
    ])
  })

  it('says where cases would be', async () => {
    const { code, stderr } = await new Place(policy).run(['policy', 'test'])
    expect(code).toBe(2)
    expect(stderr).toContain('write some into agentgate.test.yaml')
  })
})

describe('policy explain', () => {
  it('says which rule decides, and why the others do not', async () => {
    const place = new Place(policy)
    const { code, stdout } = await place.run(['policy', 'explain', 'db-prod', 'delete from orders'])
    expect(code).toBe(0)
    expect(stdout).toContain(
      'denied    by rule "no unbounded writes" agentgate.yaml:14: an UPDATE or DELETE needs a WHERE',
    )
    expect(stdout).toContain('hint      add a WHERE')
    expect(stdout).toContain('not table payments')
    const json = await place.run(['policy', 'explain', 'db-prod', 'delete from orders', '--json', '--actor', 'claude'])
    expect(JSON.parse(json.stdout)).toMatchObject({
      event: 'explanation',
      scope: 'read',
      decision: 'deny',
      rule: { name: 'no unbounded writes' },
      action: { writes: ['public.orders'], effect: 'change' },
    })
  })

  it('shows a resource, and guesses a mistyped one', async () => {
    const place = new Place(policy)
    const { stdout } = await place.run(['policy', 'explain', 'db-prod'])
    expect(stdout).toContain('postgres · db.internal:5432 · agentgate.yaml:3')
    expect(stdout).toContain('contact data')
    const wrong = await place.run(['policy', 'explain', 'db-prd'])
    expect(wrong.code).toBe(2)
    expect(wrong.stderr).toBe('error: no resource "db-prd" in agentgate.yaml\nhint:  did you mean db-prod?\n')
  })
})

describe('policy digest', () => {
  it('is what --policy-digest takes', async () => {
    const place = new Place(policy)
    const { stdout } = await place.run(['policy', 'digest'])
    expect(stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/)
    const refused = await place.run(['connect', 'db-prod', '--policy-digest', `sha256:${'0'.repeat(64)}`])
    expect(refused.code).toBe(4)
    expect(refused.stderr).toContain(`agentgate.yaml is ${stdout.trim()}, not the digest that was asked for`)
  })
})

describe('init', () => {
  it('writes a policy that is right, without the secret, and never over another', async () => {
    const place = new Place('version: 1\n')
    const file = path.join(place.folder, 'new.yaml')
    const env = { DATABASE_URL: 'postgres://app:hunter2@127.0.0.1:1/shop' }
    const { code, stdout } = await place.run(['init', '--policy', file], { env })
    expect(code).toBe(0)
    expect(stdout).toContain('agentgate trust')
    expect(readFileSync(file, 'utf8')).toContain('url: "${env:DATABASE_URL}"')
    expect(readFileSync(file, 'utf8')).not.toContain('hunter2')
    expect((await place.run(['policy', 'check', file])).code).toBe(0)
    const again = await place.run(['init', '--policy', file], { env })
    expect(again.code).toBe(2)
    expect(again.stderr).toContain('new.yaml is there already')
    expect((await place.run(['init', '--policy', file, '--force'])).code).toBe(0)
    // With nothing to start from: a template, that is right as it is.
    expect(readFileSync(file, 'utf8')).toContain('# db:')
    expect((await place.run(['policy', 'check', file])).code).toBe(0)
  })
})

describe('trust', () => {
  const passphrase = 'correct horse battery'

  it('is refused without a terminal, with a way for CI', async () => {
    const place = new Place(policy)
    const { code, stdout, stderr } = await place.run(['trust'])
    expect(code).toBe(4)
    expect(stdout).toContain('+  db-prod:')
    expect(stdout).toContain('runs ${exec:touch evaluated}')
    expect(stderr).toContain('--policy-digest sha256:')
    expect(existsSync(path.join(place.folder, 'evaluated'))).toBe(false)
  })

  it('shows the difference, asks for the passphrase, and holds until the file changes', async () => {
    const place = new Place(policy)
    const start = (args: readonly string[]) =>
      new Terminal(agentgateBin, args, { cwd: place.folder, env: { ...place.env, TERM: 'xterm' } })
    {
      using terminal = start(['trust'])
      await terminal.shows('new passphrase: ')
      const from = terminal.shown.length
      terminal.type('short\r')
      await terminal.shows('a passphrase needs at least 8 characters')
      await terminal.shows('new passphrase: ', from)
      terminal.type(`${passphrase}\r`)
      await terminal.shows('once more: ')
      terminal.type(`${passphrase}\r`)
      await terminal.shows(/trusted {2}agentgate\.yaml {2}sha256:/)
      expect(await terminal.ends()).toBe(0)
      expect(terminal.shown).not.toContain(passphrase)
    }
    expect((await place.run(['trust'])).stdout).toContain('is trusted as it is')
    expect((await place.run(['trust', '--list'])).stdout).toContain(`\ttrusted\t`)

    writeFileSync(place.policy, policy.replace('db.internal', 'evil.example'))
    const changed = await place.run(['connect', 'db-prod'])
    expect(changed.code).toBe(4)
    expect(changed.stderr).toContain('agentgate.yaml has changed since it was trusted')
    {
      using terminal = start(['trust'])
      await terminal.shows('passphrase, to trust agentgate.yaml')
      expect(terminal.shown).toContain('-    address: db.internal')
      expect(terminal.shown).toContain('+    address: evil.example')
      const from = terminal.shown.length
      terminal.type('wrong passphrase\r')
      await terminal.shows('that is not the passphrase', from)
      await terminal.shows('passphrase, to trust agentgate.yaml', from)
      terminal.type('\u0003')
      await terminal.shows('no passphrase was typed, so nothing has changed')
      expect(await terminal.ends()).toBe(4)
      expect(terminal.shown).not.toContain('wrong passphrase')
    }
    expect((await place.run(['connect', 'db-prod'])).code).toBe(4)

    // A new passphrase without the old one: everything is void, and says so.
    writeFileSync(place.policy, policy)
    {
      using terminal = start(['passphrase', '--new'])
      await terminal.shows('new passphrase: ')
      terminal.type('another passphrase\r')
      await terminal.shows('once more: ')
      terminal.type('another passphrase\r')
      await terminal.shows('WARNING: nothing that was trusted before counts any more')
      expect(await terminal.ends()).toBe(0)
    }
    const voided = await place.run(['connect', 'db-prod'])
    expect(voided.code).toBe(4)
    expect(voided.stderr).toContain('was trusted with another passphrase than the one set now')
  }, 120_000)

  it('stays with a passphrase that is changed by whoever knows it', async () => {
    const place = new Place(policy)
    const start = (args: readonly string[]) =>
      new Terminal(agentgateBin, args, { cwd: place.folder, env: { ...place.env, TERM: 'xterm' } })
    const answer = async (terminal: Terminal, answers: readonly (readonly [prompt: string, text: string])[]) => {
      let from = 0
      for (const [prompt, text] of answers) {
        await terminal.shows(prompt, from)
        from = terminal.shown.length
        terminal.type(`${text}\r`)
      }
      expect(await terminal.ends()).toBe(0)
    }
    {
      using terminal = start(['trust'])
      await answer(terminal, [
        ['new passphrase: ', passphrase],
        ['once more: ', passphrase],
      ])
    }
    {
      using terminal = start(['passphrase'])
      await answer(terminal, [
        ['passphrase, the one that is set now: ', passphrase],
        ['new passphrase: ', 'another passphrase'],
        ['once more: ', 'another passphrase'],
      ])
      expect(terminal.shown).toContain('1 trusted policy stays trusted')
    }
    expect((await place.run(['trust'])).stdout).toContain('is trusted as it is')
    expect((await place.run(['trust', '--remove'])).stdout).toContain('is no longer trusted')
    expect((await place.run(['connect', 'db-prod'])).stderr).toContain('has not been trusted')
  }, 120_000)
})
