import type { RecordedEvent } from '../../recording/event.ts'
import type { Context } from '../protocol.ts'

/** What came of a wish that was allowed. */
export type Outcome = Pick<Extract<RecordedEvent, { kind: 'outcome' }>, 'status' | 'tag'>

/** Carries out the wish whose event this is, and records what came of it and how long it took. */
export async function recordOutcome(context: Context, event: number, carry: () => Promise<Outcome>): Promise<void> {
  const started = performance.now()
  const outcome = await carry()
  await context.record({
    kind: 'outcome',
    connection: context.connection,
    action: event,
    rows: null,
    milliseconds: Math.round(performance.now() - started),
    masked: [],
    ...outcome,
  })
}
