import { randomBytes } from 'node:crypto'
import { AgentgateError } from '../../../errors.ts'
import { Hasher } from '../../../masking/hasher.ts'
import { Secret } from '../../../secret.ts'
import type { ServedResource } from '../../protocol.ts'
import type { Mask } from '../../../policy/action.ts'
import type { SqlAction, Statement } from '../analysis/analysed.ts'
import { createAnalyser } from '../analysis/analyser.ts'
import { emptyCatalogue } from '../analysis/catalogue-ddl.ts'
import { loadCatalogue, versionProbe } from '../analysis/catalogue-load.ts'
import { Catalogue } from '../analysis/catalogue.ts'
import { refusalUnder } from '../analysis/masked-uses.ts'
import { planMasks } from '../analysis/plan-masks.ts'
import { actionOfText } from '../analysis/policy-text.ts'
import { copyRefusal, createCopyMasker } from '../masking/copy-masker.ts'
import { createRowMasker } from '../masking/result-masker.ts'
import type { Analyser, ResultMasker, TextRows } from './analyser.ts'
import { settingsOf } from './settings.ts'
import { isSafeEncoding } from './text-encoding.ts'

/** The analysis and the masking behind one resource's relay. */
export async function loadServices(
  resource: ServedResource,
): Promise<{ readonly analyser: Analyser; readonly masker: ResultMasker }> {
  const trustedFunctions = settingsOf(resource).trusted?.functions ?? []
  const reader = await createAnalyser({ trustedFunctions })
  const versions = new WeakMap<object, string>()
  /** What the catalogue is read by: asked in one go from the second time on. */
  let usual: readonly string[] = []
  const hasher = new Hasher(resource.maskKey ?? new Secret(randomBytes(32).toString('base64')))
  return {
    analyser: {
      analyse: (text, resolution, catalogue) => reader.analyse(text, resolution, asCatalogue(catalogue)),
      loadCatalogue: async (run, before) => {
        if (before !== undefined) {
          const [probed] = await run([versionProbe])
          if (versions.get(before) === versionOf(probed)) return before
        }
        // Before the rest: what changes in between is then seen as a change by the next look.
        const asked = [versionProbe, ...usual]
        const answers = new Map((await run(asked)).map((rows, index) => [asked[index], rows]))
        const used: string[] = []
        const loaded = await loadCatalogue(async sql => {
          used.push(sql)
          return (answers.get(sql) ?? (await run([sql]))[0] ?? []).map(row => [...row])
        })
        usual = used
        versions.set(loaded, versionOf(answers.get(versionProbe)))
        return loaded
      },
      launders: (statement, masks) => refusalUnder([statement], masks) ?? unmaskable(statement, masks),
      plan: (statement, masks, catalogue, columns) => planMasks(statement, masks, columns, asCatalogue(catalogue)),
    },
    masker: {
      rows: (plan, fields, catalogue) =>
        createRowMasker(plan, fields, { hasher, textOids: asCatalogue(catalogue).textTypes }),
      copy: (plan, { output }, binary, count, catalogue) => {
        if (output.kind !== 'copy-out' || plan === 'clear' || plan.length !== count) return undefined
        if (binary !== (output.format === 'binary')) return undefined
        const columns = output.columns.map(({ name, direct, sources }) => ({
          name,
          typeOid: direct ? typeOf(asCatalogue(catalogue), sources) : undefined,
        }))
        return createCopyMasker(plan, columns, output, { hasher, textOids: asCatalogue(catalogue).textTypes })
      },
    },
  }
}

/** Refused before it runs, so that the connection goes on. */
function unmaskable(statement: Statement, masks: readonly Mask[]): string | undefined {
  const { output, verb } = statement
  if (verb !== 'copy' || (output.kind !== 'copy-out' && output.kind !== 'unknown')) return undefined
  if (planMasks(statement, masks, null, noTables) === 'clear') return undefined
  const why =
    output.kind === 'unknown'
      ? 'its columns or options are not known'
      : output.encoding !== null && !isSafeEncoding(output.encoding)
        ? `its encoding ${output.encoding} is not read here`
        : copyRefusal(output)
  return why === undefined ? undefined : `a COPY of masked columns that cannot be masked, as ${why}`
}

/** The type that all of these have, as a column and its kin do; undefined: they differ, or one is not known. */
function typeOf(catalogue: Catalogue, refs: readonly string[]): number | undefined {
  const types = new Set(refs.map(ref => catalogue.baseType(catalogue.columnByRef(ref)?.typeOid ?? 0)))
  const [only] = types
  return types.size === 1 && only !== 0 ? only : undefined
}

function versionOf(rows: TextRows | undefined): string {
  const version = rows?.[0]?.[0]
  if (version === undefined || version === null) throw new AgentgateError('INTERNAL', 'the catalogue has no version')
  return version
}

const noTables = emptyCatalogue(180_000, true)

function asCatalogue(catalogue: object): Catalogue {
  if (catalogue instanceof Catalogue) return catalogue
  throw new AgentgateError('INTERNAL', 'not a catalogue')
}

let policyReader: ReturnType<typeof createAnalyser> | undefined

/** A statement as `policy test` and `policy explain` ask about it: without a server, the tables as DDL describes them. */
export async function parseForPolicy(
  text: string,
  options: { readonly resource: unknown; readonly fixtures: string | undefined },
): Promise<SqlAction> {
  policyReader ??= createAnalyser()
  const action = actionOfText(await policyReader, text, options)
  const { refusal, statements } = action.analysed
  if (refusal !== null && statements.length === 0)
    throw new AgentgateError('USAGE', `the statement cannot be read: ${refusal.message}`, { hint: refusal.hint })
  return action
}
