import fs from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { maxIndexedText, type IndexedStatement } from '../control/witness-schema.ts'
import { AgentgateError } from '../errors.ts'
import type { RecordedEvent } from '../recording/event.ts'
import { ownerAlive } from '../recording/owner.ts'
import { readRecording } from '../recording/reader.ts'
import { sessionIds } from '../recording/session-ids.ts'
import { readSmallState, writeSmallState } from '../recording/small-state.ts'

export const batchStatements = 100
const markName = 'unindexed.json'

/** Beside a recording: what of it the broker's index does not have yet. */
interface Unindexed {
  /** The broker's address, which alone is to have it. */
  readonly broker: string
  /** What comes behind this event. */
  readonly after: number
}
const unindexedSchema = z.object({ broker: z.string(), after: z.number().int().min(0) })

export async function markUnindexed(folder: string, unindexed: Unindexed): Promise<void> {
  await writeSmallState(path.join(folder, markName), unindexed)
}

export async function unmark(folder: string): Promise<void> {
  await fs.rm(path.join(folder, markName), { force: true })
}

/** An action as the index has it. */
export function indexedStatement(
  sequence: number,
  at: number,
  { resource, view, decision }: Extract<RecordedEvent, { kind: 'action' }>,
): IndexedStatement {
  return {
    sequence,
    at: new Date(at).toISOString(),
    resource,
    decision: decision.outcome,
    rule: decision.rule?.name.slice(0, 200) ?? null,
    text: view.text.slice(0, maxIndexedText),
  }
}

/**
 * Sends a broker what sessions that are over recorded while it was away, from their recordings. What it does not take now
 * is tried again at the next start. @throws AgentgateError what the broker says
 */
export async function indexLate(
  recordings: string,
  broker: string,
  send: (session: string, statements: readonly IndexedStatement[]) => Promise<void>,
): Promise<void> {
  for (const session of await sessionIds(recordings)) {
    const folder = path.join(recordings, session)
    const mark = await readSmallState(path.join(folder, markName), unindexedSchema)
    if (mark === null || mark === 'unreadable' || mark.broker !== broker || ownerAlive(folder, Date.now())) continue
    try {
      await indexOne(folder, mark.after, async statements => await send(session, statements))
    } catch (error) {
      // Not this broker's, or somebody else's: it will not take it tomorrow either.
      if (!(error instanceof AgentgateError && error.code === 'NO_SUCH_SESSION')) throw error
    }
    await unmark(folder)
  }
}

async function indexOne(
  folder: string,
  after: number,
  send: (statements: readonly IndexedStatement[]) => Promise<void>,
): Promise<void> {
  let batch: IndexedStatement[] = []
  for await (const item of readRecording(folder)) {
    if (item.kind !== 'event' || item.placed.sequence <= after) continue
    const { event, sequence, at } = item.placed
    if (event.kind === 'action') batch.push(indexedStatement(sequence, at, event))
    if (batch.length < batchStatements) continue
    await send(batch)
    batch = []
  }
  if (batch.length > 0) await send(batch)
}
