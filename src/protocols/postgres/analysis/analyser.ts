import type { Node } from 'libpg-query'
import type {
  AnalysedText,
  Carry,
  Constant,
  Lineage,
  Output,
  Refusal,
  Resolution,
  SessionChange,
  Statement,
} from './analysed.ts'
import type { Catalogue } from './catalogue.ts'
import { extendCatalogue } from './catalogue-ddl.ts'
import { Context, isTemporary } from './context.ts'
import type { AnalyserOptions } from './context.ts'
import { effectivePath } from './definitions.ts'
import type { Flow } from './flow.ts'
import { as, constantText } from './nodes.ts'
import { outlineOf, type Outline } from './outline.ts'
import type { Parsed, Parser } from './parser.ts'
import { loadParser } from './parser.ts'
import { Reader, TooDeep } from './reader.ts'
import { Recent } from './recent.ts'
import { flowOfResult } from './scope.ts'
import type { NamedFlow, Result } from './scope.ts'
import { ConstantWatch, sameButConstants, Template, withOtherConstants } from './shapes.ts'
import { readStatement } from './statement-reader.ts'
import type { Outcome, RawOutput } from './statement-reader.ts'
import type { Summary } from './summary.ts'
import { byteSlice } from './text.ts'
import { unreadable } from './unreadable.ts'
import { changes } from './verbs.ts'

export interface Analyser {
  readonly parser: Parser
  /** Reads a query string as the server would in this session. The same object for the same arguments, for as long as it is kept. */
  analyse(text: string, resolution: Resolution, catalogue: Catalogue): AnalysedText
}

const keptTexts = 4000
const keptBytes = 4 * 1024 * 1024
const keptShapes = 2000
const keptShapeBytes = 2 * 1024 * 1024

export async function createAnalyser(options: Partial<AnalyserOptions> = {}): Promise<Analyser> {
  return new TextAnalyser(await loadParser(), {
    trustedFunctions: options.trustedFunctions ?? [],
    maxTextBytes: options.maxTextBytes ?? 8 * 1024 * 1024,
  })
}

interface Kept {
  readonly context: Context
  readonly texts: Recent<AnalysedText>
  /** What is known of a shape: a text of it was seen, its texts differ in more than constants, or what they all say. */
  readonly shapes: Recent<'seen' | 'differs' | Template>
}

class TextAnalyser implements Analyser {
  readonly parser: Parser
  readonly #options: AnalyserOptions
  readonly #kept = new WeakMap<Catalogue, Map<string, Kept>>()
  readonly #keys = new WeakMap<Resolution, string>()

  constructor(parser: Parser, options: AnalyserOptions) {
    this.parser = parser
    this.#options = options
  }

  analyse(text: string, resolution: Resolution, catalogue: Catalogue): AnalysedText {
    const kept = this.#keptFor(resolution, catalogue)
    const found = kept.texts.get(text)
    if (found) return found
    const outline = outlineOf(text)
    const known = outline && kept.shapes.get(outline.shape)
    if (outline && known instanceof Template) return known.read(text, outline)
    let analysed: AnalysedText | undefined
    if (outline && known === 'seen') {
      const watched = this.#watched(text, outline, kept.context)
      kept.shapes.set(outline.shape, watched?.template ?? 'differs')
      analysed = watched?.analysed
    } else if (outline && known === undefined) kept.shapes.set(outline.shape, 'seen')
    analysed ??= this.#analyse(text, kept.context)
    // a text that is refused as stale may be fine in a moment, with another catalogue
    kept.texts.set(text, analysed)
    return analysed
  }

  /** Reads a text and sees whether all others of its shape say the same; undefined where the grammar already tells them apart. */
  #watched(text: string, outline: Outline, context: Context) {
    const parsed = this.parser.parse(text)
    const other = this.parser.parse(withOtherConstants(text, outline))
    if (parsed.kind !== 'parsed' || other.kind !== 'parsed') return undefined
    const [only, ...others] = parsed.statements
    if (only === undefined || others.length > 0 || !sameButConstants(parsed.statements, other.statements))
      return undefined
    const watch = new ConstantWatch()
    watch.over(parsed.statements)
    if (!watch.matches(text, outline)) return undefined
    const analysed = this.#analyse(text, context, parsed)
    return { analysed, template: watch.asked ? undefined : Template.of(analysed, outline, only) }
  }

  #keptFor(resolution: Resolution, catalogue: Catalogue): Kept {
    const key = this.#keys.get(resolution) ?? JSON.stringify(resolution)
    this.#keys.set(resolution, key)
    const all = this.#kept.get(catalogue) ?? new Map<string, Kept>()
    this.#kept.set(catalogue, all)
    let kept = all.get(key)
    if (!kept) {
      kept = {
        context: new Context(this.parser, catalogue, resolution, this.#options),
        texts: new Recent(keptTexts, keptBytes),
        shapes: new Recent(keptShapes, keptShapeBytes),
      }
      if (all.size > 50) all.clear()
      all.set(key, kept)
    }
    return kept
  }

  #analyse(text: string, context: Context, read?: Parsed): AnalysedText {
    const refused = unreadable(this.parser, text, context.resolution, this.#options.maxTextBytes)
    if (refused) return new Analysed(this.parser, text, [], refused)
    const parsed = read ?? this.parser.parse(text)
    switch (parsed.kind) {
      case 'syntax-error':
        return new Analysed(this.parser, text, [], {
          sqlstate: '42601',
          message: parsed.message,
          hint: undefined,
          ...(parsed.position === undefined ? {} : { position: parsed.position }),
        })
      case 'too-deep':
        return new Analysed(this.parser, text, [], tooDeep)
      case 'broken':
        return new Analysed(this.parser, text, [], {
          sqlstate: '54001',
          message: 'the statement is too complex to be read',
          hint: undefined,
        })
      case 'parsed':
        break
      default:
        return parsed satisfies never
    }
    const otherwise = context.readOtherwise(text, parsed.statements)
    if (otherwise) return new Analysed(this.parser, text, [], { sqlstate: '42601', ...otherwise })
    try {
      const reading = new TextReading(context)
      for (const { stmt, stmt_location = 0, stmt_len = 0 } of parsed.statements)
        if (stmt)
          reading.read(
            stmt,
            parsed.statements.length === 1 && stmt_len === 0 && stmt_location === 0
              ? text
              : byteSlice(text, stmt_location, stmt_len),
          )
      return new Analysed(this.parser, text, reading.statements, reading.refusal, reading.constants)
    } catch (error) {
      if (error instanceof TooDeep || error instanceof RangeError) return new Analysed(this.parser, text, [], tooDeep)
      throw error
    }
  }
}

const tooDeep: Refusal = {
  sqlstate: '54001',
  message: 'the statement nests too deeply to be read',
  hint: undefined,
}

class Analysed implements AnalysedText {
  readonly text: string
  readonly shape = {}
  readonly statements: readonly Statement[]
  readonly refusal: Refusal | null
  readonly constants: readonly Constant[]
  readonly #parser: Parser
  #fingerprint: string | undefined

  constructor(
    parser: Parser,
    text: string,
    statements: readonly Statement[],
    refusal: Refusal | null,
    constants: readonly Constant[] = [],
  ) {
    this.#parser = parser
    this.constants = constants
    this.text = text
    this.statements = statements
    this.refusal = refusal
  }

  get fingerprint(): string {
    return (this.#fingerprint ??= this.#parser.fingerprint(this.text) ?? '')
  }
}

/** Reads the statements of one string in order: each sees what those before it have made. */
class TextReading {
  readonly statements: Statement[] = []
  readonly constants: Constant[] = []
  #context: Context
  /** What those before have done that cannot be followed. */
  #lost: string | null = null
  refusal: Refusal | null = null

  constructor(context: Context) {
    this.#context = context
  }

  read(node: Node, text: string): void {
    const context = this.#context
    const reader = new Reader(context)
    const outcome = readStatement(reader, node, text)
    let summary = reader.sink.finish()
    if (this.#lost !== null && !outcome.transaction) summary = { ...summary, unknown: [...summary.unknown, this.#lost] }
    const statement = this.#statement(context, text, outcome, summary, reader.parameterCount)
    this.statements.push(statement)
    // Of too many nothing is said, which hides them.
    for (const { kind, at, near } of reader.constants.finish() ?? []) {
      const { refs, certain } = refsOf(context, near)
      this.constants.push({ kind, at, near: refs, certain })
    }
    this.#refuse(summary)
    if (summary.changes.length > 0) this.#follow(node, text, summary)
  }

  #refuse(summary: Summary): void {
    if (this.refusal) return
    const relation = summary.missing.find(name => name.startsWith('relation '))
    if (relation !== undefined && this.#lost === null)
      this.refusal = {
        sqlstate: '42P01',
        message: `relation "${relation.slice('relation '.length)}" does not exist`,
        hint: undefined,
        stale: true,
      }
  }

  /** What later statements of the same string find changed. */
  #follow(node: Node, text: string, summary: Summary): void {
    const { resolution, options, parser } = this.#context
    let { catalogue } = this.#context
    let path = resolution.searchPath
    if (summary.changes.includes('resolution')) {
      const next = followedPath(this.#context, node)
      if (next) path = next
      else this.#lost ??= 'the search path is only known when a statement before it has run'
    }
    if (summary.changes.includes('catalogue')) {
      const next = extendCatalogue(parser, catalogue, node, text, path)
      if (next) catalogue = next
      else this.#lost ??= 'what a statement before it makes is only known when that has run'
      if (next?.parts.schemas.includes('pg_temp') === true && !path.some(isTemporary)) path = ['pg_temp', ...path]
    }
    if (catalogue !== this.#context.catalogue || path !== resolution.searchPath)
      this.#context = new Context(
        parser,
        catalogue,
        { ...resolution, searchPath: path },
        options,
        this.#context.guessed || path !== resolution.searchPath,
      )
  }

  #statement(context: Context, text: string, outcome: Outcome, summary: Summary, parameterCount: number): Statement {
    const unknown = summary.unknown.length > 0 ? summary.unknown.join('; ') : null
    const written = summary.effects.some(effect => changes(effect.verb))
    const sessionChanges: SessionChange[] = summary.changes.map(kind => ({ kind }))
    for (const change of outcome.changes) {
      if (change.kind === 'prepare' || change.kind === 'declare') {
        const reader = new Reader(context)
        const inner = readStatement(reader, change.query, text)
        const statement = this.#statement(context, text, inner, reader.sink.finish(), reader.parameterCount)
        sessionChanges.push({ kind: change.kind, name: change.name, statement })
        this.#refuse(reader.sink.finish())
      } else sessionChanges.push(change)
    }
    const output = outputOf(context, outcome.output)
    return {
      text,
      verb: outcome.verb,
      effects: summary.effects,
      functions: summary.functions,
      effect: unknown !== null ? 'unknown' : written ? 'change' : 'read',
      unknown,
      output,
      changes: sessionChanges,
      carries: summary.carries.map(carried => carryOf(context, carried)),
      compares: summary.compares.map(({ use, flow }) => {
        const { refs: sources, certain } = refsOf(context, flow)
        return { use, sources, certain }
      }),
      missing: summary.missing,
      transaction: outcome.transaction,
      parameterCount,
    }
  }
}

/** The path after `SET search_path`, as far as it can be told without the server; undefined where it cannot. */
function followedPath(context: Context, node: Node): readonly string[] | undefined {
  const { resolution, catalogue } = context
  const set = as(node, 'VariableSetStmt')
  const name = set?.name?.toLowerCase()
  if (set?.kind === 'VAR_SET_VALUE' && name === 'search_path')
    return effectivePath(
      context,
      (set.args ?? []).map(arg => constantText(arg) ?? ''),
      resolution.role,
    ).filter(schema => catalogue.schemas.has(schema) || isTemporary(schema))
  if (name === 'role' || name === 'session_authorization') {
    // `$user` stands for another schema then, where there is one
    const role = constantText(set?.args?.[0])
    const schemas = [role, resolution.role, resolution.sessionUser]
    return role === undefined || schemas.some(schema => schema !== undefined && catalogue.schemas.has(schema))
      ? undefined
      : resolution.searchPath
  }
  if (set && name !== 'search_path' && set.kind === 'VAR_SET_VALUE') return resolution.searchPath
  // a temporary table, a schema, a grant: told by the catalogue
  if (
    as(node, 'CreateStmt') ||
    as(node, 'CreateTableAsStmt') ||
    as(node, 'SelectStmt')?.intoClause ||
    as(node, 'ViewStmt') ||
    as(node, 'CreateSeqStmt')
  )
    return resolution.searchPath
  if (as(node, 'CreateSchemaStmt') || as(node, 'GrantStmt') || as(node, 'GrantRoleStmt')) return resolution.searchPath
  return undefined
}

function outputOf(context: Context, raw: RawOutput): Output {
  switch (raw.kind) {
    case 'none':
    case 'server':
    case 'unknown':
      return { kind: raw.kind }
    case 'prepared':
    case 'cursor':
      return raw
    case 'copy-out': {
      const { result, ...format } = raw
      if (result.open) return { kind: 'unknown' }
      return { ...format, columns: result.columns.map(column => lineageOf(context, column)) }
    }
    case 'result':
      return columnsOf(context, raw.result)
    default:
      return raw satisfies never
  }
}

function columnsOf(context: Context, result: Result): Output {
  if (result.open) return { kind: 'any-columns', lineage: lineageOf(context, { name: '', flow: flowOfResult(result) }) }
  return { kind: 'columns', columns: result.columns.map(column => lineageOf(context, column)) }
}

function lineageOf(context: Context, { name, flow, direct }: NamedFlow): Lineage {
  const { refs, certain } = refsOf(context, flow)
  return { name, sources: refs, certain, direct: direct === true }
}

function refsOf(context: Context, flow: Flow): { refs: readonly string[]; certain: boolean } {
  const [only] = flow.columns
  if (!only) return { refs: [], certain: flow.certain }
  if (flow.columns.length === 1) {
    const { refs, certain } = context.holding(only)
    return { refs, certain: certain && flow.certain }
  }
  const all = new Set<string>()
  let { certain } = flow
  for (const column of flow.columns) {
    const holding = context.holding(column)
    for (const ref of holding.refs) all.add(ref)
    certain &&= holding.certain
  }
  return { refs: [...all], certain }
}

function carryOf(context: Context, carried: Summary['carries'][number]): Carry {
  const { refs, certain } = refsOf(context, carried.flow)
  const { into, place } = carried
  if (into === null || typeof into === 'string')
    return { into, place, holds: into === null ? [] : [into], sources: refs, certain }
  return { into: into.ref, place, holds: context.holding(into).refs, sources: refs, certain }
}
