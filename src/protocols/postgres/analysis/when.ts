import { z } from 'zod'
import { partsOf } from './catalogue.ts'
import type { Effect, RelationRef, SqlAction, Statement } from './analysed.ts'
import { adminVerbs, changes, ddlVerbs, plainVerbs, readVerbs, transactionVerbs, writeVerbs } from './verbs.ts'

/** Words that stand for several statements. `write` is whatever changes rows, `ddl` whatever changes what there is. */
const groups: Readonly<Record<string, readonly string[]>> = {
  read: ['select', 'copy-out'],
  write: ['insert', 'update', 'delete', 'merge', 'truncate', 'copy-in'],
  copy: ['copy-in', 'copy-out'],
  ddl: ['create', 'alter', 'drop', 'comment', 'rename', 'reindex', 'cluster', 'refresh', 'security-label', 'import'],
}

/** Statements that rules can name: what an analysis gives as an effect's verb, or as a statement's own. */
export const statementWords = [
  ...readVerbs,
  ...writeVerbs,
  ...ddlVerbs,
  ...adminVerbs,
  ...plainVerbs,
  ...transactionVerbs,
  ...Object.keys(groups),
]

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
  object: oneOrMore(glob).describe('what DDL or a grant is about: table, database, schema, role, …').optional(),
  function: oneOrMore(glob).describe('a function called, also in views and triggers').optional(),
  'estimated-rows': z
    .string()
    .regex(/^> ?\d{1,15}$/, { error: 'more than a number of rows, such as "> 1000"' })
    .describe('rows it would give or change, as the server estimates: "> 1000"')
    .optional(),
  'first-seen': z.boolean().describe('whether nothing of this shape has run on this resource before').optional(),
})

export type PostgresWhen = z.infer<typeof whenSchema>

/** Asked of what a text does not say: the same shape may be answered otherwise the next time. */
export function varies(when: PostgresWhen): boolean {
  return when['estimated-rows'] !== undefined || when['first-seen'] !== undefined
}

/**
 * Whether all of `when` holds. What is not known (dynamic SQL, a function that cannot be read) holds where doubt must count
 * against the asker, and fails where it must not help him.
 */
export function matches(when: PostgresWhen, action: SqlAction, doubt: 'holds' | 'fails'): boolean {
  const compiled = compile(when, doubt)
  const { analysed, facts } = action
  const { statements } = analysed
  const { moreThan, firstSeen } = compiled
  // what nobody has found out may be so
  if (firstSeen !== null && (facts?.firstSeen === undefined ? doubt === 'fails' : facts.firstSeen !== firstSeen))
    return false
  const isMore = (index: number) => {
    const rows = facts?.estimatedRows?.[index] ?? null
    return moreThan === null || (rows === null ? doubt === 'holds' : rows > moreThan)
  }
  if (doubt === 'holds')
    return statements.some((statement, index) => isMore(index) && matchesStatement(compiled, statement))
  // What lifts a rule may carry nothing else along: each statement, and each thing it does, has to be covered.
  // BEGIN and COMMIT around it do nothing of their own.
  const working = statements.filter(statement => !statement.transaction)
  const asked = working.length > 0 ? working : statements
  return (
    asked.length > 0 &&
    asked.every(statement => isMore(statements.indexOf(statement)) && coversStatement(compiled, statement))
  )
}

interface Compiled {
  readonly verbs: ReadonlySet<string> | null
  readonly table: ((name: RelationRef) => boolean) | null
  readonly reads: ((name: RelationRef) => boolean) | null
  readonly writes: ((name: RelationRef) => boolean) | null
  readonly column: ((name: string) => boolean) | null
  readonly where: 'missing' | 'present' | null
  readonly object: ((name: string) => boolean) | null
  readonly functions: ((name: string) => boolean) | null
  readonly moreThan: number | null
  readonly firstSeen: boolean | null
}

const compiledRules = { holds: new WeakMap<PostgresWhen, Compiled>(), fails: new WeakMap<PostgresWhen, Compiled>() }

/** Letters' case does not matter where a rule makes things stricter: a name too many is better than one too few. */
function compile(when: PostgresWhen, doubt: 'holds' | 'fails'): Compiled {
  const known = compiledRules[doubt].get(when)
  if (known !== undefined) return known
  const fold = doubt === 'holds'
  const compiled: Compiled = {
    verbs: when.statement === undefined ? null : new Set(when.statement.flatMap(word => groups[word] ?? [word])),
    table: matcherOf(when.table, fold),
    reads: matcherOf(when.reads, fold),
    writes: matcherOf(when.writes, fold),
    column: when.column === undefined ? null : anyOf(when.column, fold),
    where: when.where ?? null,
    object: when.object === undefined ? null : anyOf(when.object, fold),
    functions: matcherOf(when.function, fold),
    moreThan: when['estimated-rows'] === undefined ? null : Number(when['estimated-rows'].slice(1)),
    firstSeen: when['first-seen'] ?? null,
  }
  compiledRules[doubt].set(when, compiled)
  return compiled
}

function matchesStatement(when: Compiled, statement: Statement): boolean {
  if (statement.effect === 'unknown') return true
  if (when.functions !== null && !statement.functions.some(when.functions)) return false
  const asksOfEffect = when.table ?? when.reads ?? when.writes ?? when.column ?? when.where ?? when.object
  if (asksOfEffect === null && (when.verbs === null || when.verbs.has(statement.verb))) return true
  return statement.effects.some(effect => matchesEffect(when, effect, 'holds'))
}

function coversStatement(when: Compiled, statement: Statement): boolean {
  if (statement.effect === 'unknown') return false
  if (when.functions !== null && !(statement.functions.length > 0 && statement.functions.every(when.functions)))
    return false
  const { effects } = statement
  if (effects.length > 0) {
    const covered = new Set<string>()
    for (const effect of effects)
      if (effect.relation !== null && effect.through.length === 0 && matchesEffect(when, effect, 'fails')) {
        // Rows are read to be changed or copied, and those of partitions and parents are the same rows.
        covered.add(`select ${effect.relation}`)
        covered.add(`${effect.verb} parent ${effect.relation}`)
        covered.add(`${effect.verb} partition ${effect.relation}`)
        covered.add(`select parent ${effect.relation}`)
        covered.add(`select partition ${effect.relation}`)
      }
    return effects.every(effect => matchesEffect(when, effect, 'fails') || covered.has(wordsOf(effect)))
  }
  const asksOfEffect = when.table ?? when.reads ?? when.writes ?? when.column ?? when.where ?? when.object
  return asksOfEffect === null && (when.verbs === null || when.verbs.has(statement.verb))
}

function wordsOf({ verb, relation, through }: Effect): string {
  const [step] = through
  return step === undefined ? `${verb} ${relation ?? ''}` : through.length === 1 ? `${verb} ${step}` : ''
}

function matchesEffect(when: Compiled, effect: Effect, doubt: 'holds' | 'fails'): boolean {
  if (when.verbs !== null && !when.verbs.has(effect.verb)) return false
  const reads = !changes(effect.verb)
  if (when.reads !== null && !(reads && names(when.reads, effect, doubt))) return false
  if (when.writes !== null && !(!reads && names(when.writes, effect, doubt))) return false
  if (when.table !== null && !names(when.table, effect, doubt)) return false
  if (when.column !== null && !touches(when.column, effect, doubt)) return false
  if (when.object !== null && !(effect.object !== undefined && when.object(effect.object))) return false
  if (when.where === 'missing') return effect.where === 'missing' || effect.where === 'constant'
  if (when.where === 'present') return effect.where === 'present'
  return true
}

function names(matcher: (name: RelationRef) => boolean, effect: Effect, doubt: 'holds' | 'fails'): boolean {
  // An effect on what could not be named may be on anything.
  return effect.relation === null ? doubt === 'holds' && effect.columns === 'unknown' : matcher(effect.relation)
}

function touches(matcher: (name: string) => boolean, effect: Effect, doubt: 'holds' | 'fails'): boolean {
  if (effect.columns === 'unknown' || effect.columns === 'all') return doubt === 'holds'
  return effect.columns.some(matcher)
}

/** `payments` is that name in any schema, `audit.*` a schema; `*` stands for any run of characters within a part. */
function matcherOf(patterns: readonly string[] | undefined, fold: boolean): ((name: string) => boolean) | null {
  if (patterns === undefined) return null
  const tests = patterns.map(pattern => {
    const test = globOf(pattern, fold)
    if (!pattern.includes('.')) return (name: string) => test(partsOf(name).at(-1) ?? '')
    const [schema = '', ...rest] = pattern.split('.')
    const [inSchema, named] = [globOf(schema, fold), globOf(rest.join('.'), fold)]
    return (name: string) => {
      const [first = '', ...others] = partsOf(name)
      return inSchema(first) && named(others.join('.'))
    }
  })
  return name => tests.some(test => test(name))
}

function anyOf(patterns: readonly string[], fold: boolean): (name: string) => boolean {
  const tests = patterns.map(pattern => globOf(pattern, fold))
  return name => tests.some(test => test(name))
}

/** Linear in both lengths for any pattern: no regular expression, nothing to blow up. */
function globOf(given: string, fold: boolean): (text: string) => boolean {
  if (fold) {
    const exact = globOf(given.toLowerCase(), false)
    return text => exact(text.toLowerCase())
  }
  const pattern = given
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
