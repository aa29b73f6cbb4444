import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync, mkdirSync, chmodSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { AuditLog } from '../../src/audit/audit-log.ts'
import { advanceCursor, readCursor } from '../../src/audit/cursor.ts'
import { deliverAll } from '../../src/audit/deliver-all.ts'
import { measure } from '../../src/audit/outbox.ts'
import { sinkReports } from '../../src/audit/sink-state.ts'
import { auditPlan, auditSchema } from '../../src/policy/audit-settings.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { startProgram, until } from '../support/processes.ts'
import { newFolder } from '../support/folder.ts'
import { Certificate, Receiver, Rsyslog, rsyslog, signatureHolds } from './receivers.ts'

const key = 'a signing key of the tests'
const env = { SIGNING_KEY: key, HEC_TOKEN: 'a-token' }
const patience = 20_000

let folder: string
let root: string
let warnings: string[]
beforeEach(() => {
  folder = newFolder('audit')
  root = path.join(folder, 'audit')
  mkdirSync(root, { mode: 0o700 })
  warnings = []
})

function openLog(settings: unknown): AuditLog {
  const plan = auditPlan(auditSchema.parse(settings), false)
  if (plan === null) throw new Error('no plan')
  return new AuditLog({ root, plan, folder, env, version: '0.1.0', onWarning: text => warnings.push(text) })
}

function emit(log: AuditLog, from: number, to: number): string[] {
  const uids: string[] = []
  for (let count = from; count < to; count++) {
    uids.push(`n-${count}`)
    log.emit({ kind: 'test', text: `number ${count}` }, Date.now(), `n-${count}`)
  }
  log.commit()
  return uids
}

const once = (uids: readonly string[]) => [...new Set(uids)]
const outboxes = () => readdirSync(root).map(name => path.join(root, name))

describe('audit events into a file', () => {
  it('appends each once, for its owner alone, also after somebody has rotated it', async () => {
    const file = path.join(folder, 'out.jsonl')
    const log = openLog({ to: { name: 'archive', file } })
    const first = emit(log, 0, 1500)
    await until('all there', () => readUids(file).length === 1500)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    renameSync(file, `${file}.1`)
    const second = emit(log, 1500, 1510)
    await log.close(patience)
    expect(readUids(`${file}.1`)).toEqual(first)
    expect(readUids(file)).toEqual(second)
    expect(warnings).toEqual([])
    // Nothing is kept of what has arrived.
    expect(outboxes().map(measure)).toEqual([0])
  })

  it('does not write after half a line that a full disk left, nor into what others may write', async () => {
    const file = path.join(folder, 'out.jsonl')
    writeFileSync(file, '{"half":', { mode: 0o600 })
    const log = openLog({ to: { name: 'archive', file } })
    emit(log, 0, 1)
    await log.close(patience)
    expect(readFileSync(file, 'utf8')).toMatch(/^\{"half":\n\{.*\}\n$/)
    chmodSync(file, 0o666)
    const again = openLog({ to: { name: 'archive', file } })
    emit(again, 1, 2)
    await again.close(patience)
    expect(warnings.join()).toContain('can be written by other users')
    chmodSync(file, 0o600)
    await deliverAll(root, env, patience)
    expect(readFileSync(file, 'utf8').split('\n')).toHaveLength(4)
  })
})

function readUids(file: string): string[] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map(line => (JSON.parse(line) as { metadata: { uid: string } }).metadata.uid)
  } catch {
    return []
  }
}

describeWith('audit events to a webhook', [program('openssl')], () => {
  const owned = new Owned()
  let certificate: Certificate
  let receiver: Receiver

  beforeAll(() => {
    certificate = new Certificate(newFolder('certificates'), 'siem')
  })
  beforeEach(async () => {
    receiver = owned.add(await Receiver.start(certificate))
  })
  afterAll(async () => await owned.close())

  const webhook = (more: object = {}) => ({
    to: {
      name: 'soc',
      webhook: receiver.url,
      ca: certificate.pem,
      sign: '${env:SIGNING_KEY}',
      batch: { events: 10 },
      ...more,
    },
  })

  it('goes on after 500, 429, a cut and a restart until each has arrived, signed and once', async () => {
    const answers = [{ status: 500 }, { status: 429, headers: { 'retry-after': '1' } }, 'cut', { status: 503 }] as const
    receiver.answer = (_, count) => answers[count - 1] ?? { status: 200 }
    const log = openLog(webhook())
    const sent = emit(log, 0, 25)
    await until('a refusal is told', () => warnings.length > 0)
    expect(warnings[0]).toMatch(
      /^audit events do not reach soc: https:.*\/in answers 500; they are kept and tried again$/,
    )
    // What ends meanwhile leaves the rest to whoever comes next.
    await log.close(10)
    await deliverAll(root, env, patience)
    await deliverAll(root, env, patience)
    await deliverAll(root, env, patience)
    expect(receiver.uids()).toEqual(sent)
    expect(receiver.taken.map(({ body }) => (JSON.parse(body) as unknown[]).length)).toEqual([10, 10, 5])
    for (const request of receiver.seen) expect(signatureHolds(request, key, Date.now())).toBe(true)
    expect(signatureHolds({ ...receiver.seen[0]!, body: '[]' }, key, Date.now())).toBe(false)
    expect(sinkReports(root)[0]).toMatchObject({ state: 'ok', waitingBytes: 0, delivered: 25 })
  }, 60_000)

  it('refuses a receiver with another certificate, loudly, and keeps the events', async () => {
    const log = openLog(webhook({ ca: new Certificate(folder, 'other').pem }))
    emit(log, 0, 3)
    await log.close(patience)
    expect(receiver.seen).toEqual([])
    expect(warnings).toEqual([expect.stringContaining('its certificate is not trusted')])
    expect(sinkReports(root)[0]).toMatchObject({ state: 'refused', delivered: 0 })
    expect(sinkReports(root)[0]!.waitingBytes).toBeGreaterThan(0)
  })

  it('is loud where it is refused for who it is, follows no redirect, and names no secret', async () => {
    receiver.answer = (_, count) =>
      count === 1 ? { status: 403, body: 'a-token is wrong' } : { status: 307, headers: { location: receiver.url } }
    const log = openLog(webhook({ headers: { Authorization: 'Splunk ${env:HEC_TOKEN}' } }))
    emit(log, 0, 3)
    await log.close(patience)
    await deliverAll(root, env, patience)
    expect(receiver.seen).toHaveLength(2)
    expect(receiver.seen[0]!.headers.authorization).toBe('Splunk a-token')
    expect(sinkReports(root)[0]).toMatchObject({
      state: 'refused',
      text: expect.stringContaining('answers 307') as string,
    })
    expect(JSON.stringify(sinkReports(root)) + warnings.join()).not.toContain('a-token')
    for (const outbox of outboxes())
      for (const file of readdirSync(outbox, { recursive: true, withFileTypes: true }))
        if (file.isFile()) expect(readFileSync(path.join(file.parentPath, file.name), 'utf8')).not.toContain('a-token')
  })

  it('sets aside the one event that a receiver will not have, and delivers the others', async () => {
    receiver.answer = ({ body }) => ({ status: body.includes('number 7"') ? 422 : 200 })
    const log = openLog(webhook())
    const sent = emit(log, 0, 20)
    await log.close(patience)
    expect(once(receiver.uids())).toEqual(sent.filter(uid => uid !== 'n-7'))
    const [outbox = ''] = outboxes()
    expect(readFileSync(path.join(outbox, 'set-aside-soc.jsonl'), 'utf8')).toContain('number 7')
    expect(sinkReports(root)[0]).toMatchObject({ setAside: 1, waitingBytes: 0 })
    expect(warnings.join()).toContain('set aside')
  })

  it('speaks as Splunk, Datadog and Elastic want it', async () => {
    receiver.answer = ({ headers }) => ({
      status: 200,
      body: headers['content-type'] === 'application/x-ndjson' ? '{"errors":false,"items":[]}' : '',
    })
    for (const format of ['splunk-hec', 'datadog', 'elastic-bulk', 'json-lines'] as const) {
      const log = openLog(webhook({ format }))
      log.emit({ kind: 'test', text: 'he said "}{", \u0000' }, 1_700_000_000_123, `n-${format}`)
      log.commit()
      await log.close(patience)
    }
    const [splunk, datadog, elastic, plain] = receiver.taken.map(({ body }) => body)
    expect(JSON.parse(splunk!)).toMatchObject({
      time: 1_700_000_000.123,
      sourcetype: 'ocsf:json',
      event: { class_uid: 2004 },
    })
    expect(JSON.parse(datadog!)).toMatchObject([
      { ddsource: 'agentgate', message: 'he said "}{", \u0000', ocsf: { class_uid: 2004 } },
    ])
    const [action, document, end] = elastic!.split('\n')
    expect(JSON.parse(action!)).toEqual({ create: { _index: 'agentgate-audit', _id: 'n-elastic-bulk' } })
    expect(JSON.parse(document!)).toMatchObject({ '@timestamp': '2023-11-14T22:13:20.123Z', ocsf: { class_uid: 2004 } })
    expect(end).toBe('')
    expect(JSON.parse(plain!)).toMatchObject({ message: 'he said "}{", \u0000' })
  })

  it('reads what Elastic says of each event: 409 is there already, 429 is not', async () => {
    const item = (status: number) => ({ create: { status } })
    receiver.answer = (_, count) => ({
      status: 200,
      body: JSON.stringify({ errors: true, items: count === 1 ? [item(201), item(429)] : [item(409), item(201)] }),
    })
    const log = openLog(webhook({ format: 'elastic-bulk' }))
    emit(log, 0, 2)
    await log.close(patience)
    expect(receiver.seen).toHaveLength(2)
    expect(receiver.seen[1]!.body).toBe(receiver.seen[0]!.body)
    expect(sinkReports(root)[0]).toMatchObject({ state: 'ok', waitingBytes: 0 })
  })

  it('keeps to its bound in bytes, says how many were lost, and goes on once there is room', async () => {
    receiver.answer = () => ({ status: 503 })
    const log = openLog({ ...webhook(), outbox: '50KB' })
    for (let count = 0; count < 500; count++) emit(log, count, count + 1)
    const [outbox = ''] = outboxes()
    expect(measure(outbox)).toBeLessThanOrEqual(50_000)
    expect(warnings.filter(text => text.includes('are being lost'))).toHaveLength(1)
    expect(sinkReports(root)[0]!.lost).toBeGreaterThan(0)
    receiver.answer = () => ({ status: 200 })
    await until('there is room', () => measure(outbox) < 20_000)
    // By when it has been measured again.
    await until('it is kept again', () => {
      emit(log, 1000, 1001)
      return warnings.some(text => text.includes('are kept again'))
    })
    await log.close(patience)
    const events = receiver.taken.flatMap(
      ({ body }) => JSON.parse(body) as { metadata: { event_code: string }; unmapped: { lost: number } }[],
    )
    const [lost] = events.filter(event => event.metadata.event_code === 'audit-lost')
    const arrived = events.filter(event => event.metadata.event_code === 'test').length
    expect(lost!.unmapped.lost).toBeGreaterThan(100)
    // Every event is there or counted.
    const again = Number(/(\d+) were lost/.exec(warnings.join())![1])
    expect(again).toBe(lost!.unmapped.lost)
    expect(arrived).toBeGreaterThanOrEqual(500 - lost!.unmapped.lost)
  }, 60_000)

  it('never makes whoever emits wait for a receiver that does not answer', async () => {
    receiver.answer = () => 'silence'
    const log = openLog(webhook())
    emit(log, 0, 10)
    await until('it was asked', () => receiver.seen.length > 0)
    const before = performance.now()
    for (let count = 10; count < 2010; count++) emit(log, count, count + 1)
    // Twenty seconds are what waiting for it once would take at least; 2,000 events take far less.
    expect(performance.now() - before).toBeLessThan(20_000)
    await log.close(10)
    expect(sinkReports(root)[0]!.waitingBytes).toBeGreaterThan(100_000)
    receiver.answer = () => ({ status: 200 })
    await deliverAll(root, env, patience)
    expect(once(receiver.uids())).toHaveLength(2010)
  }, 60_000)

  it('loses nothing that was committed before kill -9, however often', async () => {
    const program = path.join(folder, 'writer-child.mjs')
    await build({
      entryPoints: [path.join(import.meta.dirname, 'writer-child.ts')],
      outfile: program,
      bundle: true,
      platform: 'node',
      format: 'esm',
      logLevel: 'error',
      banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    })
    const settings = JSON.stringify(webhook())
    const committed: string[] = []
    receiver.answer = (_, count) => (count % 3 === 0 ? 'cut' : { status: 200 })
    for (let round = 0; round < 4; round++) {
      const child = startProgram(process.execPath, [program, root, settings], { env: { ...process.env, ...env } })
      await child.said(new RegExp(`-${200 + round * 77}\\n`))
      child.child.kill('SIGKILL')
      committed.push(...(await child.finished()).stdout.split('\n').slice(0, -1))
    }
    receiver.answer = () => ({ status: 200 })
    await deliverAll(root, env, patience)
    const arrived = receiver.uids()
    const missing = committed.filter(uid => !arrived.includes(uid))
    expect(missing).toEqual([])
    // What is told twice has the same id; and nothing that nobody committed comes but what the kill overtook.
    expect(once(arrived).length - committed.length).toBeLessThan(200)
    expect(sinkReports(root)[0]).toMatchObject({ waitingBytes: 0, lost: 0 })
  }, 90_000)
})

describe('the cursor', () => {
  it('is set by one of two that come from the same place', () => {
    const from = readCursor(root, 'soc')
    const mine = advanceCursor(root, 'soc', from, { positions: {}, delivered: 1 })
    expect(mine).toMatchObject({ generation: 1 })
    expect(advanceCursor(root, 'soc', from, { positions: {}, delivered: 2 })).toBeUndefined()
    const next = advanceCursor(root, 'soc', mine!, { positions: {}, delivered: 3 })
    const later = advanceCursor(root, 'soc', next!, { positions: {}, delivered: 4 })
    expect(later).toMatchObject({ generation: 3 })
    // Its place is free again, but it is behind.
    expect(advanceCursor(root, 'soc', from, { positions: {}, delivered: 9 })).toBeUndefined()
    expect(readCursor(root, 'soc').content.delivered).toBe(4)
  })

  it('is kept apart for sinks whose names begin alike', () => {
    advanceCursor(root, 'soc', readCursor(root, 'soc'), { positions: {}, delivered: 1 })
    expect(readCursor(root, 'so').content.delivered).toBe(0)
    expect(readCursor(root, 'soc-2').content.delivered).toBe(0)
  })
})

describeWith('audit events to syslog', [rsyslog, program('openssl')], () => {
  const owned = new Owned()
  let certificate: Certificate
  let server: Rsyslog

  beforeAll(async () => {
    const own = newFolder('rsyslog')
    certificate = new Certificate(own, 'syslog')
    server = owned.add(await Rsyslog.start(path.join(own, 'server'), certificate))
  })
  afterAll(async () => await owned.close())

  it('arrives at a real rsyslog over TLS, in parts that it understands', async () => {
    const log = openLog({ to: { name: 'rsyslog', syslog: `127.0.0.1:${server.port}`, ca: certificate.pem } })
    log.emit(
      { kind: 'recording-gap', session: 's_TEST', what: 'altered', detail: 'größer \n als "zwölf"' },
      Date.now(),
      'n-1',
    )
    emit(log, 0, 700)
    await log.close(patience)
    expect(warnings).toEqual([])
    await until('all there', () => server.messages().length >= 701)
    const [first] = server.messages()
    // Facility 13, and 3 (error) for what OCSF calls high.
    expect(first).toMatchObject({ pri: String(13 * 8 + 3), app: 'agentgate', msgid: 'recording-gap', version: '1' })
    expect(JSON.parse(first!.msg)).toMatchObject({ class_uid: 2004, status_detail: 'größer \n als "zwölf"' })
    const uids = server.messages().map(({ msg }) => (JSON.parse(msg) as { metadata: { uid: string } }).metadata.uid)
    expect(uids).toEqual(['n-1', ...Array.from({ length: 700 }, (_, count) => `n-${count}`)])
  }, 60_000)

  it('keeps what a receiver that is away has not had, and shortens what it could not take whole', async () => {
    await server.kill()
    const settings = {
      to: { name: 'rsyslog', syslog: `127.0.0.1:${server.port}`, ca: certificate.pem, 'max-message': '2KB' },
    }
    const log = openLog(settings)
    log.emit({ kind: 'test', text: 'ü'.repeat(5000) }, Date.now(), 'n-away')
    log.commit()
    await log.close(500)
    expect(warnings.join()).toContain('cannot reach syslog+tls://127.0.0.1')
    await server.restart()
    await deliverAll(root, env, patience)
    await until('it is there', () => server.messages().some(({ msg }) => msg.includes('n-away')))
    const { msg } = server.messages().find(each => each.msg.includes('n-away'))!
    expect(JSON.parse(msg)).toMatchObject({
      message: expect.stringMatching(/^ü+…$/) as string,
      unmapped: { shortened: true },
    })
  }, 60_000)

  it('is not sent to whoever has another certificate, or another name', async () => {
    const count = server.messages().length
    const other = new Certificate(folder, 'other')
    const log = openLog({ to: { name: 'rsyslog', syslog: `127.0.0.1:${server.port}`, ca: other.pem } })
    emit(log, 0, 1)
    await log.close(patience)
    expect(warnings.join()).toContain('its certificate is not trusted')
    const named = openLog({ to: { name: 'named', syslog: `localhost:${server.port}`, ca: certificate.pem } })
    emit(named, 0, 1)
    await named.close(patience)
    expect(warnings.at(-1)).toContain('ERR_TLS_CERT_ALTNAME_INVALID')
    expect(server.messages()).toHaveLength(count)
    rmSync(folder, { recursive: true, force: true })
  })
})
