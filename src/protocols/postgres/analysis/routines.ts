import { builtin } from './builtin-functions.ts'
import type { Builtin } from './builtin-functions.ts'
import type { Routine } from './catalogue.ts'
import { isTemporary } from './context.ts'
import { nothing, union, unionAll } from './flow.ts'
import type { Flow } from './flow.ts'
import type { Reader } from './reader.ts'

export interface Resolved {
  /** Every function of the catalogue that the call may mean: overloads are not told apart by type. */
  readonly routines: readonly Routine[]
  /** Whether it may mean one of pg_catalog that initdb made. */
  readonly isBuiltin: boolean
  readonly builtin: Builtin | undefined
}

const nobody: readonly Routine[] = []

export function resolveRoutines(reader: Reader, names: readonly string[], count: number): Resolved {
  const name = names.at(-1) ?? ''
  const { context } = reader
  const named = context.catalogue.routines(name)
  if (names.length > 1) {
    const given = names.at(-2) ?? ''
    const schema = given === 'pg_temp' ? (context.temporarySchema ?? given) : given
    const routines = named.filter(routine => routine.schema === schema && fits(routine, count))
    if (schema === 'information_schema' && name.startsWith('_pg_'))
      return { routines, isBuiltin: true, builtin: { kind: 'harmless' } }
    const own = schema === 'pg_catalog' ? builtin(name) : undefined
    return { routines, isBuiltin: own !== undefined, builtin: own }
  }
  const routines =
    named.length === 0
      ? nobody
      : named.filter(
          routine =>
            (routine.schema === 'pg_catalog' ||
              (reader.path.includes(routine.schema) && !isTemporary(routine.schema))) &&
            fits(routine, count),
        )
  const own = builtin(name)
  return { routines, isBuiltin: own !== undefined, builtin: own }
}

const fits = (routine: Routine, count: number) =>
  count >= routine.least && (count <= routine.most || routine.variadic) ? true : routine.kind === 'procedure'

/** What calling it does and what its result depends on, besides its arguments. */
export function callRoutine(reader: Reader, routine: Routine, given: Flow): Flow {
  const { sink, context } = reader
  sink.call(routine.ref)
  const summary = context.routine(routine, reader.runPath)
  sink.merge(summary, `function ${routine.ref}`, given)
  const { result } = summary
  if (!result) return union(given, { ...summary.reads, variable: false })
  return withArguments(union(result.filter, unionAll(result.columns.map(column => column.flow))), given)
}

/** What flows from a body's variables flows from the arguments that were given for them. */
function withArguments(flow: Flow, given: Flow): Flow {
  return flow.variable ? union({ ...flow, variable: false }, given) : flow
}

/** What each column of a function used as a table depends on; undefined where they are not told apart. */
export function columnsOfRoutine(reader: Reader, routine: Routine, given: Flow): readonly Flow[] | undefined {
  return reader.context.routine(routine, reader.runPath).result?.columns.map(({ flow }) => withArguments(flow, given))
}

/**
 * The functions behind casts that somebody made (not an extension's), as if each were called: which one the server applies, and
 * where, depends on types that are not told here. What one reads may come out anywhere, so it counts as put somewhere.
 */
export function applyCasts(reader: Reader): void {
  const { sink, context } = reader
  let flow = nothing
  for (const oid of context.catalogue.parts.castRoutines) {
    const routine = context.catalogue.routineByOid(oid)
    if (routine === undefined) sink.unknown('a cast calls a function that is not known')
    else if (routine.extension === null) {
      const { effects, unknown, reads, carries } = context.routine(routine, reader.runPath)
      if (effects.length + unknown.length + carries.length + reads.columns.length > 0 || !reads.certain)
        flow = union(flow, callRoutine(reader, routine, nothing))
    }
  }
  if (flow.columns.length > 0 || !flow.certain) sink.carry(null, 'a cast', flow)
}

export function callBuiltin(reader: Reader, name: string, known: Builtin, given: Flow): Flow {
  const { sink } = reader
  sink.call(`pg_catalog.${name}`)
  switch (known.kind) {
    case 'harmless':
      return given
    case 'samples':
      return union(given, uncertain)
    case 'change':
      sink.effect({ verb: known.verb })
      if (known.carries) sink.carry(null, name, given)
      return known.samples ? union(given, uncertain) : given
    case 'sequence':
    case 'set-config':
      return given // told by the caller, who has the arguments
    case 'unknown':
      sink.unknown(`pg_catalog.${name} ${known.why}`)
      return union(given, uncertain)
    default:
      return known satisfies never
  }
}

const uncertain: Flow = { ...nothing, certain: false }

export function callAll(reader: Reader, routines: readonly Routine[], given: Flow): Flow {
  return unionAll([given, ...routines.map(routine => callRoutine(reader, routine, given))])
}
