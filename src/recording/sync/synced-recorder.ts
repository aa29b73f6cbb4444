import type { Environment } from '../../config/paths.ts'
import type { SyncPlace } from '../../policy/sync-place.ts'
import { failure } from '../failure.ts'
import { openRecorder, type Recorder, type RecorderOptions } from '../recorder.ts'
import { recorderOver } from '../recorder-over.ts'
import { BackgroundSync } from './background.ts'
import { openTarget } from './place.ts'
import { writeSyncState } from './sync-session.ts'

/** How long the end of a session waits for its upload: a person is looking at a prompt that does not come back. */
const finishMilliseconds = 5_000

/**
 * A recording whose parts are uploaded as they are sealed. Closing it waits a while for the last of them; what is not done by
 * then waits for `sessions sync`.
 * @throws AgentgateError RECORDING_FAILED
 */
export async function openSyncedRecorder(
  options: Omit<RecorderOptions, 'onSealed'>,
  place: SyncPlace,
  env: Environment,
  open: (options: RecorderOptions) => Recorder = openRecorder,
): Promise<Recorder> {
  const late: { background?: BackgroundSync } = {}
  const recorder = open({ ...options, onSealed: () => late.background?.nudge() })
  try {
    await writeSyncState(recorder.path, { place, verified: {} })
  } catch (error) {
    await recorder.close('cannot be uploaded', null)
    throw failure(`start a recording in ${recorder.path}`, error)
  }
  const background = new BackgroundSync(recorder.path, openTarget(place, env), options.onWarning)
  late.background = background
  return recorderOver(recorder, {
    close: async (reason, exitCode) => {
      await recorder.close(reason, exitCode)
      await background.finish(finishMilliseconds)
    },
  })
}
