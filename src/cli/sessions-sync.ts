import type { AuditEvent } from '../audit/audit-event.ts'
import { errorCodes } from '../errors.ts'
import { syncAll, type SyncProgress } from '../recording/sync/sync-all.ts'
import type { Io } from './command.ts'
import { counted } from './counted.ts'
import type { Globals } from './globals.ts'
import { write } from './output.ts'
import { recordingsFolder } from './recorded.ts'
import { tellOfRecordings } from './tell-audit.ts'
import { escapeLine } from './ui/escape.ts'
import { ProgressBar } from './ui/progress-bar.ts'

export async function syncSessions(recordings: string | undefined, globals: Globals, io: Io): Promise<void> {
  const { json } = globals
  const gaps: AuditEvent[] = []
  const bar = new ProgressBar(io.stderr)
  const onProgress = json
    ? undefined
    : ({ session: label, done, total }: SyncProgress) => bar.update({ label, done, total })
  for await (const result of syncAll(recordingsFolder(recordings, io), io.env, onProgress)) {
    bar.clear()
    const { session, place, state, uploaded, waiting, error } = result
    if (state === 'failed') {
      io.exitCode = errorCodes.TARGET_UNREACHABLE
      gaps.push({ kind: 'recording-gap', session, what: 'not-uploaded', detail: `to ${place}: ${error ?? ''}` })
    }
    if (json) {
      await write(io.stdout, `${JSON.stringify({ event: 'sync', ...result })}\n`)
      continue
    }
    const text =
      state === 'failed'
        ? `${counted(waiting, 'file')} not uploaded: ${error ?? ''}`
        : `${state === 'synced' ? 'all there' : 'there so far'}${uploaded === 0 ? '' : `, ${counted(uploaded, 'file')} uploaded now`}`
    const gap = io.stdout.isTTY ? '  ' : '\t'
    await write(io.stdout, `${[session, place, text].map(escapeLine).join(gap)}\n`)
  }
  await tellOfRecordings(gaps, globals, io)
}
