import pg from 'pg'
import type { Resolution } from '../../../src/protocols/postgres/analysis/analysed.ts'
import { createAnalyser, type Analyser } from '../../../src/protocols/postgres/analysis/analyser.ts'
import { loadCatalogue } from '../../../src/protocols/postgres/analysis/catalogue-load.ts'
import type { Catalogue } from '../../../src/protocols/postgres/analysis/catalogue.ts'
import { startServer, type ServerName, type TestServer } from './server.ts'

const asText = { getTypeParser: () => (value: string) => value }

export interface Answer {
  readonly fields: readonly { name: string; tableOid: number; columnNumber: number; typeOid: number }[]
  readonly rows: readonly (readonly (string | null)[])[]
}

/** A real server with one connection to it, and the analysis of what is sent there. */
export class AnalysedServer {
  readonly client: pg.Client
  readonly analyser: Analyser
  catalogue!: Catalogue
  resolution!: Resolution
  readonly #server: TestServer

  private constructor(server: TestServer, client: pg.Client, analyser: Analyser) {
    this.#server = server
    this.client = client
    this.analyser = analyser
  }

  static async start(binaries: ServerName['binaries'], schema: string): Promise<AnalysedServer> {
    const server = await startServer(binaries)
    const client = new pg.Client({ connectionString: server.url.reveal() })
    await client.connect()
    const started = new AnalysedServer(server, client, await createAnalyser())
    await client.query(schema)
    await started.refresh()
    return started
  }

  /** As the relay does after DDL and after what changes how names are resolved. */
  async refresh(): Promise<void> {
    this.catalogue = await loadCatalogue(async sql => (await this.ask(sql)).rows)
    const { rows } = await this.ask(
      'select current_schemas(true)::text[]::text, session_user, current_user, array_to_json(current_schemas(true))::text',
    )
    const [, sessionUser, role, path] = rows[0]!
    this.resolution = {
      serverVersion: this.catalogue.serverVersion,
      database: this.catalogue.database,
      sessionUser: sessionUser!,
      role: role!,
      searchPath: JSON.parse(path!),
      standardConformingStrings: true,
      clientEncoding: 'UTF8',
    }
  }

  analyse(text: string) {
    return this.analyser.analyse(text, this.resolution, this.catalogue)
  }

  /** Sends a text without looking at it; of several statements the last one's answer. */
  async ask(text: string): Promise<Answer> {
    const result = await this.client.query<(string | null)[]>({ text, rowMode: 'array', types: asText })
    // pg gives an array for several statements, which its types do not say
    const { fields, rows } = Array.isArray(result) ? (result.at(-1) as typeof result) : result
    return {
      rows,
      fields: fields.map(field => ({
        name: field.name,
        tableOid: field.tableID,
        columnNumber: field.columnID,
        typeOid: field.dataTypeID,
      })),
    }
  }

  async stop(): Promise<void> {
    await this.client.end()
    await this.#server.remove()
  }
}
