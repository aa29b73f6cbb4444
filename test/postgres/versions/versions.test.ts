import { existsSync, readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAnalyser, type Analyser } from '../../../src/protocols/postgres/analysis/analyser.ts'
import { catalogueFromDdl } from '../../../src/protocols/postgres/analysis/catalogue-ddl.ts'
import type { Catalogue } from '../../../src/protocols/postgres/analysis/catalogue.ts'
import { readOtherwise } from '../../../src/protocols/postgres/analysis/older-servers.ts'
import { parseMessage, syncMessage } from '../../../src/protocols/postgres/wire/frontend-messages.ts'
import { describeWith, type Need } from '../../support/needs.ts'
import { Owned } from '../../support/owned.ts'
import { postgres15, postgres18, postgresOf, startServer, type TestServer } from '../../support/servers.ts'
import { RawClient, errorText } from '../support/raw-client.ts'
import { splitScript } from '../corpus/split.ts'
import { numbers, others, places } from './places.ts'
import { meaning } from './trees.ts'

// The grammar that statements are read by is PostgreSQL 18's. Each statement that a server of another version takes, too, is either
// read by it in the same way (as that version's own grammar says), or never reaches it.

const isSlow = process.env['SLOW'] === '1'
const cache =
  process.env['AGENTGATE_TEST_CACHE'] ??
  path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'agentgate-test')
const corpus = path.join(cache, 'postgres-regress')
const needCorpus: Need = {
  name: "PostgreSQL's regression tests",
  missing: existsSync(path.join(corpus, 'select.sql')) ? undefined : 'run test/postgres/corpus/setup.sh',
}
const grammar = (version: number) => path.join(cache, `grammar-${version}`, 'node_modules/libpg-query/wasm/index.js')
const needGrammars: Need = {
  name: 'older grammars',
  missing: [13, 15, 16, 17].every(version => existsSync(grammar(version)))
    ? undefined
    : 'run test/postgres/versions/setup.sh',
}

interface Grammar {
  loadModule(): Promise<void>
  /** @throws Error where it is no statement. */
  parseSync(text: string): { readonly stmts?: unknown }
}

const kinds = [postgresOf(13), postgresOf(14), postgres15, postgresOf(16), postgresOf(17), postgres18]
/** Its text and no more is read by the server: nothing is analysed, planned or run within a transaction that has failed. */
async function taken(client: RawClient, texts: readonly string[]): Promise<readonly boolean[]> {
  const found: boolean[] = []
  for (let from = 0; from < texts.length; from += 500) {
    const some = texts.slice(from, from + 500)
    client.send(...some.flatMap(text => [parseMessage('', text), syncMessage]))
    for (const text of some) {
      let answer: boolean | undefined
      for (let message = await client.next(); message.type !== 'Z'; message = await client.next()) {
        if (message.type === '1') answer = true // what ends a transaction may be prepared even there
        if (message.type === 'E') answer = errorText(message.body).startsWith('25P02')
      }
      expect(answer, text).toBeDefined()
      found.push(answer === true)
    }
    client.messages.length = 0
    client.rewind()
  }
  return found
}

for (const kind of kinds)
  describeWith(
    `${kind.name} reads what agentgate reads`,
    [kind.need, postgres18.need, needCorpus, needGrammars],
    () => {
      const owned = new Owned()
      let server: TestServer
      let client: RawClient
      let analyser: Analyser
      let catalogue: Catalogue
      /** Those of the version itself; of 14 those on both sides of it. */
      const grammars: Grammar[] = []

      beforeAll(async () => {
        server = owned.add(await startServer(kind))
        client = await RawClient.connect({ port: server.port, password: server.password.reveal(), user: server.user })
        await client.query('begin')
        await client.query('select 1 / 0')
        analyser = await createAnalyser()
        const made = 'create function "json_object"(int) returns int language sql as $$ select 1 $$'
        catalogue = catalogueFromDdl(analyser.parser, made, kind.version * 10_000)
        for (const version of kind.version === 14 ? [13, 15] : kind.version === 18 ? [] : [kind.version]) {
          const loaded = (await import(grammar(version))) as Grammar
          await loaded.loadModule()
          grammars.push(loaded)
        }
      })
      afterAll(async () => {
        client.close()
        await owned.close()
      })

      /** Statements that the server would run as something else than they are read as. */
      async function misread(
        texts: readonly string[],
      ): Promise<{ readonly found: readonly string[]; readonly refused: number }> {
        const answers = await taken(client, texts)
        const found: string[] = []
        let refused = 0
        texts.forEach((text, index) => {
          if (answers[index] !== true) return
          const read = analyser.parser.parse(text)
          if (read.kind !== 'parsed') return // never goes on
          if (readOtherwise(analyser.parser, text, read.statements, kind.version * 10_000, catalogue) !== undefined) {
            refused += 1
            return
          }
          const ours = JSON.stringify(meaning(read.statements))
          const same =
            grammars.length === 0 ||
            grammars.some(other => {
              try {
                return JSON.stringify(meaning(other.parseSync(text).stmts ?? [])) === ours
              } catch {
                return false
              }
            })
          if (!same) found.push(text)
        })
        return { found, refused }
      }

      test('words that came, or changed their place, wherever a word may stand', { timeout: 120_000 }, async () => {
        const newest = await startServer(postgres18)
        const words = `select word || ' ' || catcode::text as word from pg_get_keywords()`
        const then = new Set((await server.query(words)).map(row => String(row['word'])))
        const now = (await newest.query(words)).map(row => String(row['word']))
        await newest.stop()
        const changed = [...now.filter(word => !then.has(word)), ...[...then].filter(word => !now.includes(word))]
        const names = new Set(changed.map(word => word.split(' ')[0] ?? ''))
        // and some that did not, so that there is something to be read
        for (const word of ['a', 'value', 'name', 'set', 'with', 'old', 'json_build_object', 'substring', 'extract'])
          names.add(word)
        const texts = [...names].flatMap(word => places.map(place => place.replace(/\bK\b/g, word)))
        const { found, refused } = await misread(texts)
        expect(found).toEqual([])
        if (kind.version < 17) expect(refused).toBeGreaterThan(20)
        else expect(refused).toBe(0)
      })

      test('numbers, and grammar that came since 13', async () => {
        const { found, refused } = await misread([...numbers, ...others])
        expect(found).toEqual([])
        // up to 14, a number ends where its letters begin
        if (kind.version < 17) expect(refused).toBeGreaterThan(kind.version < 15 ? 40 : 3)
        else expect(refused).toBe(0)
      })

      test("PostgreSQL 15's own regression tests", { timeout: 120_000 }, async () => {
        const texts = new Set<string>()
        for (const file of readdirSync(corpus))
          for (const text of splitScript(readFileSync(path.join(corpus, file), 'latin1')))
            // neither psql's variables, nor a text of which the parser would have to be made anew
            if (!/:['"]?[a-z_]+\b(?!:)/i.test(text.replace(/::|:=/g, '')) && text.length < 20_000) texts.add(text)
        const { found, refused } = await misread(
          [...texts].filter((_, index) => isSlow || index % 10 === kind.version % 10),
        )
        expect(found).toEqual([])
        expect(refused).toBeLessThan(60)
      })
    },
  )
