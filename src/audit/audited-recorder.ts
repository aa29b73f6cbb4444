import type { Recorder } from '../recording/recorder.ts'
import { readSyncState, waitingFiles } from '../recording/sync/sync-session.ts'
import { recorderOver } from '../recording/recorder-over.ts'
import type { RecordedEvent, SessionStart } from '../recording/event.ts'
import type { AuditLog } from './audit-log.ts'
import type { AuditSubject } from './audit-event.ts'

/** How long the end of a session waits for its last events: a person is looking at a prompt that does not come back. */
const finishMilliseconds = 3_000

/** A recording of which the SIEM hears what it should, in the recording's own words: what masks hide is hidden there too. */
export function auditedRecorder(recorder: Recorder, start: SessionStart, log: AuditLog): Recorder {
  const since = Date.now()
  const by: AuditSubject = { subject: start.subject, session: start.session, since }
  const addresses = new Map(start.resources.map(({ name, address }) => [name, address]))
  let digest: string = start.policyDigest
  log.emit({ kind: 'session-start', start }, since, `${start.session}:start`)
  log.commit()
  const guarded = <Result>(work: () => Result): Result => {
    try {
      return work()
    } catch (error) {
      // Once: what follows fails alike.
      const detail = error instanceof Error ? error.message : 'it cannot be written'
      log.emit(
        { kind: 'recording-gap', session: start.session, what: 'not-written', detail },
        Date.now(),
        `${start.session}:gap`,
      )
      log.commit()
      throw error
    }
  }
  const tell = (event: RecordedEvent, sequence: number): void => {
    const uid = `${start.session}:${sequence}`
    if (event.kind === 'policy') {
      digest = event.digest
      log.emit(
        { kind: 'policy', change: 'in-effect', name: 'agentgate policy', digest, by: null, session: start.session },
        Date.now(),
        uid,
      )
    }
    if (event.kind !== 'action') return
    const { outcome } = event.decision
    const action = {
      by,
      resource: { name: event.resource, address: addresses.get(event.resource) ?? '' },
      connection: event.connection,
      view: event.view,
      decision: event.decision,
      policyDigest: digest,
    }
    if (outcome === 'held') log.emit({ kind: 'request', ...action }, Date.now(), uid)
    else {
      if (outcome !== 'allowed' && outcome !== 'denied')
        log.emit({ kind: 'approval', ...action }, Date.now(), `${uid}:approval`)
      log.emit({ kind: 'decision', ...action }, Date.now(), uid)
    }
  }
  return recorderOver(recorder, {
    append: event => {
      const sequence = guarded(() => recorder.append(event))
      tell(event, sequence)
      return sequence
    },
    commit: () => {
      guarded(() => recorder.commit())
      log.commit()
    },
    close: async (reason, exitCode) => {
      try {
        await recorder.close(reason, exitCode)
      } finally {
        await tellNotUploaded(recorder.path, start.session, log)
        log.emit({ kind: 'session-end', start, since, reason, exitCode }, Date.now(), `${start.session}:end`)
        await log.close(finishMilliseconds)
      }
    },
  })
}

/** Its end has waited for the upload; what is missing now waits for the next start, or for somebody to look. */
async function tellNotUploaded(folder: string, session: string, log: AuditLog): Promise<void> {
  const state = await readSyncState(folder).catch(() => null)
  if (state === null) return
  const waiting = state === 'unreadable' ? ['sync.json'] : await waitingFiles(folder, state).catch(() => [])
  if (waiting.length === 0) return
  const where = state === 'unreadable' ? 'where it should be' : state.place.to
  const detail = `${waiting.length} of its files are not at ${where} yet; they are kept, and tried again by the next session`
  log.emit({ kind: 'recording-gap', session, what: 'not-uploaded', detail }, Date.now(), `${session}:not-uploaded`)
}
