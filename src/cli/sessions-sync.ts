import { errorCodes } from '../errors.ts'
import { syncAll } from '../recording/sync/sync-all.ts'
import type { Io } from './command.ts'
import { counted } from './counted.ts'
import { write } from './output.ts'
import { recordingsFolder } from './recorded.ts'
import { escapeLine } from './ui/escape.ts'

export async function syncSessions(recordings: string | undefined, json: boolean, io: Io): Promise<void> {
  for await (const result of syncAll(recordingsFolder(recordings, io), io.env)) {
    const { session, place, state, uploaded, waiting, error } = result
    if (state === 'failed') io.exitCode = errorCodes.TARGET_UNREACHABLE
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
}
