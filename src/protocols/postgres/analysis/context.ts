import type { RawStmt } from 'libpg-query'
import type { ColumnRef, Resolution } from './analysed.ts'
import type { Catalogue, Column, Relation, Routine, RowEvent } from './catalogue.ts'
import { samplingRelations } from './builtin-functions.ts'
import { anything, nothing, ofColumn, union } from './flow.ts'
import type { Flow } from './flow.ts'
import type { Parsed, Parser } from './parser.ts'
import { readOtherwise, type ReadOtherwise } from './older-servers.ts'
import { readImplicit, readRelationEvent, readRoutine, readViewDefinition } from './definitions.ts'
import type { NamedFlow } from './scope.ts'
import { emptySummary } from './summary.ts'
import type { Summary } from './summary.ts'

export interface AnalyserOptions {
  /** `schema.name` or `name`: functions whose bodies are taken as harmless although they cannot be read. */
  readonly trustedFunctions: readonly string[]
  readonly maxTextBytes: number
}

/** What a view gives: for each of its columns where the values come from. */
export interface ViewReading {
  readonly summary: Summary
  readonly columns: readonly Pick<NamedFlow, 'flow' | 'direct'>[]
}

export interface Holding {
  readonly refs: readonly ColumnRef[]
  readonly certain: boolean
}

/** Everything that reading a text needs to know, and what has been read before: one per catalogue and search path. */
export class Context {
  readonly parser: Parser
  readonly catalogue: Catalogue
  readonly resolution: Resolution
  readonly options: AnalyserOptions
  /** Where unqualified names are looked up, `pg_temp` resolved. */
  readonly path: readonly string[]
  readonly temporarySchema: string | undefined
  /** The path was told from the text, not by the server: a schema in it may be closed to this role, so names must be unique. */
  readonly guessed: boolean
  readonly #summaries = new Map<string, Summary>()
  readonly #views = new Map<string, ViewReading>()
  readonly #holdings = new Map<Column, Holding>()
  readonly #flows = new Map<Column, Flow>()
  readonly #relations = new Map<string, Relation | null>()
  readonly #underWay: string[] = []
  /** The lowest entry of #underWay that was asked for while it was being read itself. */
  #lowest = Infinity
  #copied: ReadonlyMap<Column, Flow> | undefined
  #work = 0
  readonly trusted: ReadonlySet<string>

  constructor(parser: Parser, catalogue: Catalogue, resolution: Resolution, options: AnalyserOptions, guessed = false) {
    this.guessed = guessed
    this.parser = parser
    this.catalogue = catalogue
    this.resolution = resolution
    this.options = options
    this.path = resolution.searchPath
    this.temporarySchema = this.path.find(isTemporary)
    this.trusted = new Set(options.trustedFunctions)
  }

  /** Undefined where this server reads a text as its parse tree says. */
  readOtherwise(text: string, statements: readonly RawStmt[]): ReadOtherwise | undefined {
    return readOtherwise(this.parser, text, statements, this.resolution.serverVersion, this.catalogue)
  }

  /** A body or definition; not 'parsed' where this server may read it in another way. */
  parse(text: string): Parsed {
    const parsed = this.parser.parse(text)
    const otherwise = parsed.kind === 'parsed' ? this.readOtherwise(text, parsed.statements) : undefined
    return otherwise === undefined ? parsed : { kind: 'syntax-error', message: otherwise.message, position: undefined }
  }

  /** The relation that the server would find under this name. */
  relation(schema: string | undefined, name: string, path: readonly string[] = this.path): Relation | undefined {
    if (schema !== undefined) {
      if (schema !== 'pg_temp') return this.catalogue.relation(schema, name)
      return this.temporarySchema === undefined ? undefined : this.catalogue.relation(this.temporarySchema, name)
    }
    if (path === this.path) {
      const found = this.#relations.get(name)
      if (found !== undefined) return found ?? undefined
      const relation = this.#search(name, path)
      this.#relations.set(name, relation ?? null)
      return relation
    }
    return this.#search(name, path)
  }

  #search(name: string, path: readonly string[]): Relation | undefined {
    let found: Relation | undefined
    for (const schema of path) {
      const relation = this.catalogue.relation(schema === 'pg_temp' ? (this.temporarySchema ?? schema) : schema, name)
      if (!relation) continue
      if (!this.guessed || isTemporary(schema) || isSystem(schema)) return found ? undefined : relation
      if (found) return undefined
      found = relation
    }
    return found
  }

  flowOf(column: Column): Flow {
    let flow = this.#flows.get(column)
    if (!flow) this.#flows.set(column, (flow = ofColumn(column)))
    return flow
  }

  /** `path`: under which the bodies of functions that the view calls are read. */
  view(relation: Relation, path: readonly string[] = this.path): ViewReading {
    const key = this.#key('view', relation.oid, path)
    const found = this.#views.get(key)
    if (found) return found
    let reading: ViewReading | undefined
    const summary = this.#once(key, () => {
      reading = readViewDefinition(this, relation, path)
      return reading.summary
    })
    reading ??= { summary, columns: relation.columns.map(() => ({ flow: anything })) }
    if (this.#summaries.has(key)) this.#views.set(key, reading)
    return reading
  }

  /** `row`: of a trigger function, the relation that the trigger is on. */
  routine(routine: Routine, path: readonly string[], row: Relation | null = null): Summary {
    const what = row ? `trigger ${row.oid}` : 'routine'
    return this.#once(this.#key(what, routine.oid, path), () => readRoutine(this, routine, path, row))
  }

  /** What a row event on a relation sets off: triggers and rules, without foreign keys. */
  event(relation: Relation, event: RowEvent, path: readonly string[]): Summary {
    return this.#once(this.#key(event, relation.oid, path), () => readRelationEvent(this, relation, event, path))
  }

  /** Expressions that run unseen when rows are read or written: row security, CHECK, defaults, index expressions. */
  implicit(relation: Relation, when: 'read' | 'write', path: readonly string[]): Summary {
    const quiet =
      when === 'read'
        ? relation.onRead.length === 0
        : relation.onWrite.length === 0 &&
          !relation.columns.some(column => column.default !== null || column.generated !== null)
    if (quiet) return emptySummary
    return this.#once(this.#key(when, relation.oid, path), () => readImplicit(this, relation, when, path))
  }

  #key(what: string, oid: number, path: readonly string[]): string {
    return path === this.path ? `${what} ${oid}` : `${what} ${oid} ${path.join(',')}`
  }

  /**
   * Columns whose values show in this one: itself, the same column of parents and children, what a view or generated
   * column is computed from, the key that a foreign key repeats.
   */
  holding(column: Column): Holding {
    const found = this.#holdings.get(column)
    if (found) return found
    const seen = new Set<Column>()
    const refs: ColumnRef[] = []
    let certain = true
    const waiting = [column]
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      if (seen.has(next)) continue
      seen.add(next)
      refs.push(next.ref)
      const { relation } = next
      if (isSystem(relation.schema)) continue
      for (const kin of [...this.catalogue.ancestors(relation), ...this.catalogue.descendants(relation)]) {
        const same = this.catalogue.column(kin, next.name)
        if (same) waiting.push(same)
      }
      if (next.generated !== null) waiting.push(...relation.columns.filter(other => other.generated === null))
      for (const key of this.catalogue.foreignKeys(relation)) {
        const position = key.fromColumns.indexOf(next.number)
        const target = position < 0 ? undefined : this.catalogue.relationByOid(key.to)
        const column = target?.columns.find(other => other.number === key.toColumns[position])
        if (column) waiting.push(column)
      }
      const copied = this.#copiedInto().get(next)
      if (copied) {
        waiting.push(...copied.columns)
        certain &&= copied.certain
      }
      if (relation.kind === 'view' || relation.kind === 'matview') {
        const flow = this.view(relation).columns[relation.columns.indexOf(next)]?.flow ?? anything
        waiting.push(...flow.columns)
        certain &&= flow.certain
      }
    }
    const holding = { refs, certain }
    this.#holdings.set(column, holding)
    return holding
  }

  /** What triggers and rules put into columns when other tables change: those then hold the other's values, too. */
  #copiedInto(): ReadonlyMap<Column, Flow> {
    if (this.#copied) return this.#copied
    const copied = new Map<Column, Flow>()
    this.#copied = copied
    const { triggers, rules } = this.catalogue.parts
    const relations = new Set([...triggers, ...rules].map(one => one.relation))
    for (const oid of relations) {
      const relation = this.catalogue.relationByOid(oid)
      if (!relation) continue
      for (const event of ['insert', 'update', 'delete'] as const)
        for (const { into, flow } of this.event(relation, event, this.path).carries)
          if (into !== null && typeof into !== 'string')
            copied.set(into, union(copied.get(into) ?? nothing, { ...flow, variable: false }))
    }
    return copied
  }

  /** Reads once, also where definitions refer to each other in circles. */
  #once(key: string, read: () => Summary): Summary {
    const found = this.#summaries.get(key)
    if (found) return found
    const position = this.#underWay.indexOf(key)
    if (position >= 0) {
      this.#lowest = Math.min(this.#lowest, position)
      return emptySummary
    }
    const depth = this.#underWay.length
    if (depth === 0) this.#work = 0
    if (depth > 100 || ++this.#work > 5000)
      return { ...emptySummary, reads: anything, unknown: ['definitions refer to each other too deeply'] }
    const before = this.#lowest
    this.#lowest = Infinity
    this.#underWay.push(key)
    try {
      const summary = read()
      // within a circle only the outermost has seen everything
      if (this.#lowest >= depth) this.#summaries.set(key, summary)
      return summary
    } finally {
      this.#underWay.pop()
      this.#lowest = Math.min(before, this.#lowest >= depth ? Infinity : this.#lowest)
    }
  }
}

export function isTemporary(schema: string): boolean {
  return schema === 'pg_temp' || /^pg_temp_\d+$/.test(schema)
}

export function isSystem(schema: string): boolean {
  return schema === 'pg_catalog' || schema === 'information_schema'
}

/** Whether a column's values may be those of any table: samples of it, or statements with them. */
export function isSample(ref: ColumnRef): boolean {
  const end = ref.lastIndexOf('.')
  const columns = samplingRelations.get(ref.slice(0, end))
  return columns !== undefined && (columns === 'all' || columns.has(ref.slice(end + 1)))
}

export function flowOfColumns(context: Context, columns: readonly Column[]): Flow {
  let flow = nothing
  for (const column of columns) flow = union(flow, context.flowOf(column))
  return flow
}
