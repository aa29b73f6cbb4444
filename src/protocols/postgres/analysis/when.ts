import { z } from 'zod'
import { partsOf } from './catalogue.ts'
import type { Effect, RelationRef, SqlAction, Statement } from './analysed.ts'

/** Words that stand for several statements. `write` is whatever changes rows, `ddl` whatever changes what there is. */
const groups: Readonly<Record<string, readonly string[]>> = {
  read: ['select', 'copy-out'],
  write: ['insert', 'update', 'delete', 'merge', 'truncate', 'copy-in'],
  copy: ['copy-in', 'copy-out'],
  ddl: ['create', 'alter', 'drop', 'comment', 'rename', 'reindex', 'cluster', 'refresh', 'security-label', 'import'],
}

/** Statements that rules can name; what an analysis gives as an effect's verb or a statement's own. */
export const statementWords = [
  'select',
  'insert',
  'update',
  'delete',
  'merge',
  'truncate',
  'copy-in',
  'copy-out',
  'create',
  'alter',
  'drop',
  'comment',
  'rename',
  'reindex',
  'cluster',
  'refresh',
  'security-label',
  'import',
  'grant',
  'revoke',
  'lock',
  'vacuum',
  'analyze',
  'call',
  'do',
  'explain',
  'execute',
  'prepare',
  'declare',
  'fetch',
  'set',
  'reset',
  'show',
  'discard',
  'listen',
  'unlisten',
  'notify',
  'checkpoint',
  'load',
  ...Object.keys(groups),
] as const

const oneOrMore = <T extends z.ZodType>(item: T) => z.union([item.transform(value => [value]), z.array(item).min(1)])
const glob = z.string().min(1).max(200)

/** Keys of `when` and `unless` that only PostgreSQL knows. All keys of a rule must hold of one and the same effect. */
export const whenSchema = z.strictObject({
  statement: oneOrMore(z.enum(statementWords)).describe('what is done: select, update, ddl, write, …').optional(),
  table: oneOrMore(glob).describe('a relation read or written; `payments` is that name in any schema').optional(),
  reads: oneOrMore(glob).describe('a relation that is read').optional(),
  writes: oneOrMore(glob).describe('a relation that is changed').optional(),
  column: oneOrMore(glob).describe('a column read or written').optional(),
  where: z
    .enum(['missing', 'present'])
    .describe('whether an UPDATE or DELETE has a condition that can be false')
    .optional(),
  function: oneOrMore(glob).describe('a function called, also in views and triggers').optional(),
})

export type PostgresWhen = z.infer<typeof whenSchema>

/**
 * Whether all of `when` holds. What is not known (dynamic SQL, a function that cannot be read) holds where doubt must count
 * against the asker, and fails where it must not help him.
 */
export function matches(when: PostgresWhen, action: SqlAction, doubt: 'holds' | 'fails'): boolean {
  const compiled = compile(when)
  const { statements } = action.shape
  if (doubt === 'holds') return statements.some(statement => matchesStatement(compiled, statement))
  // What lifts a rule may carry nothing else along: each statement, and each thing it does, has to be covered.
  return statements.length > 0 && statements.every(statement => coversStatement(compiled, statement))
}

interface Compiled {
  readonly verbs: ReadonlySet<string> | null
  readonly table: ((name: RelationRef) => boolean) | null
  readonly reads: ((name: RelationRef) => boolean) | null
  readonly writes: ((name: RelationRef) => boolean) | null
  readonly column: ((name: string) => boolean) | null
  readonly where: 'missing' | 'present' | null
  readonly functions: ((name: string) => boolean) | null
}

const compiledRules = new WeakMap<PostgresWhen, Compiled>()

function compile(when: PostgresWhen): Compiled {
  const known = compiledRules.get(when)
  if (known !== undefined) return known
  const compiled: Compiled = {
    verbs: when.statement === undefined ? null : new Set(when.statement.flatMap(word => groups[word] ?? [word])),
    table: matcherOf(when.table),
    reads: matcherOf(when.reads),
    writes: matcherOf(when.writes),
    column: when.column === undefined ? null : anyOf(when.column),
    where: when.where ?? null,
    functions: matcherOf(when.function),
  }
  compiledRules.set(when, compiled)
  return compiled
}

function matchesStatement(when: Compiled, statement: Statement): boolean {
  if (statement.effect === 'unknown') return true
  if (when.functions !== null && !statement.functions.some(when.functions)) return false
  const asksOfEffect = when.table ?? when.reads ?? when.writes ?? when.column ?? when.where
  if (asksOfEffect === null && (when.verbs === null || when.verbs.has(statement.verb))) return true
  return statement.effects.some(effect => matchesEffect(when, effect, 'holds'))
}

function coversStatement(when: Compiled, statement: Statement): boolean {
  if (statement.effect === 'unknown') return false
  if (when.functions !== null && !(statement.functions.length > 0 && statement.functions.every(when.functions)))
    return false
  if (statement.effects.length > 0) return statement.effects.every(effect => matchesEffect(when, effect, 'fails'))
  const asksOfEffect = when.table ?? when.reads ?? when.writes ?? when.column ?? when.where
  return asksOfEffect === null && (when.verbs === null || when.verbs.has(statement.verb))
}

function matchesEffect(when: Compiled, effect: Effect, doubt: 'holds' | 'fails'): boolean {
  if (when.verbs !== null && !when.verbs.has(effect.verb)) return false
  const reads = readingVerbs.has(effect.verb)
  if (when.reads !== null && !(reads && names(when.reads, effect, doubt))) return false
  if (when.writes !== null && !(!reads && names(when.writes, effect, doubt))) return false
  if (when.table !== null && !names(when.table, effect, doubt)) return false
  if (when.column !== null && !touches(when.column, effect, doubt)) return false
  if (when.where === 'missing') return effect.where === 'missing' || effect.where === 'constant'
  if (when.where === 'present') return effect.where === 'present'
  return true
}

const readingVerbs: ReadonlySet<string> = new Set(['select', 'copy-out', 'lock', 'explain'])

function names(matcher: (name: RelationRef) => boolean, effect: Effect, doubt: 'holds' | 'fails'): boolean {
  // An effect on what could not be named may be on anything.
  return effect.relation === null ? doubt === 'holds' && effect.columns === 'unknown' : matcher(effect.relation)
}

function touches(matcher: (name: string) => boolean, effect: Effect, doubt: 'holds' | 'fails'): boolean {
  if (effect.columns === 'unknown' || effect.columns === 'all') return doubt === 'holds'
  return effect.columns.some(matcher)
}

/** `payments` is that name in any schema, `audit.*` a schema; `*` stands for any run of characters within a part. */
function matcherOf(patterns: readonly string[] | undefined): ((name: string) => boolean) | null {
  if (patterns === undefined) return null
  const tests = patterns.map(pattern => {
    const test = globOf(pattern)
    return pattern.includes('.') ? test : (name: string) => test(partsOf(name).at(-1) ?? name)
  })
  return name => tests.some(test => test(name))
}

function anyOf(patterns: readonly string[]): (name: string) => boolean {
  const tests = patterns.map(globOf)
  return name => tests.some(test => test(name))
}

/** Linear in both lengths for any pattern: no regular expression, nothing to blow up. */
function globOf(pattern: string): (text: string) => boolean {
  const parts = pattern.split('*')
  const [first = '', ...rest] = parts
  const last = rest.pop()
  if (last === undefined) return text => text === pattern
  return text => {
    if (!text.startsWith(first) || text.length < first.length + last.length || !text.endsWith(last)) return false
    let at = first.length
    const end = text.length - last.length
    for (const part of rest) {
      const found = text.indexOf(part, at)
      if (found < 0 || found + part.length > end) return false
      at = found + part.length
    }
    return true
  }
}
