import type { Duplex } from 'node:stream'
import type { z } from 'zod'
import { AgentgateError } from '../../errors.ts'
import type { Action } from '../../policy/action.ts'
import type { Context, Protocol, ServedResource } from '../protocol.ts'
import type { SqlAction } from './analysis/analysed.ts'
import { ask } from './analysis/ask.ts'
import { refusalUnder } from './analysis/masked-uses.ts'
import { resourceSchema, scopeSchema } from './analysis/schema.ts'
import { view } from './analysis/view.ts'
import { matches, varies, whenSchema } from './analysis/when.ts'
import type { PostgresRelay } from './relay/accept.ts'
import { ResultDecoder } from './relay/decoder.ts'
import { endpoint, socketName } from './relay/endpoint.ts'

/** PostgreSQL 13 to 18, protocol 3.0 and 3.2. The parser and the relay are loaded when a resource is served. */
function createPostgres(): Protocol {
  const relays = new WeakMap<ServedResource, Promise<PostgresRelay>>()

  const relayOf = async (resource: ServedResource): Promise<PostgresRelay> => {
    let relay = relays.get(resource)
    if (relay === undefined) {
      relay = loadRelay(resource)
      relays.set(resource, relay)
    }
    return await relay
  }

  return {
    kind: 'postgres',
    label: 'PostgreSQL',
    defaultPort: 15_432,
    targetPort: () => 5432,
    socketName,
    resourceSchema,
    scopeSchema,
    whenSchema,
    matches: (when, action, doubt) => matches(when as z.output<typeof whenSchema>, asSqlAction(action), doubt),
    varies: when => varies(when as z.output<typeof whenSchema>),
    hint: when => ((when as z.output<typeof whenSchema>).where === 'missing' ? 'add a WHERE' : undefined),
    limitsResults: true,
    refuses: (action, masks) => refusalUnder(asSqlAction(action).analysed.statements, masks),
    view: (action, masks) => view(asSqlAction(action), masks),
    ask: action => ask(asSqlAction(action)),
    parse: async (text, options) => {
      const { parseForPolicy } = await import('./relay/services.ts')
      return await parseForPolicy(text, options)
    },
    prepare: async resource => {
      await relayOf(resource)
    },
    backends: async (resource, upstream) => {
      const { backends } = await import('./relay/backends.ts')
      return await backends(resource, upstream)
    },
    probe: async (resource, upstream) => {
      const { probe } = await import('./relay/probe.ts')
      return await probe(resource, upstream)
    },
    accept: async (client: Duplex, context: Context) => {
      const relay = await relayOf(context.resource)
      await relay.accept(client, context)
    },
    endpoint,
    decoder: () => new ResultDecoder(),
  }
}

async function loadRelay(resource: ServedResource): Promise<PostgresRelay> {
  const [{ PostgresRelay }, { loadServices }] = await Promise.all([
    import('./relay/accept.ts'),
    import('./relay/services.ts'),
  ])
  const { analyser, masker } = await loadServices(resource)
  return new PostgresRelay(analyser, masker)
}

function asSqlAction(action: Action): SqlAction {
  if (action.kind !== 'postgres') throw new AgentgateError('INTERNAL', `a ${action.kind} action in postgres`)
  return action as SqlAction
}

export const postgres = createPostgres()
