import type { DeleteStmt, InsertStmt, MergeStmt, Node, RangeVar, ReturningClause, UpdateStmt } from 'libpg-query'
import type { Effect } from './analysed.ts'
import type { ForeignKey, Relation, RowEvent } from './catalogue.ts'
import { isSystem } from './context.ts'
import { rowOf } from './definitions.ts'
import { compareRows } from './comparisons.ts'
import { readExpression, readFilter } from './expression-reader.ts'
import { anything, nothing, union, unionAll } from './flow.ts'
import type { Flow } from './flow.ts'
import { as } from './nodes.ts'
import { findRelation, readFrom, readQuery, readTargets, readWith, relationItem } from './query-reader.ts'
import type { Reader } from './reader.ts'
import { flowOfResult, makeItem, noResult, Scope } from './scope.ts'
import type { Item, ItemColumn, Result } from './scope.ts'
import { isAlwaysTrue } from './where.ts'

type Where = Effect['where']

export function readInsert(reader: Reader, insert: InsertStmt, parent: Scope | null): Result {
  const scope = new Scope(parent)
  if (insert.withClause) readWith(reader, insert.withClause, scope)
  const target = insert.relation ? findRelation(reader, insert.relation) : undefined
  const { mark } = reader.constants
  const source = insert.selectStmt ? readQuery(reader, insert.selectStmt, scope) : noResult
  const names = (insert.cols ?? []).map(col => as(col, 'ResTarget')?.name ?? '')
  const assigned = new Map<string, Flow>()
  if (target) {
    const listed = names.length > 0 ? names : target.columns.map(column => column.name)
    if (as(insert.selectStmt, 'SelectStmt')?.valuesLists)
      reader.constants.settleItems(mark, item => columnFlow(reader, target, listed[item]))
    for (const [i, name] of listed.entries()) {
      const flow = source.open ? flowOfResult(source) : source.columns[i]?.flow
      if (flow) assigned.set(name, union(assigned.get(name) ?? nothing, flow))
    }
    writeRows(reader, target, { verb: 'insert', columns: names.length > 0 ? names : 'all', where: 'none' })
    carryInto(reader, target, assigned)
  }
  const conflict = insert.onConflictClause
  const item = target ? targetItem(reader, insert.relation, target) : undefined
  if (conflict) {
    const inner = new Scope(scope)
    if (item) inner.items.push(item, excluded(item, assigned))
    // the expressions of the conflict's target and of its action
    for (const node of conflict.infer?.indexElems ?? []) {
      const flow = readExpression(reader, node, inner)
      // whether such a row is there shows in what becomes of the new one
      compareRows(reader, 'group', { flow, direct: true })
      const name = as(node, 'IndexElem')?.name
      const column = columnFlow(reader, target, name)
      if (column) compareRows(reader, 'group', { flow: column, direct: true })
    }
    if (conflict.infer?.whereClause) readFilter(reader, conflict.infer.whereClause, inner)
    if (conflict.action === 'ONCONFLICT_UPDATE' && target) {
      const changed = readAssignments(reader, conflict.targetList, inner, target)
      if (conflict.whereClause) readFilter(reader, conflict.whereClause, inner)
      writeRows(reader, target, { verb: 'update', columns: [...changed.keys()], where: 'present' })
      carryInto(reader, target, changed)
      for (const [name, flow] of changed) assigned.set(name, union(assigned.get(name) ?? nothing, flow))
    }
  }
  return readReturning(reader, insert.returningClause, scope, target, item, assigned, ['insert', 'update'])
}

export function readUpdate(reader: Reader, update: UpdateStmt, parent: Scope | null): Result {
  const scope = new Scope(parent)
  if (update.withClause) readWith(reader, update.withClause, scope)
  const target = update.relation ? findRelation(reader, update.relation) : undefined
  const item = target ? targetItem(reader, update.relation, target) : unknownItem(update.relation)
  readSources(reader, scope, item, update.fromClause)
  const assigned = readAssignments(reader, update.targetList, scope, target)
  const where = readCondition(reader, update.whereClause, scope, item)
  if (target) {
    writeRows(reader, target, {
      verb: 'update',
      columns: [...assigned.keys()],
      where,
      children: update.relation?.inh === true,
    })
    carryInto(reader, target, assigned)
  }
  return readReturning(reader, update.returningClause, scope, target, item, assigned, ['update'])
}

export function readDelete(reader: Reader, remove: DeleteStmt, parent: Scope | null): Result {
  const scope = new Scope(parent)
  if (remove.withClause) readWith(reader, remove.withClause, scope)
  const target = remove.relation ? findRelation(reader, remove.relation) : undefined
  const item = target ? targetItem(reader, remove.relation, target) : unknownItem(remove.relation)
  readSources(reader, scope, item, remove.usingClause)
  const where = readCondition(reader, remove.whereClause, scope, item)
  if (target)
    writeRows(reader, target, { verb: 'delete', columns: 'all', where, children: remove.relation?.inh === true })
  return readReturning(reader, remove.returningClause, scope, target, item, new Map(), ['delete'])
}

export function readMerge(reader: Reader, merge: MergeStmt, parent: Scope | null): Result {
  const scope = new Scope(parent)
  if (merge.withClause) readWith(reader, merge.withClause, scope)
  const target = merge.relation ? findRelation(reader, merge.relation) : undefined
  const item = target ? targetItem(reader, merge.relation, target) : unknownItem(merge.relation)
  readSources(reader, scope, item, merge.sourceRelation ? [merge.sourceRelation] : [])
  const matching = readCondition(reader, merge.joinCondition, scope, item)
  if (target) reader.sink.effect({ verb: 'merge', relation: target, where: matching })
  const assigned = new Map<string, Flow>()
  const events: RowEvent[] = []
  for (const node of merge.mergeWhenClauses ?? []) {
    const clause = as(node, 'MergeWhenClause')
    if (!clause) continue
    const condition = clause.condition ? readCondition(reader, clause.condition, scope, item) : 'missing'
    const where = matching === 'present' || condition === 'present' ? 'present' : matching
    const values = clause.values?.map(value => readExpression(reader, value, scope))
    const changed = new Map<string, Flow>()
    if (clause.commandType === 'CMD_INSERT') {
      const names = (clause.targetList ?? []).map(col => as(col, 'ResTarget')?.name ?? '')
      const listed = names.length > 0 ? names : (target?.columns ?? []).map(column => column.name)
      for (const [i, name] of listed.entries()) changed.set(name, values?.[i] ?? nothing)
      if (target) writeRows(reader, target, { verb: 'insert', columns: listed, where: 'none' })
      events.push('insert')
    } else if (clause.commandType === 'CMD_UPDATE') {
      for (const [name, flow] of readAssignments(reader, clause.targetList, scope, target)) changed.set(name, flow)
      if (target) writeRows(reader, target, { verb: 'update', columns: [...changed.keys()], where })
      events.push('update')
    } else if (clause.commandType === 'CMD_DELETE') {
      if (target) writeRows(reader, target, { verb: 'delete', columns: 'all', where })
      events.push('delete')
    }
    if (target) carryInto(reader, target, changed)
    for (const [name, flow] of changed) assigned.set(name, union(assigned.get(name) ?? nothing, flow))
  }
  return readReturning(reader, merge.returningClause, scope, target, item, assigned, events)
}

function targetItem(reader: Reader, range: RangeVar | undefined, target: Relation): Item {
  const alias = range?.alias?.aliasname
  return relationItem(reader, target, {
    name: alias ?? target.name,
    aliased: alias !== undefined,
    children: range?.inh === true,
    target: true,
  })
}

function unknownItem(range: RangeVar | undefined): Item {
  return makeItem({ name: range?.alias?.aliasname ?? range?.relname ?? null, open: anything }, [])
}

function readSources(reader: Reader, scope: Scope, target: Item, sources: readonly Node[] | undefined): void {
  // FROM cannot see the target (except that the server lets LATERAL try, and refuses)
  const filters: Flow[] = []
  const items: Item[] = []
  for (const node of sources ?? []) {
    const from = readFrom(reader, node, scope, filters)
    items.push(...from)
    scope.items.push(...from)
  }
  scope.items = [target, ...items]
}

/** SET: what flows into which column. */
function readAssignments(
  reader: Reader,
  targets: readonly Node[] | undefined,
  scope: Scope,
  relation: Relation | undefined,
): Map<string, Flow> {
  const assigned = new Map<string, Flow>()
  for (const node of targets ?? []) {
    const target = as(node, 'ResTarget')
    if (target?.name === undefined || !target.val) continue
    const several = as(target.val, 'MultiAssignRef')
    const { mark } = reader.constants
    let flow: Flow
    if (several?.source) {
      const row = as(several.source, 'RowExpr')?.args?.[(several.colno ?? 1) - 1]
      flow = readExpression(reader, row ?? several.source, scope)
    } else flow = readExpression(reader, target.val, scope)
    for (const part of target.indirection ?? []) flow = union(flow, readExpression(reader, part, scope))
    const into = columnFlow(reader, relation, target.name)
    if (into) reader.constants.settle(mark, into)
    assigned.set(target.name, union(assigned.get(target.name) ?? nothing, flow))
  }
  return assigned
}

function columnFlow(reader: Reader, relation: Relation | undefined, name: string | undefined): Flow | undefined {
  const column = relation && name !== undefined ? reader.context.catalogue.column(relation, name) : undefined
  return column && reader.context.flowOf(column)
}

/** Reads a WHERE and says whether it picks rows of the target. */
function readCondition(reader: Reader, condition: Node | undefined, scope: Scope, target: Item): Where {
  if (!condition) return 'missing'
  const before = target.touches
  readFilter(reader, condition, scope)
  if (as(condition, 'CurrentOfExpr')) return 'present'
  if (isAlwaysTrue(condition, target)) return 'constant'
  // one that asks nothing of the target's rows takes all of them or none
  return target.touches > before || isFalse(condition) ? 'present' : 'constant'
}

function isFalse(node: Node): boolean {
  const constant = as(node, 'A_Const')
  return constant?.boolval !== undefined && constant.boolval.boolval !== true
}

interface Written {
  readonly verb: 'insert' | 'update' | 'delete'
  readonly columns: Effect['columns']
  readonly where: Where
  readonly children?: boolean
}

/** Notes that rows are written, and all that this sets off. */
export function writeRows(reader: Reader, relation: Relation, written: Written, depth = 0): void {
  const { sink, context } = reader
  sink.effect({ ...written, relation })
  if (isSystem(relation.schema)) sink.unknown(`it alters the system's own ${relation.ref}`)
  if (depth > 20) {
    sink.unknown('foreign keys cascade too deeply to be followed')
    return
  }
  // What triggers copy is held against the columns that they fill (Context.holding), not against this statement.
  sink.merge({ ...context.event(relation, written.verb, reader.runPath), carries: [] }, null, nothing)
  for (const table of [relation, ...context.catalogue.descendants(relation)])
    sink.merge(context.implicit(table, 'write', reader.runPath), `table ${table.ref}`, rowOf(context, table))
  if (relation.kind === 'view') writeThroughView(reader, relation, written, depth)
  if (written.verb !== 'insert')
    for (const table of [
      relation,
      ...context.catalogue.descendants(relation),
      ...context.catalogue.ancestors(relation),
    ])
      for (const key of context.catalogue.referencing(table)) followKey(reader, key, table, written, depth)
}

/** An automatically updatable view passes the write on to the one relation that it selects from. */
function writeThroughView(reader: Reader, view: Relation, written: Written, depth: number): void {
  const { context, sink } = reader
  const { catalogue } = context
  const instead =
    catalogue.triggers(view).some(trigger => trigger.timing === 'instead' && trigger.events.includes(written.verb)) ||
    catalogue.rules(view).some(rule => rule.instead && rule.event === written.verb)
  if (instead) return
  const base = baseOfView(reader, view)
  if (!base) {
    sink.unknown(`what writing to view ${view.ref} does cannot be read`)
    return
  }
  const inner: Written = {
    ...written,
    columns: 'all',
    where:
      written.verb === 'insert' || written.where === 'present'
        ? written.where
        : base.where === 'present'
          ? 'present'
          : written.where,
  }
  const nested = reader.fork()
  writeRows(nested, base.relation, inner, depth + 1)
  sink.merge(nested.sink.finish(), `view ${view.ref}`, nothing)
}

function baseOfView(reader: Reader, view: Relation): { relation: Relation; where: Where } | undefined {
  const { context } = reader
  const parsed = view.definition === null ? undefined : context.parse(view.definition)
  const statement = parsed?.kind === 'parsed' ? parsed.statements[0]?.stmt : undefined
  const select = as(as(statement, 'ViewStmt')?.query ?? statement, 'SelectStmt')
  const range = select?.fromClause?.length === 1 ? as(select.fromClause[0], 'RangeVar') : undefined
  if (!select || !range?.relname) return undefined
  const relation = context.relation(range.schemaname, range.relname, context.catalogue.path)
  if (!relation) return undefined
  return { relation, where: select.whereClause ? 'present' : 'missing' }
}

function followKey(reader: Reader, key: ForeignKey, to: Relation, written: Written, depth: number): void {
  const { context, sink } = reader
  if (key.to !== to.oid) return
  const action = written.verb === 'delete' ? key.onDelete : key.onUpdate
  if (action === 'none') return
  if (written.verb === 'update' && written.columns !== 'all' && written.columns !== 'unknown') {
    const names = to.columns.filter(column => key.toColumns.includes(column.number)).map(column => column.name)
    if (!names.some(name => written.columns.includes(name))) return
  }
  const from = context.catalogue.relationByOid(key.from)
  if (!from) {
    sink.unknown(`foreign key ${key.name} comes from a table that is not known`)
    return
  }
  const columns = from.columns.filter(column => key.fromColumns.includes(column.number)).map(column => column.name)
  const nested = reader.fork()
  const step = `${key.name} ${key.from} ${written.verb}`
  if (reader.cascading.has(step)) return
  nested.cascading = new Set([...reader.cascading, step])
  const removes = written.verb === 'delete' && action === 'cascade'
  writeRows(
    nested,
    from,
    { verb: removes ? 'delete' : 'update', columns: removes ? 'all' : columns, where: 'present' },
    depth + 1,
  )
  sink.merge(nested.sink.finish(), `foreign key ${key.name} on ${from.ref}`, nothing)
}

function carryInto(reader: Reader, target: Relation, assigned: ReadonlyMap<string, Flow>): void {
  for (const [name, flow] of assigned) {
    const column = reader.context.catalogue.column(target, name)
    reader.sink.carry(column ?? null, column ? column.ref : target.ref, flow)
  }
}

/** EXCLUDED: the row that was to be inserted. */
function excluded(item: Item, assigned: ReadonlyMap<string, Flow>): Item {
  return makeItem(
    { name: 'excluded', open: null },
    item.columns.map(({ name, flow }) => ({ name, flow: { ...(assigned.get(name) ?? flow), made: false } })),
  )
}

/** RETURNING sees the row as written: what was assigned, and whatever a trigger may have put there. */
function readReturning(
  reader: Reader,
  clause: ReturningClause | undefined,
  scope: Scope,
  target: Relation | undefined,
  item: Item | undefined,
  assigned: ReadonlyMap<string, Flow>,
  events: readonly RowEvent[],
): Result {
  if (!clause?.exprs) return noResult
  if (!item) return { ...noResult, open: anything }
  const { context } = reader
  // what triggers put into the row, and into what a view's INSTEAD OF trigger writes, shows in what comes back
  const put = new Map<string, Flow>()
  let anywhere = nothing
  if (target)
    for (const event of events)
      for (const table of [target, ...context.catalogue.descendants(target)]) {
        const triggers = context.catalogue
          .triggers(table)
          .filter(trigger => trigger.enabled && trigger.timing !== 'after')
        if (triggers.length === 0 && context.catalogue.rules(table).length === 0) continue
        const summary = context.event(table, event, reader.runPath)
        if (summary.unknown.length > 0) anywhere = anything
        if (table.kind === 'view') anywhere = union(anywhere, { ...summary.reads, variable: false })
        for (const { into, flow } of summary.carries)
          if (into !== null && typeof into !== 'string' && into.relation === table)
            put.set(into.name, union(put.get(into.name) ?? nothing, { ...flow, variable: false }))
      }
  const columns: ItemColumn[] = []
  const written: Item = { ...item, columns, touches: 0, named: true, visible: true }
  for (const column of item.columns) {
    const flow = unionAll([
      column.flow,
      assigned.get(column.name) ?? nothing,
      put.get(column.name) ?? nothing,
      anywhere,
    ])
    columns.push({ ...column, flow, owner: written, direct: flow === column.flow })
  }
  const inner = new Scope(scope.parent)
  inner.ctes = scope.ctes
  const options = new Map(
    (clause.options ?? []).map(node => {
      const option = as(node, 'ReturningOption')
      return [option?.option === 'RETURNING_OPTION_OLD' ? 'old' : 'new', option?.value ?? ''] as const
    }),
  )
  // Before 18 they are what they are elsewhere: a trigger's rows, an argument.
  const names = reader.context.resolution.serverVersion < 180000 ? [] : ['old', 'new']
  const both = names.map((name): Item => ({
    ...written,
    name: options.get(name as 'old') ?? name,
    aliased: true,
    visible: false,
  }))
  inner.items = [
    ...(scope.items.includes(item) ? scope.items.map(one => (one === item ? written : one)) : [written]),
    ...both,
  ]
  const result = readTargets(reader, clause.exprs, inner)
  return { ...result, filter: nothing }
}
