import type { ColumnDef, CreateFunctionStmt, Node, RangeVar } from 'libpg-query'
import { AgentgateError } from '../../../errors.ts'
import type { Resolution } from './analysed.ts'
import { Catalogue, makeRelation, refOf } from './catalogue.ts'
import type {
  CatalogueParts,
  ColumnParts,
  ForeignKeyAction,
  NamedType,
  Relation,
  RelationKind,
  Routine,
} from './catalogue.ts'
import { triggerType } from './catalogue-load.ts'
import { Context, isTemporary } from './context.ts'
import { as, namesOf, tagOf } from './nodes.ts'
import type { Tag } from './nodes.ts'
import type { Parser } from './parser.ts'
import { readQuery } from './query-reader.ts'
import { Reader, TooDeep } from './reader.ts'
import { byteSlice } from './text.ts'

const defaultPath = ['pg_catalog', 'public']

/**
 * A catalogue made from DDL, for policy tests without a server. Anything but CREATE TABLE, VIEW, MATERIALIZED VIEW,
 * SEQUENCE, FUNCTION, TRIGGER, RULE, SCHEMA, TYPE and ALTER TABLE is refused. @throws AgentgateError USAGE
 */
export function catalogueFromDdl(parser: Parser, text: string, serverVersion = 180000): Catalogue {
  let catalogue = emptyCatalogue(serverVersion)
  const parsed = parser.parse(text)
  if (parsed.kind !== 'parsed')
    throw new AgentgateError(
      'USAGE',
      parsed.kind === 'syntax-error' ? `the catalogue: ${parsed.message}` : 'the catalogue nests too deeply',
    )
  for (const { stmt, stmt_location = 0, stmt_len = 0 } of parsed.statements) {
    if (!stmt) continue
    const source = byteSlice(text, stmt_location, stmt_len)
    const next = extendCatalogue(parser, catalogue, stmt, source, defaultPath)
    if (!next)
      throw new AgentgateError(
        'USAGE',
        `the catalogue has a statement that describes nothing: ${source.trim().slice(0, 60)}`,
      )
    catalogue = next
  }
  return catalogue
}

/** A catalogue with nothing in it; with `assumesTables` any relation that is named is taken to be a table. */
export function emptyCatalogue(serverVersion = 180000, assumesTables = false): Catalogue {
  return new Catalogue({
    version: '',
    ...(assumesTables ? { assumesTables } : {}),
    serverVersion,
    database: 'postgres',
    path: defaultPath,
    schemas: ['pg_catalog', 'public'],
    relations: [],
    routines: [],
    triggers: [],
    rules: [],
    foreignKeys: [],
    inherits: [],
    types: [],
    operators: [],
    castRoutines: [],
    eventTriggers: [],
  })
}

const harmless: ReadonlySet<Tag> = new Set<Tag>([
  'IndexStmt',
  'CommentStmt',
  'GrantStmt',
  'GrantRoleStmt',
  'CreateExtensionStmt',
  'AlterOwnerStmt',
  'CreateRoleStmt',
  'AlterRoleStmt',
  'AlterSeqStmt',
  'CreateEnumStmt',
  'CreateStatsStmt',
  'CreatePublicationStmt',
  'CreatePolicyStmt',
])

/** The catalogue after one more DDL statement; undefined where it cannot be told what there is then. */
export function extendCatalogue(
  parser: Parser,
  catalogue: Catalogue,
  node: Node,
  text: string,
  path: readonly string[],
): Catalogue | undefined {
  const { parts } = catalogue
  const builder = new Builder(parser, catalogue, path)
  const tag = tagOf(node)
  switch (tag) {
    case 'CreateStmt': {
      const create = as(node, tag)
      return create?.relation
        ? builder.table(
            create.relation,
            create.tableElts ?? [],
            create.inhRelations ?? [],
            create.partspec !== undefined,
          )
        : undefined
    }
    case 'CreateForeignTableStmt': {
      const base = as(node, tag)?.base
      return base?.relation
        ? builder.table(base.relation, base.tableElts ?? [], base.inhRelations ?? [], false, 'foreign')
        : undefined
    }
    case 'ViewStmt': {
      const view = as(node, tag)
      return view?.view && view.query
        ? builder.query(view.view, view.query, namesOf(view.aliases), 'view', text)
        : undefined
    }
    case 'CreateTableAsStmt': {
      const create = as(node, tag)
      const kind = create?.objtype === 'OBJECT_MATVIEW' ? 'matview' : 'table'
      return create?.into?.rel && create.query
        ? builder.query(create.into.rel, create.query, namesOf(create.into.colNames), kind, text)
        : undefined
    }
    case 'SelectStmt': {
      const into = as(node, tag)?.intoClause?.rel
      return into ? builder.query(into, { SelectStmt: withoutInto(as(node, tag) ?? {}) }, [], 'table', text) : catalogue
    }
    case 'CreateSeqStmt': {
      const sequence = as(node, tag)?.sequence
      return sequence ? builder.relation(sequence, [], 'sequence', null) : undefined
    }
    case 'CompositeTypeStmt': {
      const type = as(node, tag)
      return type?.typevar
        ? builder.relation(type.typevar, builder.columns(type.coldeflist ?? []), 'composite', null)
        : undefined
    }
    case 'CreateDomainStmt': {
      const domain = as(node, tag)
      const [name = '', schema = builder.schema] = namesOf(domain?.domainname).toReversed()
      if (domain?.constraints?.some(one => as(one, 'Constraint')?.contype === 'CONSTR_CHECK')) return undefined
      return new Catalogue({
        ...parts,
        types: [...parts.types, { oid: builder.oid(), schema, name, relation: null, checks: [] }],
      })
    }
    case 'CreateFunctionStmt':
      return builder.routine(as(node, tag) ?? {}, text)
    case 'CreateTrigStmt': {
      const trigger = as(node, tag)
      const relation = trigger?.relation ? builder.find(trigger.relation) : undefined
      const [name = '', schema] = namesOf(trigger?.funcname).toReversed()
      const routine = catalogue.routines(name).find(one => schema === undefined || one.schema === schema)
      if (!relation || !routine) return undefined
      const type = triggerType((trigger?.events ?? 0) | (trigger?.timing ?? 0))
      return new Catalogue({
        ...parts,
        triggers: [
          ...parts.triggers,
          {
            name: trigger?.trigname ?? '',
            relation: relation.oid,
            routine: routine.oid,
            enabled: true,
            definition: text,
            ...type,
          },
        ],
      })
    }
    case 'RuleStmt': {
      const rule = as(node, tag)
      const relation = rule?.relation ? builder.find(rule.relation) : undefined
      const event =
        rule?.event === 'CMD_INSERT'
          ? 'insert'
          : rule?.event === 'CMD_UPDATE'
            ? 'update'
            : rule?.event === 'CMD_DELETE'
              ? 'delete'
              : undefined
      if (!relation || !event) return undefined
      return new Catalogue({
        ...parts,
        rules: [
          ...parts.rules,
          {
            name: rule?.rulename ?? '',
            relation: relation.oid,
            event,
            instead: rule?.instead === true,
            definition: text,
          },
        ],
      })
    }
    case 'CreateSchemaStmt': {
      const create = as(node, tag)
      const name = create?.schemaname
      if (name === undefined) return undefined
      let next: Catalogue | undefined = new Catalogue({ ...parts, schemas: [...parts.schemas, name] })
      for (const element of create?.schemaElts ?? [])
        next &&= extendCatalogue(parser, next, element, text, [name, ...path])
      return next
    }
    case 'AlterTableStmt': {
      const alter = as(node, tag)
      const relation = alter?.relation ? builder.find(alter.relation) : undefined
      if (!relation) return alter?.missing_ok === true ? catalogue : undefined
      return builder.alter(relation, alter?.cmds ?? [])
    }
    case 'RenameStmt': {
      const rename = as(node, tag)
      const relation = rename?.relation ? builder.find(rename.relation) : undefined
      if (!relation || rename?.newname === undefined) return undefined
      const { newname } = rename
      if (rename.renameType === 'OBJECT_COLUMN')
        return builder.replace(
          relation,
          makeRelation(
            relation,
            relation.columns.map(column => (column.name === rename.subname ? { ...column, name: newname } : column)),
          ),
        )
      if (['OBJECT_TABLE', 'OBJECT_VIEW', 'OBJECT_MATVIEW', 'OBJECT_SEQUENCE'].includes(rename.renameType ?? ''))
        return builder.replace(relation, makeRelation({ ...relation, name: newname }, relation.columns))
      return ['OBJECT_INDEX', 'OBJECT_TABCONSTRAINT'].includes(rename.renameType ?? '') ? catalogue : undefined
    }
    case 'DropStmt': {
      const drop = as(node, tag)
      if (drop?.removeType === 'OBJECT_INDEX') return catalogue
      if (!['OBJECT_TABLE', 'OBJECT_VIEW', 'OBJECT_MATVIEW', 'OBJECT_SEQUENCE'].includes(drop?.removeType ?? ''))
        return undefined
      if (drop?.behavior === 'DROP_CASCADE') return undefined
      const gone = new Set<Relation>()
      for (const object of drop?.objects ?? []) {
        const [name = '', schema] = namesOf(as(object, 'List')?.items).toReversed()
        const relation = builder.find({ relname: name, ...(schema === undefined ? {} : { schemaname: schema }) })
        if (relation) gone.add(relation)
      }
      return new Catalogue({ ...parts, relations: parts.relations.filter(relation => !gone.has(relation)) })
    }
    default:
      return harmless.has(tag) ? catalogue : undefined
  }
}

function withoutInto<Select extends { intoClause?: unknown }>(select: Select): Omit<Select, 'intoClause'> {
  const { intoClause: _, ...rest } = select
  return rest
}

class Builder {
  readonly #parser: Parser
  readonly #catalogue: Catalogue
  readonly #path: readonly string[]
  readonly schema: string

  constructor(parser: Parser, catalogue: Catalogue, path: readonly string[]) {
    this.#parser = parser
    this.#catalogue = catalogue
    this.#path = path
    this.schema = path.find(schema => schema !== 'pg_catalog' && !isTemporary(schema)) ?? 'public'
  }

  /** One that no relation, function or type has; counted down, as the server's are positive. */
  oid(): number {
    const { parts } = this.#catalogue
    return -1 - parts.relations.length - parts.routines.length - parts.types.length
  }

  find(range: RangeVar): Relation | undefined {
    if (range.schemaname !== undefined)
      return this.#catalogue.relation(
        range.schemaname === 'pg_temp' ? this.#temporary() : range.schemaname,
        range.relname ?? '',
      )
    for (const schema of this.#path) {
      const relation = this.#catalogue.relation(schema, range.relname ?? '')
      if (relation) return relation
    }
    return undefined
  }

  #temporary(): string {
    return this.#path.find(isTemporary) ?? 'pg_temp'
  }

  #schemaOf(range: RangeVar): string {
    if (range.relpersistence === 't' || range.schemaname === 'pg_temp') return this.#temporary()
    return range.schemaname ?? this.schema
  }

  columns(nodes: readonly Node[]): ColumnParts[] {
    const columns: ColumnParts[] = []
    for (const node of nodes) {
      const column = as(node, 'ColumnDef')
      if (column) columns.push(columnParts(column, columns.length + 1))
    }
    return columns
  }

  table(
    range: RangeVar,
    elements: readonly Node[],
    parents: readonly Node[],
    partitioned: boolean,
    kind: RelationKind = 'table',
  ): Catalogue | undefined {
    if (this.#catalogue.relation(this.#schemaOf(range), range.relname ?? '')) return this.#catalogue // IF NOT EXISTS, or an error
    const columns: ColumnParts[] = []
    const add = (column: ColumnParts) => {
      if (!columns.some(one => one.name === column.name)) columns.push({ ...column, number: columns.length + 1 })
    }
    const parentRelations: Relation[] = []
    for (const node of parents) {
      const parent = this.find(as(node, 'RangeVar') ?? {})
      if (!parent) return undefined
      parentRelations.push(parent)
      parent.columns.forEach(add)
    }
    const keys: (readonly [columns: readonly string[], constraint: Node])[] = []
    const notNull = new Set<string>()
    for (const node of elements) {
      const like = as(node, 'TableLikeClause')?.relation
      if (like) {
        const source = this.find(like)
        if (!source) return undefined
        source.columns.forEach(column => add({ ...column, generated: null, default: null }))
      }
      const column = as(node, 'ColumnDef')
      if (column) {
        add(columnParts(column, 0))
        for (const constraint of column.constraints ?? []) keys.push([[column.colname ?? ''], constraint])
      }
      const constraint = as(node, 'Constraint')
      if (constraint) {
        keys.push([namesOf(constraint.fk_attrs), node])
        if (constraint.contype === 'CONSTR_PRIMARY') for (const name of namesOf(constraint.keys)) notNull.add(name)
        if (constraint.contype === 'CONSTR_NOTNULL') for (const name of namesOf(constraint.keys)) notNull.add(name)
      }
    }
    const relation = this.#make(
      range,
      columns.map(column => (notNull.has(column.name) ? { ...column, notNull: true } : column)),
      kind,
      null,
      partitioned,
    )
    const { parts } = this.#catalogue
    const withTable: CatalogueParts = {
      ...parts,
      schemas: parts.schemas.includes(relation.schema) ? parts.schemas : [...parts.schemas, relation.schema],
      relations: [...parts.relations, relation],
      types: [...parts.types, rowType(relation)],
      inherits: [...parts.inherits, ...parentRelations.map(parent => [relation.oid, parent.oid] as const)],
    }
    return new Catalogue({
      ...withTable,
      foreignKeys: [...parts.foreignKeys, ...this.#keys(withTable, relation, keys)],
    })
  }

  #keys(parts: CatalogueParts, relation: Relation, constraints: readonly (readonly [readonly string[], Node])[]) {
    return constraints.flatMap(([names, node]) => {
      const constraint = as(node, 'Constraint')
      if (constraint?.contype !== 'CONSTR_FOREIGN' || !constraint.pktable) return []
      const { pktable } = constraint
      const to =
        pktable.relname === relation.name && (pktable.schemaname ?? relation.schema) === relation.schema
          ? relation
          : this.find(pktable)
      if (!to) return []
      const targets = namesOf(constraint.pk_attrs)
      const position = (table: Relation, name: string) =>
        table.columns.find(column => column.name === name)?.number ?? 0
      return [
        {
          name: constraint.conname ?? `${relation.name}_${names.join('_')}_fkey`,
          from: relation.oid,
          fromColumns: names.map(name => position(relation, name)),
          to: to.oid,
          // without names it is the primary key, whose columns come first in what people write
          toColumns: targets.length > 0 ? targets.map(name => position(to, name)) : names.map((_, i) => i + 1),
          onDelete: keyActions[constraint.fk_del_action ?? 'a'] ?? 'none',
          onUpdate: keyActions[constraint.fk_upd_action ?? 'a'] ?? 'none',
        } as const,
      ]
    })
  }

  query(
    range: RangeVar,
    query: Node,
    names: readonly string[],
    kind: RelationKind,
    text: string,
  ): Catalogue | undefined {
    const resolution: Resolution = {
      serverVersion: this.#catalogue.serverVersion,
      database: this.#catalogue.database,
      sessionUser: '',
      role: '',
      searchPath: this.#path,
      standardConformingStrings: true,
      clientEncoding: 'UTF8',
    }
    const context = new Context(this.#parser, this.#catalogue, resolution, {
      trustedFunctions: [],
      maxTextBytes: Infinity,
    })
    try {
      const result = readQuery(new Reader(context), query, null)
      if (result.open) return undefined
      const columns = result.columns.map(({ name }, i): ColumnParts => ({
        name: names[i] ?? name,
        number: i + 1,
        typeOid: 0,
        notNull: false,
        generated: null,
        default: null,
      }))
      const existing = this.find(range)
      if (existing && (kind !== 'view' || existing.kind !== 'view')) return undefined
      const relation = this.#make(range, columns, kind, kind === 'table' ? null : text)
      if (existing) return this.replace(existing, { ...relation, oid: existing.oid })
      return this.#with(relation)
    } catch (error) {
      if (error instanceof TooDeep || error instanceof RangeError) return undefined
      throw error
    }
  }

  relation(range: RangeVar, columns: readonly ColumnParts[], kind: RelationKind, definition: string | null): Catalogue {
    return this.#with(this.#make(range, columns, kind, definition))
  }

  #with(relation: Relation): Catalogue {
    const { parts } = this.#catalogue
    return new Catalogue({
      ...parts,
      schemas: parts.schemas.includes(relation.schema) ? parts.schemas : [...parts.schemas, relation.schema],
      relations: [...parts.relations, relation],
      types: [...parts.types, rowType(relation)],
    })
  }

  #make(
    range: RangeVar,
    columns: readonly ColumnParts[],
    kind: RelationKind,
    definition: string | null,
    partitioned = false,
  ): Relation {
    return makeRelation(
      {
        oid: this.oid(),
        schema: this.#schemaOf(range),
        name: range.relname ?? '',
        kind,
        partitioned,
        definition,
        onRead: [],
        onWrite: [],
      },
      columns,
    )
  }

  replace(old: Relation, relation: Relation): Catalogue {
    const { parts } = this.#catalogue
    return new Catalogue({ ...parts, relations: parts.relations.map(one => (one === old ? relation : one)) })
  }

  alter(relation: Relation, commands: readonly Node[]): Catalogue | undefined {
    let columns: ColumnParts[] = [...relation.columns]
    const keys: (readonly [readonly string[], Node])[] = []
    const inherits: (readonly [number, number])[] = []
    for (const node of commands) {
      const command = as(node, 'AlterTableCmd')
      const column = as(command?.def, 'ColumnDef')
      switch (command?.subtype) {
        case 'AT_AddColumn':
          if (!column) return undefined
          if (columns.some(one => one.name === column.colname)) break
          columns.push(columnParts(column, Math.max(0, ...columns.map(one => one.number)) + 1))
          for (const constraint of column.constraints ?? []) keys.push([[column.colname ?? ''], constraint])
          break
        case 'AT_DropColumn':
          columns = columns.filter(one => one.name !== command.name)
          break
        case 'AT_SetNotNull':
        case 'AT_DropNotNull':
          columns = columns.map(one =>
            one.name === command.name ? { ...one, notNull: command.subtype === 'AT_SetNotNull' } : one,
          )
          break
        case 'AT_AddConstraint': {
          const constraint = as(command.def, 'Constraint')
          if (command.def) keys.push([namesOf(constraint?.fk_attrs), command.def])
          const primary = constraint?.contype === 'CONSTR_PRIMARY' ? namesOf(constraint.keys) : []
          columns = columns.map(one => (primary.includes(one.name) ? { ...one, notNull: true } : one))
          break
        }
        case 'AT_AttachPartition': {
          const partition = as(command.def, 'PartitionCmd')?.name
          const child = partition ? this.find(partition) : undefined
          if (!child) return undefined
          inherits.push([child.oid, relation.oid])
          break
        }
        case 'AT_AlterColumnType':
        case 'AT_ColumnDefault':
        case 'AT_ChangeOwner':
        case 'AT_SetStatistics':
        case 'AT_SetStorage':
        case 'AT_AddIndex':
        case 'AT_AddIdentity':
        case 'AT_SetIdentity':
        case 'AT_DropIdentity':
        case 'AT_ClusterOn':
        case 'AT_SetLogged':
        case 'AT_SetUnLogged':
        case 'AT_ReplicaIdentity':
        case 'AT_ValidateConstraint':
        case 'AT_SetRelOptions':
        case 'AT_ResetRelOptions':
          break
        default:
          return undefined
      }
    }
    const changed = makeRelation(relation, columns)
    const next = this.replace(relation, changed).parts
    return new Catalogue({
      ...next,
      inherits: [...next.inherits, ...inherits],
      foreignKeys: [...next.foreignKeys, ...this.#keys(next, changed, keys)],
    })
  }

  routine(create: CreateFunctionStmt, text: string): Catalogue {
    const { parts } = this.#catalogue
    const [name = '', schema = this.schema] = namesOf(create.funcname).toReversed()
    const parameters = (create.parameters ?? []).map(node => as(node, 'FunctionParameter'))
    const inputs = parameters.filter(one => one?.mode !== 'FUNC_PARAM_OUT' && one?.mode !== 'FUNC_PARAM_TABLE')
    const outputs = parameters.filter(
      one => one?.mode === 'FUNC_PARAM_OUT' || one?.mode === 'FUNC_PARAM_TABLE' || one?.mode === 'FUNC_PARAM_INOUT',
    )
    const option = (key: string) =>
      (create.options ?? []).map(node => as(node, 'DefElem')).find(one => one?.defname === key)?.arg
    const language = (as(option('language'), 'String')?.sval ?? 'sql').toLowerCase()
    const returned = this.#typeOf(namesOf(create.returnType?.names))
    const routine: Routine = {
      oid: this.oid(),
      schema,
      name,
      ref: refOf(schema, name),
      kind: create.is_procedure === true ? 'procedure' : 'function',
      language,
      volatility: volatilities[as(option('volatility'), 'String')?.sval ?? ''] ?? 'volatile',
      securityDefiner: as(option('security'), 'Boolean')?.boolval === true,
      owner: '',
      least: inputs.filter(one => !one?.defexpr).length,
      most: inputs.length,
      variadic: inputs.some(one => one?.mode === 'FUNC_PARAM_VARIADIC'),
      returnsSet: create.returnType?.setof === true,
      outNames: outputs.map(one => one?.name ?? ''),
      returnsRelation: returned?.relation ?? null,
      definition: language === 'sql' || language === 'plpgsql' ? text : null,
      extension: null,
      parts: [],
    }
    const signature = (one: Routine) => `${one.ref} ${one.most}`
    const others =
      create.replace === true ? parts.routines.filter(one => signature(one) !== signature(routine)) : parts.routines
    return new Catalogue({ ...parts, routines: [...others, routine] })
  }

  #typeOf(names: readonly string[]): NamedType | undefined {
    const [name = '', schema] = names.toReversed()
    return this.#catalogue
      .typesNamed(name)
      .find(type => (schema === undefined ? this.#path.includes(type.schema) : type.schema === schema))
  }
}

const volatilities: Readonly<Record<string, Routine['volatility']>> = { immutable: 'immutable', stable: 'stable' }

const keyActions: Readonly<Record<string, ForeignKeyAction>> = { c: 'cascade', n: 'set-null', d: 'set-default' }

function rowType(relation: Relation): NamedType {
  return { oid: relation.oid, schema: relation.schema, name: relation.name, relation: relation.oid, checks: [] }
}

function columnParts(column: ColumnDef, number: number): ColumnParts {
  const constraints = (column.constraints ?? []).map(node => as(node, 'Constraint'))
  const has = (type: string) => constraints.some(constraint => constraint?.contype === type)
  return {
    name: column.colname ?? '',
    number,
    typeOid: 0,
    notNull: has('CONSTR_NOTNULL') || has('CONSTR_PRIMARY') || has('CONSTR_IDENTITY'),
    // what it is computed from is not told apart from the table's other columns
    generated: has('CONSTR_GENERATED') ? 'null' : null,
    default: null,
  }
}
