import type {
  CopyStmt,
  CreateTableAsStmt,
  DefElem,
  DropStmt,
  ExplainStmt,
  Node,
  RangeVar,
  SelectStmt,
} from 'libpg-query'
import type { Output } from './analysed.ts'
import { resolvingSettings } from './builtin-functions.ts'
import type { Relation } from './catalogue.ts'
import { refOf } from './catalogue.ts'
import { isTemporary } from './context.ts'
import { readDefinition } from './ddl-reader.ts'
import { readExpressions } from './expression-reader.ts'
import { anything, nothing, union, unionAll } from './flow.ts'
import type { Flow } from './flow.ts'
import { as, namesOf, tagOf } from './nodes.ts'
import { readPlpgsql } from './plpgsql.ts'
import { findRelation, readQuery, readSelect, relationItem } from './query-reader.ts'
import type { Reader } from './reader.ts'
import { applyCasts, resolveRoutines, callRoutine } from './routines.ts'
import { flowOfResult, noResult, Scope, wholeRow } from './scope.ts'
import type { Result } from './scope.ts'
import type { Summary } from './summary.ts'
import { writeRows } from './write-reader.ts'

/** A change that the reader of the whole text turns into one of the session. */
export type NamedChange =
  | { readonly kind: 'prepare'; readonly name: string; readonly query: Node }
  | { readonly kind: 'declare'; readonly name: string; readonly query: Node }
  | { readonly kind: 'execute'; readonly name: string }
  | { readonly kind: 'deallocate'; readonly name: string | null }
  | { readonly kind: 'close'; readonly name: string | null }
  | { readonly kind: 'discard' }

/** What a statement is and gives, besides what its reader's sink has collected. */
export interface Outcome {
  readonly verb: string
  readonly output: RawOutput
  readonly changes: readonly NamedChange[]
  readonly transaction: boolean
}

export type RawOutput =
  | { readonly kind: 'none' | 'server' | 'unknown' }
  | { readonly kind: 'result'; readonly result: Result }
  | ({ readonly kind: 'copy-out'; readonly result: Result } & Omit<
      Extract<Output, { kind: 'copy-out' }>,
      'columns' | 'kind'
    >)
  | { readonly kind: 'prepared' | 'cursor'; readonly name: string }

const silent: RawOutput = { kind: 'none' }
const server: RawOutput = { kind: 'server' }

function plain(verb: string, output: RawOutput = silent): Outcome {
  return { verb, output, changes: [], transaction: false }
}

/** Statements with values, which may be cast. */
const casting: ReadonlySet<string> = new Set([
  ...[
    'SelectStmt',
    'ReturnStmt',
    'InsertStmt',
    'UpdateStmt',
    'DeleteStmt',
    'MergeStmt',
    'CopyStmt',
    'CreateTableAsStmt',
  ],
  ...['ExecuteStmt', 'CallStmt', 'DeclareCursorStmt', 'AlterTableStmt', 'RefreshMatViewStmt'],
])

/** Reads any statement. `text` is its source where the body of a DO block has to be found in it. */
export function readStatement(reader: Reader, node: Node, text?: string): Outcome {
  const { sink, context } = reader
  const tag = tagOf(node)
  if (casting.has(tag)) applyCasts(reader)
  switch (tag) {
    case 'SelectStmt': {
      const select = as(node, tag) ?? {}
      const into = reader.inBody ? undefined : intoOf(select)
      if (into) return readInto(reader, into.select, into.range, 'select')
      return plain('select', { kind: 'result', result: readSelect(reader, select, null) })
    }
    case 'ReturnStmt': {
      const value = as(node, tag)?.returnval
      return plain('select', {
        kind: 'result',
        result: { ...noResult, columns: [{ name: '', flow: readExpressions(reader, [value], new Scope(null)) }] },
      })
    }
    case 'InsertStmt':
    case 'UpdateStmt':
    case 'DeleteStmt':
    case 'MergeStmt': {
      const result = readQuery(reader, node, null)
      const verb = tag.slice(0, -4).toLowerCase()
      return plain(verb, result.columns.length > 0 || result.open ? { kind: 'result', result } : silent)
    }
    case 'CopyStmt':
      return readCopy(reader, as(node, tag) ?? {})
    case 'TruncateStmt': {
      const truncate = as(node, tag)
      readTruncate(
        reader,
        (truncate?.relations ?? []).map(one => as(one, 'RangeVar') ?? {}),
        truncate?.behavior === 'DROP_CASCADE',
      )
      return plain('truncate')
    }
    case 'CreateTableAsStmt':
      return readCreateAs(reader, as(node, tag) ?? {})
    case 'ExplainStmt':
      return readExplain(reader, as(node, tag) ?? {})
    case 'PrepareStmt': {
      const prepare = as(node, tag)
      if (!prepare?.query) return plain('prepare')
      return { ...plain('prepare'), changes: [{ kind: 'prepare', name: prepare.name ?? '', query: prepare.query }] }
    }
    case 'ExecuteStmt': {
      const execute = as(node, tag)
      const name = execute?.name ?? ''
      readExpressions(reader, execute?.params, new Scope(null))
      return {
        verb: 'execute',
        output: { kind: 'prepared', name },
        changes: [{ kind: 'execute', name }],
        transaction: false,
      }
    }
    case 'DeallocateStmt': {
      const name = as(node, tag)?.name
      return { ...plain('deallocate'), changes: [{ kind: 'deallocate', name: name ?? null }] }
    }
    case 'DeclareCursorStmt': {
      const declare = as(node, tag)
      if (!declare?.query) return plain('declare')
      readQuery(reader, declare.query, null)
      return {
        ...plain('declare'),
        changes: [{ kind: 'declare', name: declare.portalname ?? '', query: declare.query }],
      }
    }
    case 'FetchStmt': {
      const fetch = as(node, tag)
      const name = fetch?.portalname ?? ''
      return plain(
        fetch?.ismove === true ? 'move' : 'fetch',
        fetch?.ismove === true ? silent : { kind: 'cursor', name },
      )
    }
    case 'ClosePortalStmt':
      return { ...plain('close'), changes: [{ kind: 'close', name: as(node, tag)?.portalname ?? null }] }
    case 'DoStmt': {
      readDo(reader, as(node, tag)?.args, text)
      return plain('do')
    }
    case 'CallStmt': {
      const call = as(node, tag)?.funccall
      return plain('call', { kind: 'result', result: readCallStatement(reader, call?.funcname, call?.args) })
    }
    case 'TransactionStmt': {
      const kind = as(node, tag)?.kind ?? ''
      const verb = transactionVerbs[kind] ?? 'transaction'
      if (kind === 'TRANS_STMT_PREPARE' || kind.endsWith('_PREPARED')) {
        sink.effect({ verb: 'prepare-transaction' })
        return plain(verb)
      }
      return { ...plain(verb), transaction: true }
    }
    case 'VariableSetStmt': {
      const set = as(node, tag)
      const name = (set?.name ?? '').toLowerCase()
      const verb = set?.kind === 'VAR_RESET' || set?.kind === 'VAR_RESET_ALL' ? 'reset' : 'set'
      sink.effect({ verb })
      readExpressions(reader, set?.args, new Scope(null))
      if (name === 'role' || name === 'session_authorization') sink.effect({ verb: 'set-role' })
      if (set?.kind === 'VAR_RESET_ALL' || resolvingSettings.has(name)) {
        sink.change('resolution')
        if (reader.inBody) sink.unknown(`it sets ${name}, so what follows cannot be resolved`)
      }
      return plain(verb)
    }
    case 'VariableShowStmt':
      sink.effect({ verb: 'show' })
      return plain('show', server)
    case 'DiscardStmt': {
      sink.effect({ verb: 'discard' })
      sink.change('resolution')
      return { ...plain('discard'), changes: [{ kind: 'discard' }] }
    }
    case 'ConstraintsSetStmt':
      sink.effect({ verb: 'set' })
      return plain('set')
    case 'ListenStmt':
      sink.effect({ verb: 'listen' })
      return plain('listen')
    case 'UnlistenStmt':
      sink.effect({ verb: 'unlisten' })
      return plain('unlisten')
    case 'NotifyStmt':
      sink.effect({ verb: 'notify' })
      return plain('notify')
    case 'LockStmt': {
      const lock = as(node, tag)
      const verb = (lock?.mode ?? 8) <= 3 ? 'lock-shared' : 'lock'
      for (const one of lock?.relations ?? []) {
        const relation = findRelation(reader, as(one, 'RangeVar') ?? {})
        if (relation) sink.effect({ verb, relation })
      }
      return plain('lock')
    }
    case 'VacuumStmt': {
      const vacuum = as(node, tag)
      const verb = vacuum?.is_vacuumcmd === true ? 'vacuum' : 'analyze'
      for (const one of vacuum?.rels ?? []) {
        const range = as(one, 'VacuumRelation')?.relation
        const relation = range ? findRelation(reader, range) : undefined
        if (relation) {
          sink.effect({ verb, relation })
          sink.merge(context.implicit(relation, 'write', reader.runPath), `table ${relation.ref}`, nothing)
        }
      }
      if (!vacuum?.rels) sink.effect({ verb })
      return plain(verb)
    }
    case 'CheckPointStmt':
      sink.effect({ verb: 'checkpoint' })
      return plain('checkpoint')
    case 'LoadStmt':
      sink.effect({ verb: 'load' })
      sink.unknown('LOAD runs a library of the server')
      return plain('load')
    case 'DropStmt':
      return readDrop(reader, as(node, tag) ?? {})
    case 'RefreshMatViewStmt': {
      const range = as(node, tag)?.relation
      const relation = range ? findRelation(reader, range) : undefined
      if (relation) {
        sink.effect({ verb: 'refresh', relation })
        sink.merge(context.view(relation, reader.runPath).summary, `view ${relation.ref}`, nothing)
      }
      return plain('refresh')
    }
    default:
      return plain(readDefinition(reader, node, tag, text))
  }
}

const transactionVerbs: Readonly<Record<string, string>> = {
  TRANS_STMT_BEGIN: 'begin',
  TRANS_STMT_START: 'begin',
  TRANS_STMT_COMMIT: 'commit',
  TRANS_STMT_ROLLBACK: 'rollback',
  TRANS_STMT_SAVEPOINT: 'savepoint',
  TRANS_STMT_RELEASE: 'release',
  TRANS_STMT_ROLLBACK_TO: 'rollback',
  TRANS_STMT_PREPARE: 'prepare-transaction',
  TRANS_STMT_COMMIT_PREPARED: 'commit',
  TRANS_STMT_ROLLBACK_PREPARED: 'rollback',
}

/** SELECT … INTO: the clause stands in the first SELECT of a set operation. */
function intoOf(select: SelectStmt): { readonly range: RangeVar; readonly select: SelectStmt } | undefined {
  const { intoClause, ...rest } = select
  if (intoClause?.rel) return { range: intoClause.rel, select: rest }
  const inner = select.larg ? intoOf(select.larg) : undefined
  return inner ? { range: inner.range, select: { ...select, larg: inner.select } } : undefined
}

function readInto(reader: Reader, select: SelectStmt, range: RangeVar, verb: string): Outcome {
  makeTableFrom(reader, readSelect(reader, select, null), range, 'table')
  return plain(verb)
}

function makeTableFrom(
  reader: Reader,
  result: Result,
  range: RangeVar,
  object: string,
  columnNames?: readonly Node[],
): void {
  const ref = newRef(reader, range)
  reader.sink.effect({ verb: 'create', ref, object })
  reader.sink.change('catalogue')
  if (range.relpersistence === 't') reader.sink.change('resolution')
  // a materialized view's definition stays in the catalogue, so its columns are known for what they hold
  if (object === 'matview') return
  if (result.open) reader.sink.carry(null, ref, flowOfResult(result))
  const names = namesOf(columnNames)
  for (const [i, { name, flow }] of result.columns.entries())
    reader.sink.carry(`${ref}.${refOf(names[i] ?? name)}`, ref, flow)
}

/** Where an unqualified new relation goes: the temporary schema, or the first of the path that is no system's. */
export function newRef(reader: Reader, range: RangeVar): string {
  const name = range.relname ?? ''
  const temporary = reader.context.temporarySchema ?? 'pg_temp'
  if (range.relpersistence === 't') return refOf(temporary, name)
  if (range.schemaname !== undefined) return refOf(range.schemaname === 'pg_temp' ? temporary : range.schemaname, name)
  return refOf(creationSchema(reader), name)
}

export function creationSchema(reader: Reader): string {
  return reader.path.find(schema => schema !== 'pg_catalog' && !isTemporary(schema)) ?? 'public'
}

function readCreateAs(reader: Reader, create: CreateTableAsStmt): Outcome {
  const range = create.into?.rel ?? {}
  const object = create.objtype === 'OBJECT_MATVIEW' ? 'matview' : 'table'
  const execute = as(create.query, 'ExecuteStmt')
  if (execute) {
    reader.sink.unknown('CREATE TABLE AS EXECUTE: what the prepared statement gives is only known when it runs')
    makeTableFrom(reader, { ...noResult, open: anything }, range, object)
    return { ...plain('create'), changes: [{ kind: 'execute', name: execute.name ?? '' }] }
  }
  makeTableFrom(
    reader,
    create.query ? readQuery(reader, create.query, null) : noResult,
    range,
    object,
    create.into?.colNames,
  )
  return plain('create')
}

function optionOf(options: readonly Node[] | undefined, name: string): DefElem | undefined {
  for (const node of options ?? []) {
    const element = as(node, 'DefElem')
    if (element?.defname?.toLowerCase() === name) return element
  }
  return undefined
}

function optionText(element: DefElem | undefined): string | undefined {
  const arg = element?.arg
  if (!arg) return undefined
  return (
    (as(arg, 'String') ? (as(arg, 'String')?.sval ?? '') : undefined) ??
    (as(arg, 'Boolean') ? String(as(arg, 'Boolean')?.boolval === true) : undefined) ??
    (as(arg, 'Integer') ? String(as(arg, 'Integer')?.ival ?? 0) : undefined) ??
    namesOf(as(arg, 'TypeName')?.names).at(-1)
  )
}

/** A boolean option: given without a value it is on (defGetBoolean). */
function isOn(element: DefElem | undefined): boolean {
  if (!element) return false
  const text = optionText(element)?.toLowerCase()
  return text === undefined || !['false', 'off', '0', 'no'].includes(text)
}

function readExplain(reader: Reader, explain: ExplainStmt): Outcome {
  const { query } = explain
  if (!query) return plain('explain', server)
  const fork = reader.fork()
  const inner = readStatement(fork, query)
  reader.parameterCount = Math.max(reader.parameterCount, fork.parameterCount)
  const summary = fork.sink.finish()
  const analyze = (explain.options ?? []).some(node => {
    const element = as(node, 'DefElem')
    return element?.defname?.toLowerCase() === 'analyze' && isOn(element)
  })
  reader.sink.effect({ verb: 'explain' })
  reader.sink.merge(analyze ? summary : planningOnly(summary), null, nothing)
  // A plan shows constants, and what functions gave that were worked out while planning.
  const called = readsOfCalls(reader, summary)
  const executes = inner.changes.some(change => change.kind === 'execute')
  const output: RawOutput = executes
    ? { kind: 'unknown' }
    : called === nothing
      ? server
      : { kind: 'result', result: { ...noResult, columns: [{ name: 'QUERY PLAN', flow: called }] } }
  return {
    verb: 'explain',
    output,
    changes: inner.changes.filter(change => change.kind === 'execute'),
    transaction: false,
  }
}

/** Without ANALYZE nothing runs but functions that the planner works out beforehand. */
function planningOnly(summary: Summary): Summary {
  return {
    ...summary,
    effects: summary.effects.map(effect =>
      effect.through.some(step => step.startsWith('function ')) &&
      !effect.through.some(step => step.startsWith('trigger '))
        ? effect
        : { ...effect, verb: 'explain', where: 'none' as const },
    ),
    carries: [],
    compares: summary.compares,
    changes: [],
  }
}

function readsOfCalls(reader: Reader, summary: Summary): Flow {
  const own = summary.functions.filter(name => !name.startsWith('pg_catalog.'))
  if (summary.unknown.length > 0) return anything
  let flow = nothing
  for (const ref of own)
    for (const routine of reader.context.catalogue.routines(ref.slice(ref.lastIndexOf('.') + 1)))
      if (routine.ref === ref)
        flow = union(flow, { ...reader.context.routine(routine, reader.runPath).reads, variable: false })
  return flow
}

function readCopy(reader: Reader, copy: CopyStmt): Outcome {
  const { sink } = reader
  const place =
    copy.filename === undefined ? null : copy.is_program === true ? `program ${copy.filename}` : `file ${copy.filename}`
  const columns = namesOf(copy.attlist)
  if (copy.is_from === true) {
    const relation = copy.relation ? findRelation(reader, copy.relation) : undefined
    if (relation) {
      sink.effect({ verb: 'copy-in', relation, columns: columns.length > 0 ? columns : 'all' })
      writeRows(reader, relation, { verb: 'insert', columns: columns.length > 0 ? columns : 'all', where: 'none' })
    }
    if (copy.whereClause) readExpressions(reader, [copy.whereClause], new Scope(null))
    if (place !== null) {
      sink.effect({ verb: 'server-file' })
      sink.unknown(`COPY FROM ${copy.is_program === true ? 'PROGRAM runs a program on' : 'reads a file of'} the server`)
    }
    return plain('copy')
  }
  let result: Result = noResult
  if (copy.query) {
    result = readQuery(reader, copy.query, null)
    sink.effect({ verb: 'copy-out', columns: 'unknown' })
  } else if (copy.relation) {
    const relation = findRelation(reader, copy.relation)
    if (relation) {
      // without children: COPY of a parent gives its own rows
      const item = relationItem(reader, relation, {
        name: relation.name,
        aliased: false,
        children: relation.partitioned,
      })
      const chosen = columns.length === 0 ? item.columns : item.columns.filter(column => columns.includes(column.name))
      const ordered =
        columns.length === 0
          ? chosen
          : columns.map(name => chosen.find(column => column.name === name)).filter(one => one !== undefined)
      if (columns.length === 0) wholeRow(item)
      for (const column of ordered) if (column.column) item.use?.columns.add(column.column)
      result = {
        ...noResult,
        columns: ordered
          .filter(column => columns.length > 0 || column.column?.generated === null)
          .map(({ name, flow, direct }) => ({ name, flow, direct })),
      }
      sink.effect({ verb: 'copy-out', relation, columns: columns.length > 0 ? columns : 'all', children: false })
    } else result = { ...noResult, open: anything }
  }
  if (place !== null) {
    sink.effect({ verb: 'server-file' })
    sink.unknown(`COPY TO ${copy.is_program === true ? 'PROGRAM runs a program on' : 'writes a file of'} the server`)
    sink.carry(null, place, flowOfResult(result))
    return plain('copy')
  }
  const format = optionText(optionOf(copy.options, 'format'))?.toLowerCase() ?? 'text'
  const isCsv = format === 'csv'
  const quote = optionText(optionOf(copy.options, 'quote')) ?? '"'
  const isKnown = (copy.options ?? []).every(node => copyOptions.has(as(node, 'DefElem')?.defname ?? ''))
  if (!isKnown || (format !== 'text' && format !== 'csv' && format !== 'binary'))
    return plain('copy', { kind: 'unknown' })
  return plain('copy', {
    kind: 'copy-out',
    result,
    format,
    delimiter: optionText(optionOf(copy.options, 'delimiter')) ?? (isCsv ? ',' : '\t'),
    nullText: optionText(optionOf(copy.options, 'null')) ?? (isCsv ? '' : '\\N'),
    quote,
    escape: optionText(optionOf(copy.options, 'escape')) ?? quote,
    header: isOn(optionOf(copy.options, 'header')),
    encoding: optionText(optionOf(copy.options, 'encoding')) ?? null,
  })
}

/** Those of COPY TO in 13 to 18; another may write rows otherwise. */
const copyOptions: ReadonlySet<string> = new Set([
  'format',
  'delimiter',
  'null',
  'header',
  'quote',
  'escape',
  'force_quote',
  'encoding',
])

function readTruncate(reader: Reader, ranges: readonly RangeVar[], cascade: boolean): void {
  const { context, sink } = reader
  const waiting: (readonly [Relation, boolean])[] = []
  for (const range of ranges) {
    const relation = findRelation(reader, range)
    if (relation) {
      truncateOne(reader, relation, range.inh === true)
      waiting.push([relation, range.inh === true])
    }
  }
  if (!cascade) return
  const seen = new Set(waiting.map(([relation]) => relation))
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [relation, children] = next
    for (const table of [relation, ...(children ? context.catalogue.descendants(relation) : [])])
      for (const key of context.catalogue.referencing(table)) {
        const from = context.catalogue.relationByOid(key.from)
        if (!from || seen.has(from)) continue
        seen.add(from)
        const fork = reader.fork()
        truncateOne(fork, from, true)
        sink.merge(fork.sink.finish(), `foreign key ${key.name} on ${from.ref}`, nothing)
        waiting.push([from, true])
      }
  }
}

/** TRUNCATE takes every row away: what is said of DELETE without WHERE holds for it too. */
function truncateOne(reader: Reader, relation: Relation, children: boolean): void {
  const { sink, context } = reader
  sink.effect({ verb: 'truncate', relation, children })
  sink.effect({ verb: 'delete', relation, where: 'missing', children })
  sink.merge(context.event(relation, 'truncate', reader.runPath), null, nothing)
}

function readDrop(reader: Reader, drop: DropStmt): Outcome {
  const { sink, context } = reader
  const kind = drop.removeType ?? ''
  const object = objectName(kind)
  sink.change('catalogue')
  if (kind === 'OBJECT_SCHEMA') sink.change('resolution')
  for (const node of drop.objects ?? []) {
    const names = namesOf(as(node, 'List')?.items)
    if (relationKinds.has(kind)) {
      const [name = '', schema] = names.toReversed()
      const relation = context.relation(schema, name, reader.path)
      sink.effect({
        verb: 'drop',
        object,
        ...(relation ? { relation } : { ref: refOf(...(schema === undefined ? [name] : [schema, name])) }),
      })
      // its rows are gone as well
      if (relation?.kind === 'table') sink.effect({ verb: 'delete', relation, where: 'missing' })
    } else if (onRelation.has(kind)) {
      const [, name = '', schema] = names.toReversed()
      const relation = context.relation(schema, name, reader.path)
      sink.effect({ verb: 'drop', object, relation: relation ?? null })
    } else if (kind === 'OBJECT_SCHEMA') {
      const name = as(node, 'String')?.sval ?? names.at(-1) ?? ''
      sink.effect({ verb: 'drop', object, ref: name })
      if (drop.behavior === 'DROP_CASCADE')
        for (const relation of context.catalogue.parts.relations)
          if (relation.schema === name && relation.kind !== 'index' && relation.kind !== 'composite') {
            sink.effect({ verb: 'drop', object: relation.kind, relation })
            if (relation.kind === 'table') sink.effect({ verb: 'delete', relation, where: 'missing' })
          }
    } else
      sink.effect({
        verb: 'drop',
        object,
        ref: names.length > 0 ? refOf(...names) : (as(node, 'String')?.sval ?? null),
      })
  }
  runEventTriggers(reader)
  return plain('drop')
}

const relationKinds = new Set([
  'OBJECT_TABLE',
  'OBJECT_VIEW',
  'OBJECT_MATVIEW',
  'OBJECT_SEQUENCE',
  'OBJECT_FOREIGN_TABLE',
  'OBJECT_INDEX',
])
const onRelation = new Set(['OBJECT_TRIGGER', 'OBJECT_RULE', 'OBJECT_POLICY'])

export function objectName(kind: string): string {
  return kind
    .replace(/^OBJECT_/, '')
    .toLowerCase()
    .replaceAll('_', '-')
}

export function runEventTriggers(reader: Reader): void {
  const { context, sink } = reader
  for (const { name, routine } of context.catalogue.parts.eventTriggers) {
    const found = context.catalogue.routineByOid(routine)
    if (found) sink.merge(context.routine(found, reader.runPath), `event trigger ${name}`, nothing)
    else sink.unknown(`event trigger ${name} runs a function that is not known`)
  }
}

function readDo(reader: Reader, args: readonly Node[] | undefined, text: string | undefined): void {
  const language = optionText(optionOf(args, 'language')) ?? 'plpgsql'
  const source = optionText(optionOf(args, 'as')) ?? ''
  const { sink } = reader
  sink.effect({ verb: 'do' })
  if (language !== 'plpgsql') {
    sink.unknown(`a DO block in ${language} cannot be read`)
    return
  }
  const fork = reader.forkBody()
  readPlpgsql(fork, text ?? `DO ${quoted(source)}`, 'the DO block')
  sink.merge(fork.sink.finish(), 'do block', nothing)
}

function quoted(source: string): string {
  let tag = '$body$'
  for (let i = 0; source.includes(tag); i++) tag = `$body${i}$`
  return `${tag}${source}${tag}`
}

function readCallStatement(
  reader: Reader,
  funcname: readonly Node[] | undefined,
  args: readonly Node[] | undefined,
): Result {
  const names = namesOf(funcname)
  const given = readExpressions(reader, args, new Scope(null))
  const { routines } = resolveRoutines(reader, names, args?.length ?? 0)
  reader.sink.effect({ verb: 'call' })
  if (routines.length === 0) {
    reader.sink.missing('function', names.join('.'))
    reader.sink.unknown(`procedure ${names.join('.')} is not known`)
    return { ...noResult, open: anything }
  }
  const flow = unionAll(routines.map(routine => callRoutine(reader, routine, given)))
  const [routine] = routines
  if (routines.length !== 1 || !routine) return { ...noResult, open: flow }
  return { ...noResult, columns: routine.outNames.map(name => ({ name, flow })) }
}
