import type { SinkReport } from '../audit/sink-state.ts'
import { AgentgateError, errorCodes } from '../errors.ts'
import type { Io } from './command.ts'
import { counted } from './counted.ts'
import type { Globals } from './globals.ts'
import { write } from './output.ts'
import { trustedPolicyHere } from './policy-here.ts'
import { escapeLine } from './ui/escape.ts'

/** How long `test` and `deliver` wait for all that there is. */
const patienceMilliseconds = 60_000

export async function auditStatus(globals: Globals, io: Io): Promise<void> {
  const [{ sinkReports }, { Paths }] = await Promise.all([
    import('../audit/sink-state.ts'),
    import('../config/paths.ts'),
  ])
  const reports = sinkReports(new Paths(io.env).auditDir())
  if (globals.json) {
    for (const { outbox: _, ...each } of reports)
      await write(io.stdout, `${JSON.stringify({ event: 'audit-sink', ...each, since: iso(each.since) })}\n`)
    return
  }
  if (reports.length === 0) {
    io.stderr.write('no audit events so far; where they go stands in audit: in the policy (docs/siem.md)\n')
    return
  }
  const gap = io.stdout.isTTY ? '  ' : '\t'
  for (const each of reports)
    await write(
      io.stdout,
      `${[each.name.padEnd(io.stdout.isTTY ? 12 : 0), each.place, reportText(each)].map(escapeLine).join(gap)}\n`,
    )
}

/** What a sink's files say of it, in a few words. */
export function reportText(report: SinkReport): string {
  const { state, text, since, delivered, waitingBytes, setAside, lost, outboxBytes } = report
  const words = [
    state === 'ok'
      ? `${counted(delivered, 'event')} delivered`
      : state === 'new'
        ? 'nothing delivered yet'
        : `${state} since ${iso(since) ?? ''}: ${text}`,
  ]
  if (waitingBytes > 0) words.push(`${sizeText(waitingBytes)} waiting (of ${sizeText(outboxBytes)} at most)`)
  if (setAside > 0) words.push(`${counted(setAside, 'event')} set aside`)
  if (lost > 0) words.push(`${counted(lost, 'event')} LOST`)
  return words.join(' · ')
}

export async function auditTest(text: string, globals: Globals, io: Io): Promise<void> {
  const [policy, { AuditLog }, { Paths }, { version }] = await Promise.all([
    trustedPolicyHere(globals, io),
    import('../audit/audit-log.ts'),
    import('../config/paths.ts'),
    import('./version.ts'),
  ])
  const plan = policy.policy.audit
  if (plan === null)
    throw new AgentgateError('USAGE', 'the policy says nowhere for audit events to go', {
      hint: 'audit: { to: { name: archive, file: /var/log/agentgate.jsonl } }: docs/siem.md',
    })
  const root = new Paths(io.env).auditDir()
  const log = new AuditLog({ root, plan, folder: policy.folder, env: io.env, version, onWarning: () => undefined })
  log.emit({ kind: 'test', text })
  log.commit()
  await log.close(patienceMilliseconds)
  await tellEach(log.reports(), globals, io)
}

export async function auditDeliver(globals: Globals, io: Io): Promise<void> {
  const [{ deliverAll }, { Paths }] = await Promise.all([
    import('../audit/deliver-all.ts'),
    import('../config/paths.ts'),
  ])
  await tellEach(await deliverAll(new Paths(io.env).auditDir(), io.env, patienceMilliseconds), globals, io)
}

async function tellEach(reports: readonly SinkReport[], globals: Globals, io: Io): Promise<void> {
  for (const report of reports) {
    const arrived = report.state === 'ok' && report.waitingBytes === 0
    if (!arrived) io.exitCode = errorCodes.TARGET_UNREACHABLE
    const { outbox: _, ...shown } = report
    await write(
      io.stdout,
      globals.json
        ? `${JSON.stringify({ event: 'audit-sink', ...shown, since: iso(report.since) })}\n`
        : `${arrived ? 'ok  ' : 'fail'}  ${escapeLine(`${report.name}  ${report.place}  ${reportText(report)}`)}\n`,
    )
  }
}

function iso(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString()
}

function sizeText(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
}
