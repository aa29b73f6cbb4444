import type { ActionView, Mask } from '../../../policy/action.ts'
import type { AnalysedText, BoundParameter, Effect, SqlAction, Statement } from './analysed.ts'
import { hideConstants } from './hidden-constants.ts'
import { showParameter } from './parameter-text.ts'

const noEffects: ActionView['reads'] = []

interface Shown {
  readonly masks: readonly Mask[]
  readonly view: ActionView
  readonly hiddenParameters: ReadonlySet<number> | 'all'
}

/** One view a text and masks: a statement seen before costs a look-up, and only bound values are added. */
const shownTexts = new WeakMap<AnalysedText, Shown>()
/** What views of all texts of one shape have in common. */
const shownShapes = new WeakMap<object, Omit<ActionView, 'text' | 'parameters'>>()

/** What may be shown and recorded of an action: constants and parameters that stand for a masked column are hidden. */
export function view(action: SqlAction, masks: readonly Mask[]): ActionView {
  const shown = shownOf(action.analysed, masks)
  if (action.parameters.length === 0) return shown.view
  return {
    ...shown.view,
    parameters: action.parameters.map((parameter, index) => shownParameter(parameter, index, shown)),
  }
}

function shownOf(analysed: AnalysedText, masks: readonly Mask[]): Shown {
  const known = shownTexts.get(analysed)
  if (known?.masks === masks) return known
  const { text, hiddenParameters } = hideConstants(analysed, masks)
  const shown: Shown = { masks, hiddenParameters, view: { ...shownShapeOf(analysed), text } }
  shownTexts.set(analysed, shown)
  return shown
}

function shownShapeOf(analysed: AnalysedText): Omit<ActionView, 'text' | 'parameters'> {
  const known = shownShapes.get(analysed.shape)
  if (known !== undefined) return known
  const { statements } = analysed
  const shown = {
    kind: 'postgres',
    summary: summaryOf(statements),
    effect: effectOf(statements),
    verbs: distinct(statements.flatMap(statement => [statement.verb, ...statement.effects.map(effect => effect.verb)])),
    reads: relations(statements, effect => effect.verb === 'select' || effect.verb === 'copy-out'),
    writes: relations(statements, effect => effect.verb !== 'select' && effect.verb !== 'copy-out'),
    attributes: {
      fingerprint: analysed.fingerprint,
      functions: distinct(statements.flatMap(statement => statement.functions)),
      where: distinct(
        statements
          .flatMap(statement => statement.effects.map(effect => effect.where))
          .filter(where => where !== 'none'),
      ),
      unknown: statements.find(statement => statement.unknown !== null)?.unknown ?? null,
    },
  }
  shownShapes.set(analysed.shape, shown)
  return shown
}

function shownParameter(parameter: BoundParameter, index: number, shown: Shown): string | null {
  if (parameter.value === null) return null
  const hidden = shown.hiddenParameters === 'all' || shown.hiddenParameters.has(index + 1)
  return hidden ? '…' : showParameter(parameter)
}

/** `UPDATE payments`; the first statement that changes something speaks for a string of several. */
function summaryOf(statements: readonly Statement[]): string {
  const statement = statements.find(each => each.effect !== 'read') ?? statements[0]
  if (statement === undefined) return 'empty'
  const effect =
    statement.effects.find(each => each.verb === statement.verb) ??
    statement.effects.find(each => each.relation !== null)
  const target = effect?.relation?.replace(/^public\./, '')
  const more = statements.length > 1 ? ` and ${statements.length - 1} more` : ''
  return `${statement.verb.toUpperCase()}${target === undefined ? '' : ` ${target}`}${more}`
}

function effectOf(statements: readonly Statement[]): ActionView['effect'] {
  if (statements.some(statement => statement.effect === 'unknown')) return 'unknown'
  return statements.some(statement => statement.effect === 'change') ? 'change' : 'read'
}

function relations(statements: readonly Statement[], wanted: (effect: Effect) => boolean): readonly string[] {
  const found = statements.flatMap(statement =>
    statement.effects.filter(wanted).flatMap(({ relation }) => (relation === null ? [] : [relation])),
  )
  return found.length === 0 ? noEffects : distinct(found)
}

function distinct(values: readonly string[]): readonly string[] {
  return [...new Set(values)]
}
