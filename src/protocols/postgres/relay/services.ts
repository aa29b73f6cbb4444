import { createHash, randomBytes } from 'node:crypto'
import { AgentgateError } from '../../../errors.ts'
import { Hasher } from '../../../masking/hasher.ts'
import { Secret } from '../../../secret.ts'
import type { ServedResource } from '../../protocol.ts'
import type { Resolution, SqlAction } from '../analysis/analysed.ts'
import { createAnalyser, type Analyser as TextAnalyser } from '../analysis/analyser.ts'
import { catalogueFromDdl } from '../analysis/catalogue-ddl.ts'
import { loadCatalogue, versionProbe } from '../analysis/catalogue-load.ts'
import { Catalogue } from '../analysis/catalogue.ts'
import { resourceSchema } from '../analysis/schema.ts'
import { laundered, planMasks } from '../masking/plan.ts'
import { createRowMasker } from '../masking/result-masker.ts'
import type { Analyser, ResultMasker } from './analyser.ts'

/** What the relay of one resource works with: the analysis of its statements, and the masking of their results. */
export async function loadServices(resource: ServedResource): Promise<{ analyser: Analyser; masker: ResultMasker }> {
  const settings = resourceSchema.parse(resource.settings)
  const analyser = await createAnalyser({ trustedFunctions: settings.trusted?.functions ?? [] })
  return {
    analyser: analyserOf(analyser),
    masker: maskerOf(resource.maskKey ?? new Secret(randomBytes(32).toString('base64'))),
  }
}

function analyserOf(analyser: TextAnalyser): Analyser {
  const versions = new WeakMap<Catalogue, string>()
  return {
    analyse: (text, resolution, catalogue) => analyser.analyse(text, resolution, asCatalogue(catalogue)),
    loadCatalogue: async (query, before) => {
      // The version is read first: what changes while the rest is read shows as a change the next time.
      const [row] = await query(versionProbe)
      const version = row?.[0] ?? ''
      if (before instanceof Catalogue && versions.get(before) === version) return before
      const catalogue = await loadCatalogue(query)
      versions.set(catalogue, version)
      return catalogue
    },
    plan: (statement, masks, catalogue, columns) => planMasks(statement, masks, columns, asCatalogue(catalogue)),
    launders: (statement, masks) => laundered(statement, masks),
  }
}

function maskerOf(key: Secret): ResultMasker {
  const hasher = new Hasher(key)
  return {
    rows: (plan, fields) => createRowMasker(plan, fields, { hasher }),
    copy: () => undefined,
  }
}

function asCatalogue(value: object): Catalogue {
  if (!(value instanceof Catalogue)) throw new AgentgateError('INTERNAL', 'a catalogue from elsewhere')
  return value
}

let analysers: Promise<TextAnalyser> | undefined

/** An action from a text alone, for policy tests and `policy explain`: tables are those that `fixtures` makes. */
export async function parseForPolicy(
  text: string,
  options: { readonly fixtures: string | undefined },
): Promise<SqlAction> {
  analysers ??= createAnalyser()
  const analyser = await analysers
  const catalogue = catalogueFor(analyser, options.fixtures ?? '')
  const analysed = analyser.analyse(text, withoutServer, catalogue)
  if (analysed.refusal !== null)
    throw new AgentgateError('USAGE', `the statement cannot be read: ${analysed.refusal.message}`, {
      hint: analysed.refusal.hint,
    })
  return { kind: 'postgres', shape: analysed, parameters: [] }
}

const withoutServer: Resolution = {
  serverVersion: 180000,
  database: 'postgres',
  sessionUser: 'agentgate',
  role: 'agentgate',
  searchPath: ['pg_catalog', 'public'],
  standardConformingStrings: true,
  clientEncoding: 'UTF8',
}

const catalogues = new Map<string, Catalogue>()

function catalogueFor(analyser: TextAnalyser, fixtures: string): Catalogue {
  const key = createHash('sha256').update(fixtures).digest('hex')
  let catalogue = catalogues.get(key)
  if (catalogue === undefined) {
    catalogue = catalogueFromDdl(analyser.parser, fixtures)
    catalogues.set(key, catalogue)
  }
  return catalogue
}
