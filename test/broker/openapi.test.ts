import { Validator } from '@seriousme/openapi-schema-validator'
import { expect, it } from 'vitest'
import { brokerCalls, type BrokerCall } from '../../src/control/broker-calls.ts'
import { Place } from '../support/agentgate.ts'
import { Owned } from '../support/owned.ts'
import { afterAll, beforeAll, describe } from 'vitest'
import http from 'node:http'
import { RunningBroker } from './running-broker.ts'

describe('the broker’s API as a document', () => {
  const owned = new Owned()
  let broker: RunningBroker
  beforeAll(async () => {
    broker = owned.add(await RunningBroker.start('version: 1\n', {}))
  })
  afterAll(async () => await owned.close())

  it('is valid OpenAPI 3.1 and names every call', async () => {
    const { code, stdout } = await new Place('version: 1\n').run(['broker', 'openapi'])
    expect(code).toBe(0)
    const document = JSON.parse(stdout) as { openapi: string; paths: Record<string, Record<string, object>> }
    const { valid, errors } = await new Validator().validate(document)
    expect({ valid, errors }).toMatchObject({ valid: true })
    expect(document.openapi).toMatch(/^3\.1\./)
    const named = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`),
    )
    expect(named).toEqual(brokerCalls.map(({ method, path }) => `${method} ${path}`))
  })

  // A call that is documented is answered by what it asks for, not by there being none.
  it.each(brokerCalls.map((call: BrokerCall) => [`${call.method} ${call.path}`, call] as const))(
    'is served: %s',
    async (_name, call) => {
      const ids: Record<string, string> = {
        session: 's_0000000000',
        approval: 'a_000000',
        grant: 'g_0000000000',
        request: 'r_000000',
        check: 'k_000000000000',
      }
      const route = call.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => ids[name] ?? '')
      const { status, text } = await new Promise<{ status: number; text: string }>((resolve, reject) => {
        const socketPath = broker.unix.replace('unix:', '')
        const request = http.request({ socketPath, path: route, method: call.method }, response => {
          let text = ''
          response.on('data', (chunk: Buffer) => (text += chunk.toString()))
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
        })
        request.on('error', reject)
        request.end(call.body === undefined ? undefined : '{}')
      })
      expect(text).not.toContain('knows no such call')
      if (call.asks === 'session') expect(status).toBe(401)
      else if (call.path.includes('{')) expect([400, 404]).toContain(status)
      else expect(status).toBe(call.body === undefined ? 200 : 400)
    },
  )
})
