import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { jsonSchemas } from './policy-schema.ts'
import { loadProtocols } from './protocols.ts'

describe('the published JSON Schemas', () => {
  it('are current (else: node scripts/write-schema.js)', async () => {
    const schemas = jsonSchemas(await loadProtocols())
    for (const [name, schema] of Object.entries(schemas)) {
      const file = path.join(import.meta.dirname, '..', '..', 'schema', name)
      expect(JSON.parse(readFileSync(file, 'utf8')), name).toEqual(JSON.parse(JSON.stringify(schema)))
    }
  })
})
