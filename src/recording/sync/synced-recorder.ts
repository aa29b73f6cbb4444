import type { Environment } from '../../config/paths.ts'
import { AgentgateError } from '../../errors.ts'
import type { LocalCopies, SyncPlace } from '../../policy/sync-place.ts'
import { failure } from '../failure.ts'
import { openRecorder, type Recorder, type RecorderOptions } from '../recorder.ts'
import { recorderOver } from '../recorder-over.ts'
import { BackgroundSync } from './background.ts'
import { DurableRounds } from './durable-rounds.ts'
import { failureText } from './failure-text.ts'
import { openTarget } from './place.ts'
import { writeSyncState } from './sync-session.ts'

/** How long the end of a session waits for its upload: a person is looking at a prompt that does not come back. */
const finishMilliseconds = 5_000
/** How long an action waits for the bucket, where it has to be there. */
const durableMilliseconds = 30_000

export interface Syncing {
  readonly local?: LocalCopies | undefined
  /** `bucket`: `durable` brings everything there, and there is no session without it. */
  readonly durability?: 'local' | 'bucket' | undefined
}

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
  { local, durability }: Syncing = {},
): Promise<Recorder> {
  const late: { background?: BackgroundSync } = {}
  const recorder = open({ ...options, onSealed: () => late.background?.nudge() })
  try {
    await writeSyncState(recorder.path, { place, verified: {}, local })
  } catch (error) {
    await recorder.close('cannot be uploaded', null)
    throw failure(`start a recording in ${recorder.path}`, error)
  }
  const background = new BackgroundSync(recorder.path, openTarget(place, env), options.onWarning)
  late.background = background
  if (durability !== 'bucket') return closing(recorder, background)
  const rounds = new DurableRounds(async () => {
    await recorder.sealed()
    await background.caughtUp(durableMilliseconds)
  })
  const durable = async () => {
    try {
      await rounds.reached()
    } catch (error) {
      throw notDurable(place, error)
    }
  }
  try {
    await durable()
  } catch (error) {
    await recorder.close('it could not be recorded in the bucket', null).catch(() => undefined)
    await background.finish(0)
    throw error
  }
  return recorderOver(closing(recorder, background), { durable })
}

function notDurable(place: SyncPlace, error: unknown): AgentgateError {
  if (error instanceof AgentgateError) return error
  return new AgentgateError('RECORDING_FAILED', `cannot record in ${place.to}: ${failureText(error)}`, {
    hint: 'the policy wants everything there first (durability: bucket); what cannot be recorded is not forwarded',
    cause: error,
  })
}

function closing(recorder: Recorder, background: BackgroundSync): Recorder {
  return recorderOver(recorder, {
    close: async (reason, exitCode) => {
      await recorder.close(reason, exitCode)
      await background.finish(finishMilliseconds)
    },
  })
}
