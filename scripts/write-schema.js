// Writes schema/*.json from the zod schemas: node scripts/write-schema.js
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { format } from 'prettier'

const root = path.join(import.meta.dirname, '..')
const folder = path.join(root, 'schema')
// Inside the repository, so that what is left unbundled is found.
const draft = mkdtempSync(path.join(root, '.write-schema-'))
try {
  const bundle = path.join(draft, 'schemas.mjs')
  await build({
    stdin: {
      contents: `export { jsonSchemas } from './src/cli/policy-schema.ts'\nexport { loadProtocols } from './src/cli/protocols.ts'`,
      resolveDir: root,
    },
    outfile: bundle,
    bundle: true,
    packages: 'external',
    target: 'node20.19',
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
  })
  const { jsonSchemas, loadProtocols } = await import(pathToFileURL(bundle).href)
  mkdirSync(folder, { recursive: true })
  for (const [name, schema] of Object.entries(jsonSchemas(await loadProtocols())))
    writeFileSync(path.join(folder, name), await format(JSON.stringify(schema), { parser: 'json', printWidth: 120 }))
} finally {
  rmSync(draft, { recursive: true })
}
