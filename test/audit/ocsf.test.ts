import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { beforeAll, describe, expect, it } from 'vitest'
import type { AuditEvent } from '../../src/audit/audit-event.ts'
import { toOcsf } from '../../src/audit/ocsf.ts'
import { ocsfVersion } from '../../src/audit/ocsf.ts'
import { shorten } from '../../src/audit/shorten.ts'
import { everyEvent } from './events.ts'

interface Fixture {
  readonly $comment: string
  readonly $defs: object
  readonly classes: Readonly<
    Record<string, { readonly properties: { readonly class_uid: { readonly const: number } } }>
  >
}

const validators = new Map<number, ValidateFunction>()

beforeAll(() => {
  const fixture = JSON.parse(readFileSync(path.join(import.meta.dirname, 'ocsf-1.5.0.json'), 'utf8')) as Fixture
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  for (const schema of Object.values(fixture.classes))
    validators.set(schema.properties.class_uid.const, ajv.compile({ ...schema, $defs: fixture.$defs }))
})

const origin = { uid: 'e_1', at: 1_700_000_000_123, host: 'laptop', version: '0.1.0', text: 'whole' } as const

function problems(event: Record<string, unknown>): unknown {
  const validate = validators.get(Number(event['class_uid']))
  if (validate === undefined) throw new Error(`no schema of class ${String(event['class_uid'])}`)
  return validate(event)
    ? []
    : validate.errors?.map(({ instancePath, message, params }) => ({ instancePath, message, params }))
}

describe('audit events as OCSF', () => {
  it.each(everyEvent.map(([name, event]) => ({ name, event })))(
    '$name is valid by the published schema',
    ({ event }) => {
      const mapped = toOcsf(event, origin)
      expect(problems(mapped)).toEqual([])
      expect(mapped).toMatchObject({
        time: origin.at,
        metadata: { version: ocsfVersion, uid: 'e_1', event_code: event.kind, product: { name: 'agentgate' } },
      })
      expect(mapped['type_uid']).toBe(Number(mapped['class_uid']) * 100 + Number(mapped['activity_id']))
      expect(JSON.parse(JSON.stringify(mapped))).toEqual(mapped)
      expect(problems(toOcsf(event, { ...origin, text: 'summary', host: '' }))).toEqual([])
      expect(problems(shorten(mapped, 900))).toEqual([])
    },
  )

  it('has an example of every kind', () => {
    const kinds: Record<AuditEvent['kind'], true> = {
      login: true,
      logout: true,
      'session-start': true,
      'session-end': true,
      decision: true,
      request: true,
      approval: true,
      'access-request': true,
      grant: true,
      revocation: true,
      suspension: true,
      resumption: true,
      policy: true,
      'recording-gap': true,
      'audit-lost': true,
      erasure: true,
      test: true,
    }
    expect(new Set(everyEvent.map(([, { kind }]) => kind))).toEqual(new Set(Object.keys(kinds)))
  })

  it('is refused by the schema where it is wrong: the validator can fail', () => {
    const [, event] = everyEvent[0]!
    const mapped = toOcsf(event, origin)
    expect(problems({ ...mapped, surprise: 1 })).not.toEqual([])
    expect(problems({ ...mapped, time: 'now' })).not.toEqual([])
    const { user: _, ...rest } = mapped
    expect(problems(rest)).not.toEqual([])
  })

  it('says what it leaves out of a long text, and keeps whole characters', () => {
    const [, event] = everyEvent.find(([name]) => name === 'postgres allowed')! as [
      string,
      AuditEvent & { kind: 'decision' },
    ]
    const text = `select '${'€'.repeat(40_000)}'`
    const mapped = toOcsf({ ...event, view: { ...event.view, text } }, origin) as never as {
      query_info: { query_string: string }
      unmapped: Record<string, unknown>
    }
    expect(mapped.query_info.query_string).toMatch(/^select '€+…$/)
    expect(mapped.unmapped['text_bytes']).toBe(Buffer.byteLength(text))
    expect(mapped.unmapped['text_sha256']).toMatch(/^[0-9a-f]{64}$/)
  })

  it('leaves out commands where only their summary is wanted', () => {
    const [, event] = everyEvent.find(([name]) => name === 'postgres approved')!
    const said = JSON.stringify(toOcsf(event, { ...origin, text: 'summary' }))
    expect(said).not.toContain('where id')
    expect(said).not.toContain('refunded')
    expect(said).toContain('text_left_out')
  })
})
