import type { CreateFunctionStmt, Node } from 'libpg-query'
import { pureExtensions } from './builtin-functions.ts'
import type { Relation, Routine, RowEvent } from './catalogue.ts'
import type { Context, ViewReading } from './context.ts'
import { isTemporary } from './context.ts'
import { readExpression } from './expression-reader.ts'
import { anything, nothing, union } from './flow.ts'
import type { Flow } from './flow.ts'
import { as, constantText } from './nodes.ts'
import { readPlpgsql } from './plpgsql.ts'
import { readQuery } from './query-reader.ts'
import { Reader, TooDeep } from './reader.ts'
import { Scope } from './scope.ts'
import { emptySummary } from './summary.ts'
import type { Summary } from './summary.ts'
import { readStatement } from './statement-reader.ts'
import type { Outcome } from './statement-reader.ts'

/** Reads the query of a view, which was printed under the catalogue's own path. */
export function readViewDefinition(context: Context, relation: Relation, path: readonly string[]): ViewReading {
  const reader = new Reader(context, { path: context.catalogue.path, runPath: path })
  const columns = guarded(reader, () => {
    const statement = parseOne(reader, relation.definition, `view ${relation.ref}`)
    const query = as(statement, 'ViewStmt')?.query ?? as(statement, 'CreateTableAsStmt')?.query ?? statement
    if (!query) return undefined
    const result = readQuery(reader, query, null)
    return result.open === null && result.columns.length === relation.columns.length ? result.columns : undefined
  })
  return { summary: reader.sink.finish(), columns: columns ?? relation.columns.map(() => ({ flow: anything })) }
}

/** Reads what a function does. Its result depends on its arguments and on all that it reads. */
export function readRoutine(
  context: Context,
  routine: Routine,
  path: readonly string[],
  row: Relation | null = null,
): Summary {
  if (context.trusted.has(routine.ref) || context.trusted.has(routine.name))
    return { ...emptySummary, reads: routine.volatility === 'immutable' ? nothing : anything }
  if (routine.kind === 'aggregate') {
    const reader = new Reader(context, { path })
    for (const oid of routine.parts) {
      const part = context.catalogue.routineByOid(oid)
      if (part) reader.sink.merge(context.routine(part, path), null, nothing)
    }
    return reader.sink.finish()
  }
  if (routine.definition === null) {
    if (routine.extension !== null && pureExtensions.has(routine.extension)) return emptySummary
    return opaque(`function ${routine.ref} is written in ${routine.language}, which cannot be read`)
  }
  const reader = new Reader(context, { path, inBody: true })
  const statement = guarded(reader, () => parseOne(reader, routine.definition, `function ${routine.ref}`))
  const definition = as(statement, 'CreateFunctionStmt')
  if (!definition) return opaque(`function ${routine.ref} cannot be read`)
  return readFunctionBody(context, definition, routine.definition, path, routine, row)
}

/** What the body of a CREATE FUNCTION does when it is called. `isDefinition`: it is only being made. */
export function readFunctionBody(
  context: Context,
  definition: CreateFunctionStmt,
  text: string,
  path: readonly string[],
  routine: Pick<Routine, 'ref' | 'owner'>,
  row: Relation | null = null,
  isDefinition = false,
): Summary {
  const options = definition.options ?? []
  const option = (name: string) =>
    options.map(node => as(node, 'DefElem')).find(element => element?.defname === name)?.arg
  const language = (as(option('language'), 'String')?.sval ?? 'sql').toLowerCase()
  let own = path
  for (const node of options) {
    const element = as(node, 'DefElem')
    const set = element?.defname === 'set' ? as(element.arg, 'VariableSetStmt') : undefined
    if (set?.name?.toLowerCase() === 'search_path') {
      if (set.kind !== 'VAR_SET_VALUE') return opaque(`function ${routine.ref} takes its search_path from elsewhere`)
      own = effectivePath(
        context,
        (set.args ?? []).map(arg => constantText(arg) ?? ''),
        routine.owner,
      )
    } else if (set?.name === 'role' || set?.name === 'session_authorization')
      return opaque(`function ${routine.ref} changes its role`)
  }
  const reader = new Reader(context, { path: own, inBody: true, isDefinition, row })
  let last: Outcome | undefined
  guarded(reader, () => {
    for (const node of definition.parameters ?? []) {
      const value = as(node, 'FunctionParameter')?.defexpr
      if (value) reader.sink.read(readExpression(reader, value, new Scope(null)))
    }
    if (definition.sql_body) {
      for (const statement of atomicStatements(definition.sql_body)) last = readStatement(reader, statement)
      return
    }
    const [body, link] = as(option('as'), 'List')?.items ?? []
    const source = as(body, 'String')?.sval
    if (source === undefined || link !== undefined) reader.sink.unknown(`function ${routine.ref} has no body to read`)
    else if (language === 'sql') last = readSqlBody(reader, source, routine.ref)
    else if (language === 'plpgsql') readPlpgsql(reader, text, `function ${routine.ref}`)
    else reader.sink.unknown(`function ${routine.ref} is written in ${language}, which cannot be read`)
  })
  const summary = reader.sink.finish()
  const result = last?.output.kind === 'result' ? last.output.result : undefined
  return result && !result.open && summary.unknown.length === 0 ? { ...summary, result } : summary
}

function atomicStatements(body: Node): readonly Node[] {
  const returned = as(body, 'ReturnStmt')
  if (returned) return [body]
  const list = as(body, 'List')?.items
  if (!list) return [body]
  return list.flatMap(atomicStatements)
}

function readSqlBody(reader: Reader, source: string, ref: string): Outcome | undefined {
  const parsed = reader.context.parse(source)
  if (parsed.kind !== 'parsed') {
    reader.sink.unknown(`function ${ref} cannot be read`)
    return undefined
  }
  let last: Outcome | undefined
  for (const { stmt } of parsed.statements) if (stmt) last = readStatement(reader, stmt)
  return last
}

/** What a search_path setting comes to: pg_catalog and the temporary schema first where they are not in it. */
export function effectivePath(context: Context, names: readonly string[], user: string): readonly string[] {
  const path: string[] = []
  for (const name of names.flatMap(splitPath)) {
    if (name === '$user') path.push(user)
    else if (name === 'pg_temp') {
      if (context.temporarySchema !== undefined) path.push(context.temporarySchema)
    } else path.push(name)
  }
  if (!path.includes('pg_catalog')) path.unshift('pg_catalog')
  const temporary = context.temporarySchema
  if (temporary !== undefined && !names.includes('pg_temp') && !path.some(isTemporary)) path.unshift(temporary)
  return path
}

// SET search_path = a, b gives two values; a function's stored setting, or a string, may hold several in one
function splitPath(text: string): string[] {
  if (!text.includes(',')) return [text.replace(/^\s*"(.*)"\s*$/, '$1').trim()]
  return text.split(',').map(part => part.trim().replace(/^"(.*)"$/, '$1'))
}

/** Rules and triggers that an event on this relation sets off, its partitions' and children's too. */
export function readRelationEvent(
  context: Context,
  relation: Relation,
  event: RowEvent,
  path: readonly string[],
): Summary {
  const reader = new Reader(context, { path, inBody: true })
  const { sink } = reader
  const { catalogue } = context
  // moving a row to another partition deletes it here and inserts it there
  const events: readonly RowEvent[] =
    relation.partitioned && event === 'update' ? ['update', 'delete', 'insert'] : [event]
  const kin = [
    relation,
    ...(event === 'insert' && !relation.partitioned ? [] : catalogue.descendants(relation)),
    ...catalogue.ancestors(relation).filter(parent => parent.partitioned),
  ]
  for (const table of kin) {
    const row = rowOf(context, table)
    for (const trigger of catalogue.triggers(table)) {
      if (!trigger.enabled || !trigger.events.some(one => events.includes(one))) continue
      const routine = catalogue.routineByOid(trigger.routine)
      const label = `trigger ${trigger.name} on ${table.ref}`
      guarded(reader, () => {
        const condition = as(parseOne(reader, trigger.definition, label), 'CreateTrigStmt')?.whenClause
        if (condition) sink.read(readExpression(reader, condition, new Scope(null)))
      })
      if (routine) {
        sink.call(routine.ref)
        sink.merge(context.routine(routine, path, table), label, row)
      } else if (!builtinTriggers.has(trigger.routine)) sink.unknown(`${label} runs a function that is not known`)
    }
    for (const rule of catalogue.rules(table)) {
      if (!events.some(one => one === rule.event)) continue
      const label = `rule ${rule.name} on ${table.ref}`
      const inner = new Reader(context, { path: catalogue.path, runPath: path, inBody: true, row: table })
      guarded(inner, () => {
        const definition = as(parseOne(inner, rule.definition, label), 'RuleStmt')
        if (definition?.whereClause) readExpression(inner, definition.whereClause, new Scope(null))
        for (const action of definition?.actions ?? []) readStatement(inner, action)
      })
      sink.merge(inner.sink.finish(), label, row)
    }
  }
  return sink.finish()
}

// suppress_redundant_updates_trigger, tsvector_update_trigger(_column), unique_key_recheck: pg_proc.dat
const builtinTriggers: ReadonlySet<number> = new Set([1291, 3752, 3753, 1250])

export function rowOf(context: Context, relation: Relation): Flow {
  let flow = nothing
  for (const column of relation.columns) flow = union(flow, context.flowOf(column))
  return flow
}

export function readImplicit(
  context: Context,
  relation: Relation,
  when: 'read' | 'write',
  path: readonly string[],
): Summary {
  const reader = new Reader(context, { path: context.catalogue.path, runPath: path, inBody: true })
  const expressions =
    when === 'read'
      ? relation.onRead
      : [
          ...relation.onWrite,
          ...relation.columns.flatMap(column => [column.default ?? [], column.generated ?? []].flat()),
        ]
  for (const expression of expressions)
    guarded(reader, () => {
      const select = parseOne(reader, `SELECT ${expression}`, `an expression of ${relation.ref}`)
      if (select) readQuery(reader, select, null)
    })
  const summary = reader.sink.finish()
  // drawing a number for a new row is part of inserting it
  return { ...summary, effects: summary.effects.filter(effect => effect.verb !== 'nextval') }
}

function parseOne(reader: Reader, text: string | null, what: string): Node | undefined {
  const parsed = text === null ? undefined : reader.context.parse(text)
  if (parsed?.kind === 'parsed' && parsed.statements.length === 1) return parsed.statements[0]?.stmt
  reader.sink.unknown(`${what} cannot be read`)
  return undefined
}

/** A definition that nests too deeply is one that cannot be read. */
function guarded<Value>(reader: Reader, read: () => Value): Value | undefined {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof TooDeep) && !(error instanceof RangeError)) throw error
    reader.sink.unknown('a definition nests too deeply to be read')
    return undefined
  }
}

function opaque(why: string): Summary {
  return { ...emptySummary, unknown: [why], reads: anything }
}
