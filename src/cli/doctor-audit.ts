import { openSink } from '../audit/sinks/open-sink.ts'
import { readSinkState, sinkReports } from '../audit/sink-state.ts'
import { Paths } from '../config/paths.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import { reportText } from './audit-run.ts'
import type { Io } from './command.ts'
import { failed, type Finding } from './doctor-finding.ts'

/** Whether what the policy says of audit events can be resolved here, and how it has gone so far. Sends nothing. */
export async function* auditFindings(loaded: LoadedPolicy, io: Io): AsyncGenerator<Finding> {
  const plan = loaded.policy.audit
  const reports = sinkReports(new Paths(io.env).auditDir())
  for (const settings of plan?.sinks ?? []) {
    try {
      const sink = await openSink(settings, io.env, loaded.folder)
      sink.close()
      if (!reports.some(report => report.name === settings.name))
        yield {
          check: 'audit',
          state: 'ok',
          text: `audit: ${settings.name} (${sink.place}), never used`,
          hint: 'agentgate audit test',
        }
    } catch (error) {
      yield failed(error, { check: 'audit' })
    }
  }
  for (const report of reports) {
    const state = readSinkState(report.outbox, report.name)
    const bad = state !== null && state.state !== 'ok'
    const worry = report.lost > 0 || report.setAside > 0 || report.waitingBytes > report.outboxBytes / 2
    yield {
      check: 'audit',
      state: bad ? 'fail' : worry ? 'warn' : 'ok',
      text: `audit: ${report.name} (${report.place}): ${reportText(report)}`,
      ...(bad ? { hint: 'agentgate audit deliver', exitCode: 6 } : worry ? { hint: 'agentgate audit' } : {}),
    }
  }
}
