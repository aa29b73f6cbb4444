import type { ColumnRef, Effect, RelationRef } from './analysed.ts'
import type { Catalogue, Column, Relation } from './catalogue.ts'
import { nothing, union } from './flow.ts'
import type { Flow } from './flow.ts'
import type { MaskUse } from '../../../policy/action.ts'
import type { Result } from './scope.ts'

/** A value on its way into a place where others may read it. */
export interface CarriedFlow {
  /** A column that there is; one of a table being made; or no column, but `place`: a file, a notification, a setting. */
  readonly into: Column | ColumnRef | null
  readonly place: string
  readonly flow: Flow
}

/** Columns that decide something: which rows there are, in what order, which branch is taken. */
export interface ComparedFlow {
  readonly use: MaskUse
  readonly flow: Flow
  /** With nothing but constants of the text itself: in a view or function that there is, nobody can ask otherwise. */
  readonly fixed: boolean
}

/** What running some SQL does, as far as it could be read. Immutable; shared by all that use the view or function. */
export interface Summary {
  readonly effects: readonly Effect[]
  readonly functions: readonly string[]
  readonly unknown: readonly string[]
  /** All columns read in it, and whether these are all. */
  readonly reads: Flow
  readonly carries: readonly CarriedFlow[]
  readonly compares: readonly ComparedFlow[]
  readonly changes: readonly ('resolution' | 'catalogue')[]
  /** Names not found in the catalogue snapshot: a fresher one may have them. */
  readonly missing: readonly string[]
  /** Of a function in SQL: what its last statement gives. Without it the result depends on all that is read. */
  readonly result?: Pick<Result, 'columns' | 'filter'>
}

export const emptySummary: Summary = {
  effects: [],
  functions: [],
  unknown: [],
  reads: nothing,
  carries: [],
  compares: [],
  changes: [],
  missing: [],
}

/** Columns of one relation read by one text, collected while it is read. */
export interface RelationUse {
  readonly relation: Relation
  readonly columns: Set<Column>
  readonly children: boolean
  /** Read as such, rather than because it is written to: counts even where no column is named. */
  readonly read: boolean
}

export interface EffectParts {
  readonly verb: string
  readonly relation?: Relation | null
  /** For what is being made and so is in no catalogue. */
  readonly ref?: RelationRef | null
  readonly columns?: Effect['columns']
  readonly where?: Effect['where']
  readonly object?: string | undefined
  /** Whether partitions and inheritance children are touched too. */
  readonly children?: boolean
}

const mostEffects = 20_000

/** Collects what a text does while it is being read. */
export class Sink {
  readonly #catalogue: Catalogue
  readonly #effects: Effect[] = []
  readonly #uses = new Map<Relation, RelationUse>()
  readonly #functions = new Set<string>()
  readonly #unknown = new Set<string>()
  readonly #merged = new Map<string, Set<Summary>>()
  readonly #missing = new Set<string>()
  readonly #changes = new Set<'resolution' | 'catalogue'>()
  readonly carries: CarriedFlow[] = []
  /** One flow for each way of comparing: fixed, and not. */
  readonly #fixed = new Map<MaskUse, Flow>()
  readonly #compared = new Map<MaskUse, Flow>()
  #reads: Flow = nothing

  constructor(catalogue: Catalogue) {
    this.#catalogue = catalogue
  }

  get effectCount(): number {
    return this.#effects.length
  }

  use(relation: Relation, children: boolean, read: boolean): RelationUse {
    const found = this.#uses.get(relation)
    if (found && (found.children || !children) && (found.read || !read)) return found
    const use = {
      relation,
      columns: found?.columns ?? new Set<Column>(),
      children: children || found?.children === true,
      read: read || found?.read === true,
    }
    this.#uses.set(relation, use)
    return use
  }

  effect(parts: EffectParts): void {
    const { relation } = parts
    const effect: Effect = {
      verb: parts.verb,
      relation: relation?.ref ?? parts.ref ?? null,
      columns: parts.columns ?? 'all',
      where: parts.where ?? 'none',
      through: [],
      ...(parts.object === undefined ? {} : { object: parts.object }),
    }
    this.#effects.push(effect)
    if (relation) this.#kin(effect, relation, parts.children ?? true, this.#effects)
  }

  call(ref: string): void {
    this.#functions.add(ref)
  }

  unknown(why: string): void {
    this.#unknown.add(why)
  }

  missing(kind: 'relation' | 'function' | 'column', name: string): void {
    this.#missing.add(`${kind} ${name}`)
  }

  /** The server's version reads this differently than the parser, or not at all. */
  change(kind: 'resolution' | 'catalogue'): void {
    this.#changes.add(kind)
  }

  read(flow: Flow): void {
    this.#reads = union(this.#reads, flow)
  }

  carry(into: CarriedFlow['into'], place: string, flow: Flow): void {
    if (flow.columns.length > 0 || flow.variable || !flow.certain) this.carries.push({ into, place, flow })
  }

  compare(use: MaskUse, flow: Flow, fixed = false): void {
    if (flow.columns.length === 0 && !flow.variable && flow.certain) return
    const noted = fixed ? this.#fixed : this.#compared
    noted.set(use, union(noted.get(use) ?? nothing, flow))
  }

  /** Takes over what `summary` does, as coming about through `label`; `given` flows into its variables. */
  merge(summary: Summary, label: string | null, given: Flow): void {
    const key = label ?? ''
    let merged = this.#merged.get(key)
    if (!merged) this.#merged.set(key, (merged = new Set()))
    if (!merged.has(summary)) {
      merged.add(summary)
      if (this.#effects.length + summary.effects.length > mostEffects)
        this.#unknown.add('it does too many things to list')
      else
        for (const effect of summary.effects)
          this.#effects.push(label === null ? effect : { ...effect, through: [label, ...effect.through] })
      for (const name of summary.functions) this.#functions.add(name)
      for (const why of summary.unknown) this.#unknown.add(why)
      // what a view or function lacks is not for this statement to say
      if (label === null) for (const name of summary.missing) this.#missing.add(name)
      for (const change of summary.changes) this.#changes.add(change)
      this.#reads = union(this.#reads, summary.reads)
    }
    for (const carried of summary.carries) {
      const { flow } = carried
      if (!flow.variable) this.carries.push(carried)
      else this.carry(carried.into, carried.place, union({ ...flow, variable: false }, given))
    }
    const { withFixed, without } = comparesThrough(label)
    if (without) return
    for (const { use, flow, fixed } of summary.compares)
      if (!fixed || withFixed)
        this.compare(use, flow.variable ? union({ ...flow, variable: false }, given) : flow, fixed)
  }

  finish(): Summary {
    let reads = this.#reads
    const effects: Effect[] = []
    for (const { relation, columns, children, read } of this.#uses.values()) {
      if (!read && columns.size === 0) continue
      const used = [...columns]
      reads = union(reads, { ...nothing, columns: used })
      const effect: Effect = {
        verb: 'select',
        relation: relation.ref,
        columns: used.map(column => column.name),
        where: 'none',
        through: [],
      }
      effects.push(effect)
      this.#kin(effect, relation, children, effects)
    }
    // what a variable holds may be anything that was read anywhere in the body
    const carries = this.carries.map(carried =>
      carried.flow.variable ? { ...carried, flow: union(carried.flow, reads) } : carried,
    )
    return {
      effects: [...this.#effects, ...effects],
      functions: [...this.#functions],
      unknown: [...this.#unknown],
      reads,
      carries,
      compares: this.#comparesWith(reads),
      changes: [...this.#changes],
      missing: [...this.#missing],
    }
  }

  #comparesWith(reads: Flow): readonly ComparedFlow[] {
    if (this.#fixed.size === 0 && this.#compared.size === 0) return none
    const compares: ComparedFlow[] = []
    for (const [use, flow] of this.#fixed) compares.push({ use, flow, fixed: true })
    for (const [use, flow] of this.#compared)
      compares.push({ use, flow: flow.variable ? union(flow, reads) : flow, fixed: false })
    return compares
  }

  /** A parent's rows are its children's, and a child's rows are among its parents': a rule on either must see both. */
  #kin(effect: Effect, relation: Relation, children: boolean, into: Effect[]): void {
    if (children)
      for (const child of this.#catalogue.descendants(relation))
        into.push({ ...effect, relation: child.ref, through: [`parent ${relation.ref}`] })
    for (const parent of this.#catalogue.ancestors(relation))
      into.push({ ...effect, relation: parent.ref, through: [`partition ${relation.ref}`] })
  }
}

const none: readonly ComparedFlow[] = []

/**
 * What is compared in a view or function with constants of its own was chosen by who made it, and tells always the same; what
 * triggers, rules and checks compare comes about by itself. Making one counts for all that is in it (`asOwn`).
 */
function comparesThrough(label: string | null): { readonly withFixed: boolean; readonly without: boolean } {
  if (label === null || label === 'do block') return ofText
  return label.startsWith('view ') || label.startsWith('function ') ? ofDefinition : ofItself
}
const ofText = { withFixed: true, without: false }
const ofDefinition = { withFixed: false, without: false }
const ofItself = { withFixed: false, without: true }

/** Of a definition that is being made: its constants are the asker's. */
export function asOwn(summary: Summary): Summary {
  return { ...summary, compares: summary.compares.map(one => ({ ...one, fixed: false })) }
}
