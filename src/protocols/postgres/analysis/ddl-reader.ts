import type { ColumnDef, CreateFunctionStmt, Node, RangeVar, RenameStmt } from 'libpg-query'
import { pureExtensions } from './builtin-functions.ts'
import { refOf } from './catalogue.ts'
import type { Column, Relation } from './catalogue.ts'
import { readFunctionBody } from './definitions.ts'
import { readExpression } from './expression-reader.ts'
import { nothing } from './flow.ts'
import { as, namesOf } from './nodes.ts'
import type { Tag } from './nodes.ts'
import { readQuery, relationItem } from './query-reader.ts'
import { Reader } from './reader.ts'
import { resolveRoutines } from './routines.ts'
import { Scope } from './scope.ts'
import { asOwn } from './summary.ts'
import { creationSchema, newRef, objectName, readStatement, runEventTriggers } from './statement-reader.ts'
import { rowOf } from './definitions.ts'

/** Reads a statement that defines, alters or grants something, also what it will do later; returns its verb. */
export function readDefinition(reader: Reader, node: Node, tag: Tag, text: string | undefined): string {
  const { sink, context } = reader
  const definition = definitions[tag]
  if (!definition) {
    sink.effect({ verb: 'unknown' })
    sink.unknown(`${tag} is a statement that is not known`)
    return 'unknown'
  }
  const [verb, object] = definition
  sink.change('catalogue')
  const before = sink.effectCount
  switch (tag) {
    case 'CreateStmt': {
      const create = as(node, tag)
      if (create?.relation) {
        made(reader, create.relation, 'table')
        for (const element of create.tableElts ?? []) {
          const column = as(element, 'ColumnDef')
          if (column) carryDefaults(reader, column, newRef(reader, create.relation))
        }
      }
      break
    }
    case 'CreateDomainStmt':
      for (const one of as(node, tag)?.constraints ?? []) {
        const constraint = as(one, 'Constraint')
        if (constraint?.contype === 'CONSTR_DEFAULT' && constraint.raw_expr)
          carryDefault(reader, constraint.raw_expr, 'a domain', null)
      }
      break
    case 'AlterDomainStmt': {
      const def = as(node, tag)?.def
      if (def && !as(def, 'Constraint')) carryDefault(reader, def, 'a domain', null)
      break
    }
    case 'CreateForeignTableStmt': {
      const base = as(node, tag)?.base
      if (base?.relation) made(reader, base.relation, 'foreign-table')
      break
    }
    case 'ViewStmt': {
      const view = as(node, tag)
      if (view?.view) made(reader, view.view, 'view')
      if (view?.query) {
        const fork = reader.fork()
        readQuery(fork, view.query, null)
        sink.merge(asOwn({ ...fork.sink.finish(), carries: [] }), `view ${view.view?.relname ?? ''}`, nothing)
      }
      break
    }
    case 'IndexStmt':
    case 'CreateStatsStmt':
    case 'CreatePolicyStmt':
    case 'AlterPolicyStmt': {
      const range =
        tag === 'IndexStmt' ? as(node, tag)?.relation : tag === 'CreateStatsStmt' ? undefined : as(node, tag)?.table
      if (range) onTable(reader, range, verb, object)
      break
    }
    case 'CreateSeqStmt': {
      const range = as(node, tag)?.sequence
      if (range) made(reader, range, 'sequence')
      break
    }
    case 'AlterSeqStmt': {
      const range = as(node, tag)?.sequence
      if (range) onTable(reader, range, verb, object)
      break
    }
    case 'AlterTableStmt': {
      const alter = as(node, tag)
      if (alter?.relation)
        alterTable(reader, alter.relation, alter.cmds ?? [], objectName(alter.objtype ?? 'OBJECT_TABLE'))
      break
    }
    case 'RenameStmt': {
      const rename = as(node, tag)
      const renamed = objectName(rename?.renameType ?? '')
      if (rename?.relation) {
        onTable(reader, rename.relation, verb, renamed)
        onTable(reader, rename.relation, 'rename', renamed)
      } else for (const word of [verb, 'rename']) sink.effect({ verb: word, object: renamed })
      if (rename) renameValues(reader, rename)
      if (rename?.renameType === 'OBJECT_SCHEMA') sink.change('resolution')
      break
    }
    case 'AlterObjectSchemaStmt': {
      const range = as(node, tag)?.relation
      const moved = range && reader.context.relation(range.schemaname, range.relname ?? '', reader.path)
      if (moved) for (const column of moved.columns) moveValues(reader, column, as(node, tag)?.newschema ?? '')
      if (range) onTable(reader, range, verb, objectName(as(node, tag)?.objectType ?? ''))
      break
    }
    case 'AlterOwnerStmt': {
      const range = as(node, tag)?.relation
      if (range) onTable(reader, range, verb, object)
      break
    }
    case 'CreateFunctionStmt':
      createFunction(reader, as(node, tag) ?? {}, text)
      break
    case 'CreateTrigStmt': {
      const trigger = as(node, tag)
      const relation = trigger?.relation
        ? context.relation(trigger.relation.schemaname, trigger.relation.relname ?? '', reader.path)
        : undefined
      if (trigger?.relation) onTable(reader, trigger.relation, verb, object)
      const given = relation ? rowOf(context, relation) : nothing
      runsLater(reader, namesOf(trigger?.funcname), 0, `trigger ${trigger?.trigname ?? ''}`, given)
      break
    }
    case 'CreateEventTrigStmt':
      sink.effect({ verb, object })
      runsLater(reader, namesOf(as(node, tag)?.funcname), 0, `event trigger ${as(node, tag)?.trigname ?? ''}`, nothing)
      break
    case 'RuleStmt': {
      const rule = as(node, tag)
      if (rule?.relation) onTable(reader, rule.relation, verb, object)
      const fork = reader.forkBody()
      for (const action of rule?.actions ?? []) readStatement(fork, action)
      const done = { ...fork.sink.finish(), carries: [] }
      sink.merge(done, `rule ${rule?.rulename ?? ''}`, nothing)
      for (const { use, flow } of done.compares) sink.compare(use, { ...flow, variable: false })
      break
    }
    case 'CreateSchemaStmt': {
      const create = as(node, tag)
      sink.effect({ verb, object, ref: create?.schemaname ?? null })
      sink.change('resolution')
      for (const element of create?.schemaElts ?? []) readStatement(reader, element)
      break
    }
    case 'GrantStmt': {
      const grant = as(node, tag)
      const word = grant?.is_grant === true ? 'grant' : 'revoke'
      for (const one of grant?.objects ?? []) {
        const range = as(one, 'RangeVar')
        if (range) onTable(reader, range, word, objectName(grant?.objtype ?? ''))
      }
      if (sink.effectCount === before) sink.effect({ verb: word, object: objectName(grant?.objtype ?? '') })
      sink.change('resolution')
      return word
    }
    case 'GrantRoleStmt': {
      const word = as(node, tag)?.is_grant === true ? 'grant' : 'revoke'
      sink.effect({ verb: word, object: 'role' })
      sink.change('resolution')
      return word
    }
    case 'AlterDefaultPrivilegesStmt':
      sink.effect({ verb: 'grant', object: 'default-privileges' })
      break
    case 'CommentStmt': {
      const comment = as(node, tag)
      const names = namesOf(as(comment?.object, 'List')?.items)
      const [name, schema] = comment?.objtype === 'OBJECT_COLUMN' ? names.slice(0, -1).toReversed() : names.toReversed()
      const relation = name === undefined ? undefined : context.relation(schema, name, reader.path)
      sink.effect({ verb, object: objectName(comment?.objtype ?? ''), relation: relation ?? null })
      break
    }
    case 'AlterRoleStmt': {
      sink.effect({ verb, object })
      const options = (as(node, tag)?.options ?? []).map(option => as(option, 'DefElem')?.defname)
      if (options.some(option => option === 'password' || option === 'validUntil'))
        sink.effect({ verb, object: rolePassword })
      break
    }
    case 'CreateExtensionStmt': {
      const name = as(node, tag)?.extname ?? ''
      sink.effect({ verb, object, ref: name })
      if (!pureExtensions.has(name)) sink.unknown(`extension ${name} is not known`)
      break
    }
    case 'ImportForeignSchemaStmt':
      sink.effect({ verb, object })
      sink.effect({ verb: 'import', object })
      break
    case 'DropdbStmt':
      sink.effect({ verb, object, ref: as(node, tag)?.dbname ?? null })
      break
    case 'CreatedbStmt':
      sink.effect({ verb, object, ref: as(node, tag)?.dbname ?? null })
      break
    case 'ReindexStmt': {
      const range = as(node, tag)?.relation
      if (range) onTable(reader, range, verb, object)
      break
    }
    case 'ClusterStmt': {
      const range = as(node, tag)?.relation
      if (range) onTable(reader, range, verb, object)
      break
    }
    case 'DropOwnedStmt':
    case 'ReassignOwnedStmt':
      sink.effect({ verb, object })
      sink.unknown('it drops or moves all that a role owns')
      break
    case 'CreateSubscriptionStmt':
    case 'AlterSubscriptionStmt':
    case 'CreatePLangStmt':
    case 'CreateFdwStmt':
    case 'AlterFdwStmt':
    case 'AlterExtensionStmt':
    case 'AlterExtensionContentsStmt':
      sink.effect({ verb, object })
      sink.unknown(`what ${verb} ${object} brings in cannot be read`)
      break
    default:
      break
  }
  if (sink.effectCount === before) sink.effect({ verb, object })
  // defaults, checks, index expressions and the like run when rows are written, some of them at once
  if (tag !== 'CreateFunctionStmt' && tag !== 'ViewStmt' && tag !== 'RuleStmt' && tag !== 'CreateSchemaStmt')
    readEmbedded(reader, (node as Record<string, unknown>)[tag], relationOf(reader, node, tag))
  if (roleStatements.has(tag)) sink.change('resolution')
  runEventTriggers(reader)
  return verb
}

/** What a role logs in with, and until when: an object of its own, beside the role. */
export const rolePassword = 'role-password'

const roleStatements: ReadonlySet<Tag> = new Set<Tag>([
  'CreateRoleStmt',
  'AlterRoleStmt',
  'AlterRoleSetStmt',
  'DropRoleStmt',
  'AlterDatabaseSetStmt',
  'AlterSystemStmt',
])

function made(reader: Reader, range: RangeVar, object: string): void {
  reader.sink.effect({ verb: 'create', object, ref: newRef(reader, range) })
  if (range.relpersistence === 't') reader.sink.change('resolution')
}

function onTable(reader: Reader, range: RangeVar, verb: string, object: string): void {
  const { schemaname, relname = '' } = range
  const relation = reader.context.relation(schemaname, relname, reader.path)
  if (relation) reader.sink.effect({ verb, object, relation })
  else
    reader.sink.effect({
      verb,
      object,
      ref: schemaname === undefined ? refOf(creationSchema(reader), relname) : refOf(schemaname, relname),
    })
}

function alterTable(reader: Reader, range: RangeVar, commands: readonly Node[], object: string): void {
  const { sink, context } = reader
  onTable(reader, range, 'alter', object)
  const relation = context.relation(range.schemaname, range.relname ?? '', reader.path)
  for (const node of commands) {
    const command = as(node, 'AlterTableCmd')
    const column = as(command?.def, 'ColumnDef')
    // USING computes every row's value anew; a dropped column's values are gone
    if (
      relation &&
      ((command?.subtype === 'AT_AlterColumnType' && column?.raw_default) || command?.subtype === 'AT_DropColumn')
    )
      sink.effect({
        verb: 'update',
        relation,
        columns: command.name === undefined ? 'all' : [command.name],
        where: 'missing',
      })
    if (command?.subtype === 'AT_AlterColumnType' && column?.raw_default && relation && command.name !== undefined) {
      const into = context.catalogue.column(relation, command.name)
      const fork = reader.forkBody()
      const scope = new Scope(null)
      readExpression(fork, column.raw_default, scope)
      sink.carry(into ?? null, relation.ref, rowOf(context, relation))
    }
    if (relation && command?.subtype === 'AT_AddColumn' && column) carryDefaults(reader, column, relation.ref)
    if (relation && command?.subtype === 'AT_ColumnDefault' && command.def && command.name !== undefined)
      carryDefault(reader, command.def, relation.ref, command.name)
    if (command?.subtype === 'AT_AttachPartition' || command?.subtype === 'AT_DetachPartition') {
      const partition = as(command.def, 'PartitionCmd')?.name
      if (partition) onTable(reader, partition, 'alter', object)
    }
  }
}

function carryDefaults(reader: Reader, column: ColumnDef, table: string): void {
  for (const node of column.constraints ?? []) {
    const constraint = as(node, 'Constraint')
    if (constraint?.contype === 'CONSTR_DEFAULT' && constraint.raw_expr)
      carryDefault(reader, constraint.raw_expr, table, column.colname ?? '')
  }
}

/** What a default's functions give stands in every row that is made with it, some of them at once. */
function carryDefault(reader: Reader, expression: Node, place: string, column: string | null): void {
  const flow = readExpression(reader.forkBody(), expression, new Scope(null))
  reader.sink.carry(column === null ? null : `${place}.${refOf(column)}`, place, { ...flow, variable: false })
}

/** Masks go by name, so what a new name is given to counts as copied there. */
function renameValues(reader: Reader, { renameType, relation: range, subname = '', newname = '' }: RenameStmt): void {
  const { context } = reader
  if (renameType === 'OBJECT_SCHEMA') {
    for (const relation of context.catalogue.parts.relations)
      if (relation.schema === subname) for (const column of relation.columns) moveValues(reader, column, newname)
    return
  }
  const relation = range && context.relation(range.schemaname, range.relname ?? '', reader.path)
  if (!relation) return
  if (renameType !== 'OBJECT_COLUMN' && renameType !== 'OBJECT_ATTRIBUTE') {
    if (renameType === undefined || !relationKinds.has(renameType)) return
    for (const column of relation.columns) moveValues(reader, column, relation.schema, newname)
    return
  }
  for (const table of [relation, ...context.catalogue.descendants(relation)]) {
    const column = context.catalogue.column(table, subname)
    if (column) moveValues(reader, column, table.schema, table.name, newname)
  }
}

const relationKinds: ReadonlySet<string> = new Set([
  'OBJECT_TABLE',
  'OBJECT_FOREIGN_TABLE',
  'OBJECT_MATVIEW',
  'OBJECT_VIEW',
])

function moveValues(
  reader: Reader,
  column: Column,
  schema: string,
  table = column.relation.name,
  name = column.name,
): void {
  reader.sink.carry(refOf(schema, table, name), refOf(schema, table), reader.context.flowOf(column))
}

function createFunction(reader: Reader, create: CreateFunctionStmt, text: string | undefined): void {
  const { sink, context } = reader
  const names = namesOf(create.funcname)
  const ref = names.length > 1 ? refOf(...names) : refOf(creationSchema(reader), ...names)
  sink.effect({ verb: 'create', object: create.is_procedure === true ? 'procedure' : 'function', ref })
  if (text === undefined) {
    sink.unknown(`function ${ref} cannot be read`)
    return
  }
  const routine = { ref, owner: context.resolution.role }
  const body = readFunctionBody(context, create, text, reader.path, routine, null, true)
  // what it copies is told when it is called
  sink.merge(asOwn({ ...body, changes: [], carries: [] }), `function ${ref}`, nothing)
}

function runsLater(
  reader: Reader,
  names: readonly string[],
  count: number,
  label: string,
  given: ReturnType<typeof rowOf>,
): void {
  const { routines, builtin } = resolveRoutines(reader, names, count)
  if (routines.length === 0 && !builtin) {
    const name = names.at(-1) ?? ''
    if (
      ['suppress_redundant_updates_trigger', 'tsvector_update_trigger', 'tsvector_update_trigger_column'].includes(name)
    )
      return
    reader.sink.missing('function', names.join('.'))
    reader.sink.unknown(`function ${names.join('.')} is not known`)
  }
  for (const routine of routines) {
    reader.sink.call(routine.ref)
    // what it will copy is held against the columns it fills, from when it is in the catalogue on
    reader.sink.merge({ ...reader.context.routine(routine, reader.runPath), carries: [] }, label, given)
  }
}

/** The table that names in a definition's expressions are columns of. */
function relationOf(reader: Reader, node: Node, tag: Tag): Relation | undefined {
  const range =
    tag === 'IndexStmt' || tag === 'AlterTableStmt' || tag === 'CreateTrigStmt'
      ? as(node, tag)?.relation
      : tag === 'CreatePolicyStmt' || tag === 'AlterPolicyStmt'
        ? as(node, tag)?.table
        : undefined
  return range && reader.context.relation(range.schemaname, range.relname ?? '', reader.path)
}

/** Finds expressions and queries anywhere in a definition; names in them that are no columns stand for the table's. */
function readEmbedded(reader: Reader, value: unknown, relation: Relation | undefined): void {
  const fork = reader.forkBody()
  const names = new Scope(null)
  if (relation)
    names.items.push(
      relationItem(new Reader(reader.context), relation, { name: relation.name, aliased: false, children: false }),
    )
  walk(fork, value, names)
  reader.sink.merge({ ...fork.sink.finish(), carries: [] }, null, nothing)
}

const expressionTags: ReadonlySet<string> = new Set([
  'FuncCall',
  'A_Expr',
  'SubLink',
  'TypeCast',
  'BoolExpr',
  'CaseExpr',
  'CoalesceExpr',
  'SelectStmt',
])

function walk(reader: Reader, value: unknown, scope: Scope): void {
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value)) {
    for (const item of value) walk(reader, item, scope)
    return
  }
  for (const [key, part] of Object.entries(value)) {
    if (expressionTags.has(key)) readExpression(reader, value as Node, scope)
    else walk(reader, part, scope)
  }
}

// What is not listed counts as unknown.
const definitions: Readonly<Partial<Record<Tag, readonly [verb: string, object: string]>>> = {
  AccessPriv: ['grant', 'privilege'],
  AlterCollationStmt: ['alter', 'collation'],
  AlterDatabaseRefreshCollStmt: ['alter', 'database'],
  AlterDatabaseSetStmt: ['alter', 'database'],
  AlterDatabaseStmt: ['alter', 'database'],
  AlterDefaultPrivilegesStmt: ['grant', 'default-privileges'],
  AlterDomainStmt: ['alter', 'domain'],
  AlterEnumStmt: ['alter', 'type'],
  AlterEventTrigStmt: ['alter', 'event-trigger'],
  AlterExtensionContentsStmt: ['alter', 'extension'],
  AlterExtensionStmt: ['alter', 'extension'],
  AlterFdwStmt: ['alter', 'foreign-data-wrapper'],
  AlterForeignServerStmt: ['alter', 'server'],
  AlterFunctionStmt: ['alter', 'function'],
  AlterObjectDependsStmt: ['alter', 'object'],
  AlterObjectSchemaStmt: ['alter', 'object'],
  AlterOpFamilyStmt: ['alter', 'operator-family'],
  AlterOperatorStmt: ['alter', 'operator'],
  AlterOwnerStmt: ['alter', 'object'],
  AlterPolicyStmt: ['alter', 'policy'],
  AlterPublicationStmt: ['alter', 'publication'],
  AlterRoleSetStmt: ['alter', 'role'],
  AlterRoleStmt: ['alter', 'role'],
  AlterSeqStmt: ['alter', 'sequence'],
  AlterStatsStmt: ['alter', 'statistics'],
  AlterSubscriptionStmt: ['alter', 'subscription'],
  AlterSystemStmt: ['alter', 'system'],
  AlterTSConfigurationStmt: ['alter', 'text-search'],
  AlterTSDictionaryStmt: ['alter', 'text-search'],
  AlterTableMoveAllStmt: ['alter', 'table'],
  AlterTableSpaceOptionsStmt: ['alter', 'tablespace'],
  AlterTableStmt: ['alter', 'table'],
  AlterTypeStmt: ['alter', 'type'],
  AlterUserMappingStmt: ['alter', 'user-mapping'],
  ClusterStmt: ['cluster', 'table'],
  CommentStmt: ['comment', 'object'],
  CompositeTypeStmt: ['create', 'type'],
  CreateAmStmt: ['create', 'access-method'],
  CreateCastStmt: ['create', 'cast'],
  CreateConversionStmt: ['create', 'conversion'],
  CreateDomainStmt: ['create', 'domain'],
  CreateEnumStmt: ['create', 'type'],
  CreateEventTrigStmt: ['create', 'event-trigger'],
  CreateExtensionStmt: ['create', 'extension'],
  CreateFdwStmt: ['create', 'foreign-data-wrapper'],
  CreateForeignServerStmt: ['create', 'server'],
  CreateForeignTableStmt: ['create', 'foreign-table'],
  CreateFunctionStmt: ['create', 'function'],
  CreateOpClassStmt: ['create', 'operator-class'],
  CreateOpFamilyStmt: ['create', 'operator-family'],
  CreatePLangStmt: ['create', 'language'],
  CreatePolicyStmt: ['create', 'policy'],
  CreatePublicationStmt: ['create', 'publication'],
  CreateRangeStmt: ['create', 'type'],
  CreateRoleStmt: ['create', 'role'],
  CreateSchemaStmt: ['create', 'schema'],
  CreateSeqStmt: ['create', 'sequence'],
  CreateStatsStmt: ['create', 'statistics'],
  CreateStmt: ['create', 'table'],
  CreateSubscriptionStmt: ['create', 'subscription'],
  CreateTableSpaceStmt: ['create', 'tablespace'],
  CreateTransformStmt: ['create', 'transform'],
  CreateTrigStmt: ['create', 'trigger'],
  CreateUserMappingStmt: ['create', 'user-mapping'],
  CreatedbStmt: ['create', 'database'],
  DefineStmt: ['create', 'object'],
  DropOwnedStmt: ['drop', 'owned'],
  DropRoleStmt: ['drop', 'role'],
  DropSubscriptionStmt: ['drop', 'subscription'],
  DropTableSpaceStmt: ['drop', 'tablespace'],
  DropUserMappingStmt: ['drop', 'user-mapping'],
  DropdbStmt: ['drop', 'database'],
  GrantRoleStmt: ['grant', 'role'],
  GrantStmt: ['grant', 'privilege'],
  ImportForeignSchemaStmt: ['create', 'foreign-table'],
  IndexStmt: ['create', 'index'],
  ReassignOwnedStmt: ['alter', 'owned'],
  ReindexStmt: ['reindex', 'index'],
  RenameStmt: ['alter', 'object'],
  ReplicaIdentityStmt: ['alter', 'table'],
  RuleStmt: ['create', 'rule'],
  SecLabelStmt: ['security-label', 'object'],
  ViewStmt: ['create', 'view'],
}
