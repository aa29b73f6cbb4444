import type { Statement } from '../analysis/analysed.ts'
import { changes } from '../analysis/verbs.ts'
import { nameKey, type Conversation } from './conversation.ts'
import { KnownText } from './known-text.ts'
import type { Prepared } from './run.ts'

interface Composed {
  readonly sources: readonly (Statement | null)[]
  readonly text: KnownText
}

const compositions = new WeakMap<KnownText, Composed>()

/**
 * What EXECUTE and FETCH do is what the statement or cursor behind the name does: puts that in place of the name, so that
 * it is decided on and masked as if it had been written out. The same object as long as the names stand for the same.
 */
export function composeNames(known: KnownText, conversation: Conversation): KnownText | { readonly missing: string } {
  const prepared = new Map<string, Statement>()
  const cursors = new Map<string, Statement>()
  const sources: (Statement | null)[] = []
  for (const statement of known.statements) {
    let source: Statement | null = null
    if (statement.output.kind === 'cursor') {
      const { name } = statement.output
      source = cursors.get(name) ?? cursorOf(name, conversation) ?? null
    }
    for (const change of statement.changes) {
      if (change.kind === 'prepare') prepared.set(change.name, change.statement)
      if (change.kind === 'declare') cursors.set(change.name, change.statement)
      if (change.kind !== 'execute') continue
      const found = prepared.get(change.name) ?? preparedOf(change.name, conversation)
      if (found === undefined) return { missing: change.name }
      source = found
    }
    sources.push(source)
  }
  const before = compositions.get(known)
  if (before?.sources.every((source, index) => source === sources[index])) return before.text
  const statements = known.statements.map((statement, index) => compose(statement, sources[index] ?? null))
  const text = new KnownText({ ...known.analysed, shape: {}, fingerprint: known.analysed.fingerprint, statements })
  compositions.set(known, { sources, text })
  return text
}

/** The prepared statements that a text executes and does not itself prepare. */
export function executedBy(known: KnownText, conversation: Conversation): readonly Prepared[] {
  return known.statements.flatMap(({ changes: all }) =>
    all.flatMap(change => {
      const found =
        change.kind === 'execute' ? conversation.statements.find(nameKey(change.name), conversation.batch) : undefined
      return found === undefined || found === 'unsettled' ? [] : [found]
    }),
  )
}

function preparedOf(name: string, conversation: Conversation): Statement | undefined {
  const found = conversation.statements.find(nameKey(name), conversation.batch)
  return found === 'unsettled' ? undefined : found?.known.statements[0]
}

function cursorOf(name: string, conversation: Conversation): Statement | undefined {
  const found = conversation.portals.find(nameKey(name), conversation.batch)
  return found === 'unsettled' ? undefined : found?.prepared.known.statements[0]
}

const effects = { read: 0, change: 1, unknown: 2 } as const

function compose(statement: Statement, source: Statement | null): Statement {
  const { output } = statement
  const named = output.kind === 'prepared' || output.kind === 'cursor'
  // A cursor that some function opened: it may hold anything.
  if (source === null) return named ? { ...statement, output: { kind: 'unknown' } } : statement
  // The analysis of one text cannot know what was prepared by another: now it is known.
  const reasons = (statement.unknown?.split('; ') ?? []).filter(reason => !reason.endsWith('was prepared elsewhere'))
  const own = reasons.length > 0 ? 'unknown' : statement.effects.some(({ verb }) => changes(verb)) ? 'change' : 'read'
  return {
    ...statement,
    effects: [...statement.effects, ...source.effects],
    functions: [...new Set([...statement.functions, ...source.functions])],
    effect: effects[source.effect] > effects[own] ? source.effect : own,
    unknown: [...reasons, ...(source.unknown === null ? [] : [source.unknown])].join('; ') || null,
    carries: [...statement.carries, ...source.carries],
    compares: [...statement.compares, ...source.compares],
    output: named ? source.output : output,
    changes: [...statement.changes, ...source.changes],
  }
}
