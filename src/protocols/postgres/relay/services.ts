import { randomBytes } from 'node:crypto'
import { AgentgateError } from '../../../errors.ts'
import { Hasher } from '../../../masking/hasher.ts'
import { Secret } from '../../../secret.ts'
import type { ServedResource } from '../../protocol.ts'
import type { SqlAction } from '../analysis/analysed.ts'
import { createAnalyser } from '../analysis/analyser.ts'
import { loadCatalogue, versionProbe } from '../analysis/catalogue-load.ts'
import { Catalogue } from '../analysis/catalogue.ts'
import { launders, planMasks } from '../analysis/plan-masks.ts'
import { actionOfText } from '../analysis/policy-text.ts'
import { createRowMasker } from '../masking/result-masker.ts'
import type { Analyser, ResultMasker, RunQuery } from './analyser.ts'
import { settingsOf } from './settings.ts'

/** The analysis and the masking behind one resource's relay. */
export async function loadServices(
  resource: ServedResource,
): Promise<{ readonly analyser: Analyser; readonly masker: ResultMasker }> {
  const trustedFunctions = settingsOf(resource).trusted?.functions ?? []
  const reader = await createAnalyser({ trustedFunctions })
  const versions = new WeakMap<object, string>()
  const hasher = new Hasher(resource.maskKey ?? new Secret(randomBytes(32).toString('base64')))
  return {
    analyser: {
      analyse: (text, resolution, catalogue) => reader.analyse(text, resolution, asCatalogue(catalogue)),
      loadCatalogue: async (query: RunQuery, before) => {
        const [[version] = []] = await query(versionProbe)
        if (before !== undefined && version !== undefined && version !== null && versions.get(before) === version)
          return before
        const loaded = await loadCatalogue(async sql => (await query(sql)).map(row => [...row]))
        if (version !== undefined && version !== null) versions.set(loaded, version)
        return loaded
      },
      launders,
      plan: (statement, masks, catalogue, columns) => planMasks(statement, masks, columns, asCatalogue(catalogue)),
    },
    masker: {
      rows: (plan, fields) => createRowMasker(plan, fields, { hasher }),
      copy: () => undefined,
    },
  }
}

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
  const { refusal, statements } = action.shape
  if (refusal !== null && statements.length === 0)
    throw new AgentgateError('USAGE', `the statement cannot be read: ${refusal.message}`, { hint: refusal.hint })
  return action
}
