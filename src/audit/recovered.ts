import type { Recovered } from '../recording/recover.ts'
import type { AuditLog } from './audit-log.ts'

/** Sessions whose process ended without a word: their recordings are sealed now, and lack an end. */
export function tellRecovered(log: AuditLog, found: readonly Recovered[]): void {
  for (const each of found) {
    const { session } = each
    if (each.kind === 'recovered')
      log.emit(
        {
          kind: 'recording-gap',
          session,
          what: 'unfinished',
          detail: `${each.events} events were found whole${each.torn === 0 ? '' : `, ${each.torn} bytes of another were not`}`,
        },
        Date.now(),
        `${session}:unfinished`,
      )
    if (each.kind === 'locked')
      log.emit(
        {
          kind: 'recording-gap',
          session,
          what: 'unfinished',
          detail: 'its last part is encrypted and stays as it was left: its key was lost with the machine’s memory',
        },
        Date.now(),
        `${session}:unfinished`,
      )
    if (each.kind === 'damaged')
      log.emit(
        { kind: 'recording-gap', session, what: 'altered', detail: `agentgate sessions verify ${session}` },
        Date.now(),
        `${session}:damaged`,
      )
  }
  log.commit()
}
