import { z } from 'zod'
import type { PolicyKinds } from '../policy/policy.ts'
import { policySchema } from '../policy/schema.ts'
import { testFileSchema } from '../policy/test-cases.ts'

/** JSON Schemas for editors, by file name below schema/. Written by scripts/write-schema.js, held current by a test. */
export function jsonSchemas(kinds: PolicyKinds): Readonly<Record<string, unknown>> {
  return {
    'agentgate.schema.json': publish(policySchema(kinds), 'agentgate.yaml', 'Who may do what through agentgate.'),
    'agentgate.test.schema.json': publish(testFileSchema, 'agentgate.test.yaml', 'Cases for agentgate policy test.'),
  }
}

/** What people write, not what it is read into. What only code can check (a time zone, a reference) is left open. */
function publish(schema: z.ZodType, title: string, description: string): unknown {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', reused: 'ref' })
  return { $schema, title, description, ...rest }
}
