import type { ContentKey } from '../recording/encryption/content-key.ts'
import type { Problem, ReadEnd } from '../recording/read-item.ts'
import { readRecording } from '../recording/reader.ts'
import { RecordedClients } from './recorded-clients.ts'
import { RecordedStatements, type RecordedStatement } from './recorded-statements.ts'

/** Statements that wait for their client's name. */
const maxWaiting = 256

export type StatementItem =
  | { readonly kind: 'statement'; readonly statement: RecordedStatement; readonly client: string | null }
  | { readonly kind: 'problem'; readonly problem: Problem }
  | { readonly kind: 'end'; readonly end: ReadEnd }

/** A session's statements in the order in which they ended, each with its client as far as the recording tells. */
export async function* recordedStatements(
  folder: string,
  key: ContentKey | null = null,
): AsyncGenerator<StatementItem, void, void> {
  const clients = new RecordedClients()
  const statements = new RecordedStatements()
  const done: RecordedStatement[] = []
  for await (const item of readRecording(folder, key)) {
    if (item.kind === 'problem') yield item
    if (item.kind === 'event') {
      clients.take(item.placed)
      done.push(...statements.take(item.placed))
    }
    if (item.kind === 'end') done.push(...statements.end())
    for (let [first] = done; first !== undefined; [first] = done) {
      const { connection } = first.action
      if (!clients.knows(connection) && item.kind !== 'end' && done.length < maxWaiting) break
      done.shift()
      yield { kind: 'statement', statement: first, client: clients.of(connection) }
    }
    if (item.kind === 'end') yield item
  }
}
