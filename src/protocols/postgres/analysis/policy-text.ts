import type { Resolution, SqlAction } from './analysed.ts'
import type { Analyser } from './analyser.ts'
import { catalogueFromDdl, emptyCatalogue } from './catalogue-ddl.ts'
import { resourceSchema } from './schema.ts'

const serverVersion = 180000

/**
 * An action for a policy test or `policy explain`. `fixtures` is DDL that describes the tables; without it every relation
 * that is named is taken to be a table. @throws AgentgateError USAGE where the fixtures describe nothing
 */
export function actionOfText(
  analyser: Analyser,
  text: string,
  options: { readonly resource: unknown; readonly fixtures: string | undefined },
): SqlAction {
  const settings = resourceSchema.safeParse(options.resource)
  const database = settings.success && typeof settings.data.database === 'string' ? settings.data.database : 'postgres'
  const { fixtures } = options
  const described = fixtures === undefined || fixtures.trim() === ''
  const catalogue = described
    ? emptyCatalogue(serverVersion, true)
    : catalogueFromDdl(analyser.parser, fixtures, serverVersion)
  const resolution: Resolution = {
    serverVersion,
    database,
    sessionUser: 'policy',
    role: 'policy',
    searchPath: catalogue.path,
    standardConformingStrings: true,
    clientEncoding: 'UTF8',
  }
  const analysed = analyser.analyse(text, resolution, catalogue)
  return { kind: 'postgres', shape: analysed.shape, analysed, parameters: [] }
}
