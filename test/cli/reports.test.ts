import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Recorder } from '../../src/recording/recorder.ts'
import { c1, sampleAction, sampleOutcome, sampleRecorder } from '../recording/sample.ts'
import { Place, shopEnvironment, shopPolicy } from '../support/agentgate.ts'
import { Browser, chromium } from '../support/chromium.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { runProgram } from '../support/processes.ts'
import { agentgateBin } from '../support/agentgate.ts'
import { app, postgres18, query, startServer, type TestServer } from '../support/servers.ts'

const hostile = `=cmd|'/c calc'!A1 <script>alert(1)</script> \u001b]52;c;b3duZWQ=\u0007 \u202e`

let place: Place
let folder: string
let session: Recorder

beforeAll(async () => {
  place = new Place('version: 1\n')
  folder = path.join(place.home, 'data', 'recordings')
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
  session = sampleRecorder(folder)
  const rule = { name: 'no deletes', place: 'agentgate.yaml:3' }
  const allowed = session.append(sampleAction('select 1'))
  session.append({ ...sampleOutcome(allowed), masked: ['contact', 'cards'] } as never)
  session.append(sampleAction(hostile, { outcome: 'denied', rule, message: hostile }))
  const held = { outcome: 'held', rule, request: 'a_1' as never } as const
  session.append(sampleAction('update payments', held))
  const approval = { id: 'a_1' as never, by: 'carol', reason: hostile, edited: true, waitedMs: 1500.4 }
  const ran = session.append(
    sampleAction('update payments set a = 1', { outcome: 'approved', rule, approval, asked: 'update payments' }),
  )
  session.append({ ...sampleOutcome(ran), masked: ['contact'] } as never)
  session.commit()
  await session.close('closed', 0)
})
afterAll(() => fs.rmSync(place.folder, { recursive: true, force: true }))

const id = () => path.basename(session.path)
const report = async (...args: string[]) => await place.run(['report', ...args])
const rows = (stdout: string) =>
  stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)

describe('agentgate report', () => {
  it('says who had access to what', async () => {
    const { stdout, code } = await report('access', '--format', 'json')
    expect(code).toBe(0)
    expect(rows(stdout)).toMatchObject([
      {
        session: id(),
        principal: 'maria',
        actor: 'claude',
        resource: 'db-prod',
        scope: 'read',
        ticket: 'INC-2201',
        statements: 3,
        denied: 1,
        asked: 1,
        state: 'closed',
        endReason: 'closed',
      },
    ])
  })

  it('says what was refused, asked about and masked', async () => {
    expect(rows((await report('denials', '--format', 'json')).stdout)).toMatchObject([
      { outcome: 'denied', rule: 'no deletes', place: 'agentgate.yaml:3', text: hostile },
    ])
    expect(rows((await report('approvals', '--format', 'json')).stdout)).toMatchObject([
      {
        outcome: 'approved',
        by: 'carol',
        edited: 'yes',
        waitedMilliseconds: 1500,
        asked: 'update payments',
        text: 'update payments set a = 1',
        selfApproved: 'no',
      },
    ])
    expect(rows((await report('masking', '--format', 'json')).stdout)).toMatchObject([
      { mask: 'contact', statements: 2, sessions: 1 },
      { mask: 'cards', statements: 1 },
    ])
  })

  it('keeps to the time that was asked for', async () => {
    expect((await report('denials', '--format', 'json', '--to', '2020-01-01')).stdout).toBe('')
    expect(rows((await report('denials', '--format', 'json', '--from', '1d')).stdout)).toHaveLength(1)
    const wrong = await report('access', '--from', '2026-01-02', '--to', '2026-01-01')
    expect(wrong).toMatchObject({ code: 2 })
    expect((await report('nonsense')).stderr).toContain('there is access, approvals')
  })

  it('is no formula in a spreadsheet, no markup in a browser and no command to a terminal', async () => {
    const csv = (await report('denials', '--format', 'csv')).stdout
    expect(csv).toContain(`'=cmd|`)
    expect(csv).not.toMatch(/(?:^|,)"?=/m)
    const html = (await report('denials', '--format', 'html')).stdout
    expect(html).toContain('&lt;script&gt;')
    expect(html).not.toContain('<script')
    expect(html).toContain(`content="default-src 'none'; style-src 'sha256-`)
    for (const text of [html, (await report('denials', '--format', 'table')).stdout])
      expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/)
  })

  it('reads copies elsewhere alike', async () => {
    const copies = path.join(place.folder, 'elsewhere')
    fs.cpSync(folder, copies, { recursive: true })
    const there = await report('denials', '--format', 'json', '--copies', pathToFileURL(copies).href)
    expect(there).toMatchObject({ code: 0, stdout: (await report('denials', '--format', 'json')).stdout })
  })

  it('says that a recording was altered, and reports what it can', async () => {
    const copies = path.join(place.folder, 'copies')
    fs.cpSync(session.path, path.join(copies, id()), { recursive: true })
    const segment = path.join(copies, id(), '000001.segment')
    const bytes = fs.readFileSync(segment)
    bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1
    fs.writeFileSync(segment, bytes)
    const { code, stderr } = await report('denials', '--recordings', copies)
    expect(code).toBe(7)
    expect(stderr).toContain(`${id()} cannot be read whole`)
    const evidence = await report('evidence', '--recordings', copies, '--out', 'altered')
    expect(evidence.code).toBe(7)
    expect(evidence.stdout).toContain('1 altered')
  })

  it('makes a folder for an auditor that proves itself', async () => {
    const made = await report('evidence', '--from', '30d', '--out', 'q4')
    expect(made).toMatchObject({ code: 0, stderr: '' })
    const q4 = path.join(place.folder, 'q4')
    expect(fs.readdirSync(q4).sort()).toEqual(
      [
        'README.md',
        'SHA256SUMS',
        'access.csv',
        'access.html',
        'approvals.csv',
        'approvals.html',
        'denials.csv',
        'denials.html',
        'manifests',
        'masking.csv',
        'masking.html',
        'receipts',
        'verification.jsonl',
        'verify.mjs',
      ].sort(),
    )
    execFileSync('sha256sum', ['-c', '--strict', 'SHA256SUMS'], { cwd: q4 })
    expect(fs.statSync(q4).mode & 0o777).toBe(0o700)
    const [verified] = rows(fs.readFileSync(path.join(q4, 'verification.jsonl'), 'utf8'))
    expect(verified).toMatchObject({ session: id(), result: 'whole' })
    const again = rows((await place.run(['sessions', 'verify', id(), '--json'])).stdout)
    expect(again[0]).toMatchObject({ head: verified!['head'] })
    for (const criterion of ['CC6.1', 'CC6.3', 'CC7.2'])
      expect(fs.readFileSync(path.join(q4, 'README.md'), 'utf8')).toContain(criterion)
    // A file that somebody changes no longer fits.
    fs.appendFileSync(path.join(q4, 'access.csv'), 'x')
    expect(() => execFileSync('sha256sum', ['-c', 'SHA256SUMS'], { cwd: q4, stdio: 'pipe' })).toThrow()
    expect(await report('evidence', '--out', 'q4')).toMatchObject({ code: 2 })
  })

  it('keeps memory flat', async () => {
    const large = path.join(place.folder, 'large')
    fs.mkdirSync(large, { mode: 0o700 })
    const recorder = sampleRecorder(large)
    for (let count = 0; count < 60_000; count++) {
      recorder.append(
        sampleAction(`delete from t where id = ${count} ${'x'.repeat(1000)}`, { outcome: 'denied', rule: null }),
      )
      if (count % 100 === 0) recorder.commit()
    }
    recorder.commit()
    await recorder.close('', 0)
    for (const format of ['csv', 'json', 'html', 'table']) {
      const { code, stdout } = await runProgram(
        '/bin/sh',
        ['-c', `"${agentgateBin}" report denials --recordings "${large}" --format ${format} | wc -l`],
        { cwd: place.folder, env: { ...place.env, NODE_OPTIONS: '--max-old-space-size=64' }, deadlineMs: 120_000 },
      )
      expect(code).toBe(0)
      expect(Number(stdout)).toBeGreaterThanOrEqual(format === 'table' ? 1001 : 60_000)
    }
    expect(c1).toBe('c1')
  }, 300_000)
})

describeWith('a report in Chromium', [chromium], () => {
  it('shows what was recorded as text, and asks for nothing', async () => {
    const file = path.join(place.folder, 'denials.html')
    expect(await report('denials', '-o', file)).toMatchObject({ code: 0 })
    await using browser = await Browser.start()
    const page = await browser.page()
    const url = pathToFileURL(file).href
    await page.goto(url)
    expect(await page.evaluate('document.body.innerText')).toContain('<script>alert(1)</script>')
    expect({ dialogs: page.dialogs, complaints: page.complaints, requests: page.requests }).toEqual({
      dialogs: [],
      complaints: [],
      requests: [url],
    })
  }, 60_000)
})

describeWith('agentgate report coverage', [postgres18.need], () => {
  const owned = new Owned()
  let server: TestServer
  afterAll(async () => await owned.close())
  beforeAll(async () => {
    server = owned.add(await startServer(postgres18))
  }, 60_000)

  const coverage = async (at: Place) => {
    const { stdout, code, stderr } = await at.run(['report', 'coverage', '--format', 'json', ...(await at.trusted())])
    return { code, stderr, rows: stdout === '' ? [] : rows(stdout) }
  }

  it.each(['static', 'postgres-role'])(
    'finds who logs in with a stolen password, %s',
    async issuer => {
      const policy = shopPolicy(server)
      const admin = server.superuserUrl()
      const here = new Place(
        issuer === 'static'
          ? policy
          : policy
              .replace(/credential: .*/, 'credential: { issuer: postgres-role, admin: "${env:ADMIN}" }')
              .replace(
                'scopes: { all: {} }',
                'scopes: { all: { grant: [ "SELECT ON ALL TABLES IN SCHEMA public" ] } }',
              ),
        { ...shopEnvironment, ADMIN: admin },
      )
      const tunnels = await here.connect()
      const client = new pg.Client({ connectionString: tunnels.tunnel.url })
      client.on('error', () => undefined)
      await client.connect()
      const { rows: own } = await client.query<{ role: string }>('select session_user as role')
      const role = own[0]!.role
      const clean = await coverage(here)
      expect(clean).toMatchObject({ code: 0, stderr: '' })
      // The client's, and the tunnel's own for its catalogue.
      const claimed = { role, claimed: 'yes', session: tunnels.session }
      expect(clean.rows).toMatchObject([claimed, claimed])

      // The thief has the password (here: the superuser sets one) and goes around the tunnel.
      if (issuer === 'postgres-role') await server.query(`alter role "${role}" password 'stolen'`)
      const thief = new pg.Client({
        host: '127.0.0.1',
        port: Number(server.address.split(':')[1]),
        user: role,
        password: issuer === 'static' ? app.password : 'stolen',
        database: app.database,
        application_name: 'agentgate',
      })
      thief.on('error', () => undefined)
      await thief.connect()
      const found = await coverage(here)
      expect(found.code).toBe(7)
      expect(found.rows.filter(row => row['claimed'] === 'NO')).toMatchObject([
        { role, program: 'agentgate', session: null },
      ])
      expect(found.rows.filter(row => row['claimed'] === 'yes')).toHaveLength(2)
      await thief.end()
      await client.end()
      await tunnels.close()
      expect(await query(server.superuserUrl(), 'select 1 as one')).toEqual([{ one: 1 }])
    },
    90_000,
  )
})
