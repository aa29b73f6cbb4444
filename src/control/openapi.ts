import { z } from 'zod'
import { brokerCalls, type BrokerCall } from './broker-calls.ts'
import * as schema from './broker-schema.ts'

/** The broker's API as OpenAPI 3.1, from the schemas that both of its ends check with. @param version of agentgate */
export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const call of brokerCalls) {
    const methods = (paths[call.path] ??= {})
    methods[call.method.toLowerCase()] = operationOf(call)
  }
  return {
    openapi: '3.1.0',
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    info: {
      title: 'agentgate broker',
      version,
      description:
        'Grants, approvals and revocation. JSON over HTTP/1.1, on TCP with TLS or on unix sockets of the user’s own. Answers only grow: ignore what you do not know.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: 'https://{broker}', variables: { broker: { default: 'localhost:8443' } } }],
    security: [{ login: [] }],
    paths,
    components: {
      securitySchemes: {
        login: {
          type: 'http',
          scheme: 'bearer',
          description: 'A token of one of the policy’s issuers. On a unix socket of one’s own none is needed.',
        },
        session: { type: 'http', scheme: 'bearer', description: 'What POST /v1/sessions gave to the session.' },
      },
      schemas: { Error: jsonSchema(schema.brokerError, 'output') },
    },
  }
}

function operationOf(call: BrokerCall): object {
  const parameters = [...call.path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
  return {
    operationId: call.id,
    summary: call.summary,
    ...(call.asks === 'anyone' ? { security: [] } : call.asks === 'session' ? { security: [{ session: [] }] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(call.body === undefined
      ? {}
      : {
          requestBody: { required: true, content: { 'application/json': { schema: jsonSchema(call.body, 'input') } } },
        }),
    responses: {
      200: { description: 'done', content: contentOf(call) },
      default: {
        description: 'refused, or failed',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  }
}

function contentOf({ answer }: BrokerCall): object {
  switch (answer.kind) {
    case 'json':
      return { 'application/json': { schema: jsonSchema(answer.schema, 'output') } }
    case 'lines':
      return { 'application/x-ndjson': { schema: jsonSchema(answer.schema, 'output') } }
    case 'text':
      return { 'text/plain': { schema: { type: 'string' } } }
    default:
      return answer satisfies never
  }
}

function jsonSchema(of: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _, ...rest } = z.toJSONSchema(of, { io, target: 'draft-2020-12', unrepresentable: 'any' })
  return rest
}
