import { createHash } from 'node:crypto'
import type { Ask } from '../../protocol.ts'
import type { Effect, SqlAction } from './analysed.ts'

/** What an approver is told besides the text: what is touched, and whether a condition bounds it. */
export function ask(action: SqlAction): Ask {
  const { statements } = action.analysed
  const rows = action.facts?.estimatedRows
  const unknown = statements.some(statement => statement.effect === 'unknown')
  const effects = statements.flatMap(statement =>
    statement.unknown === null
      ? statement.effects.filter(effect => effect.verb !== 'select').map(effectLine)
      : [`cannot be told: ${statement.unknown}`],
  )
  return {
    effects: [
      ...new Set(effects),
      ...(rows?.some(one => one !== null && one > 0) === true
        ? [`about ${estimateText(rows)} by the server's estimate`]
        : []),
    ],
    // The fingerprint leaves constants out: a shape is the same only where each statement touches the same things the same way.
    shapeKey: unknown || statements.length !== 1 ? null : `${action.analysed.fingerprint}\0${effects.join('\0')}`,
    askKey: keyOf(action),
    editable: true,
  }
}

/** Settings and transactions touch nothing that a shape could be new for. */
const plain: ReadonlySet<string> = new Set(['set', 'reset', 'show', 'discard'])

export function touchesNothing({ analysed }: SqlAction): boolean {
  return analysed.statements.every(
    ({ effect, functions, effects }) =>
      effect !== 'unknown' && functions.length === 0 && effects.every(({ verb }) => plain.has(verb)),
  )
}

/** The same for actions that differ in constants alone and touch the same things; null where that is not known. */
export function seenKey({ analysed }: SqlAction): string | null {
  const { statements, fingerprint } = analysed
  if (statements.length === 0 || fingerprint === '' || statements.some(({ effect }) => effect === 'unknown'))
    return null
  const things = statements.flatMap(({ effects }) =>
    effects.map(effect => `${effectLine(effect)} ${effect.object ?? ''}`),
  )
  return [fingerprint, ...new Set(things)].join('\0')
}

function estimateText(rows: readonly (number | null)[]): string {
  const sum = rows.reduce<number>((all, one) => all + (one ?? 0), 0)
  return `${sum.toLocaleString('en-US')} ${sum === 1 ? 'row' : 'rows'}`
}

function effectLine(effect: Effect): string {
  const what = effect.relation ?? 'the server'
  const bounded = effect.where === 'missing' || effect.where === 'constant' ? ', every row' : ''
  const through = effect.through.length > 0 ? ` (through ${effect.through.join(', ')})` : ''
  return `${effect.verb} ${what}${bounded}${through}`
}

function keyOf(action: SqlAction): string {
  const hash = createHash('sha256').update(action.analysed.text)
  for (const { value, format, typeOid } of action.parameters) {
    hash.update(`\0${typeOid} ${format} ${value === null ? 'null' : value.length}\0`)
    if (value !== null) hash.update(value)
  }
  return hash.digest('base64')
}
