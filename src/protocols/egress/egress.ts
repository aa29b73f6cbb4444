import type { Duplex } from 'node:stream'
import { z } from 'zod'
import type { Context, Endpoint, Listening, Protocol } from '../protocol.ts'
import { ask, asEgressAction, matches, parse, resourceSchema, view, whenSchema, type EgressSettings } from './action.ts'
import { EgressConnection } from './connection.ts'
import { systemResolve, type Resolve } from './destination.ts'

/** Who a client says it is in a URL; only the secret behind it counts. */
const urlUser = 'agentgate'

/** A forward proxy (CONNECT and plain HTTP) to the hosts that a policy lists, and to nothing else. */
export function egressBy(resolve: Resolve): Protocol {
  return {
    kind: 'egress',
    label: 'Egress',
    defaultPort: 13_128,
    socketName: 'proxy.sock',
    resourceSchema,
    scopeSchema: z.object({}),
    whenSchema,
    // What the list names is meant for them; without a list there is no such resource.
    agentsDefault: 'allow',
    reach: settings => settingsOf(settings).hosts.map(host => host.written),
    matches: (when, action) => matches(when as z.output<typeof whenSchema>, asEgressAction(action)),
    varies: () => false,
    view: action => view(asEgressAction(action)),
    parse: text => new Promise(done => done(parse(text))),
    ask: action => ask(asEgressAction(action)),
    // Bytes are not recorded: through TLS they say nothing.
    decoder: () => ({ push: () => [], end: () => [] }),
    prepare: () => Promise.resolve(),
    probe: resource => Promise.resolve({ label: resource.address, warnings: [] }),
    accept: async (client: Duplex, context: Context) => {
      await new EgressConnection(client, context, settingsOf(context.resource.settings), resolve).serve()
    },
    endpoint,
  }
}

export const egress = egressBy(systemResolve)

/** As resourceSchema has parsed them, when the policy was read. */
function settingsOf(settings: unknown): EgressSettings {
  return settings as EgressSettings
}

function endpoint({ host, port, unixSocket, clientSecret }: Listening): Endpoint {
  // No client of a proxy takes a unix socket in its environment.
  if (port === null) {
    const shown = `unix:${unixSocket ?? ''}`
    return { address: unixSocket ?? '', url: shown, shown, env: {}, files: {}, use: 'open it with a port' }
  }
  const shown = `http://${host}:${port}`
  const url = `http://${urlUser}:${clientSecret.reveal()}@${host}:${port}`
  // Other tunnels are on loopback, and reached straight. curl reads http_proxy in lower case only.
  const exceptions = 'localhost,127.0.0.1,::1'
  return {
    address: `${host}:${port}`,
    url,
    shown,
    env: {
      HTTP_PROXY: url,
      HTTPS_PROXY: url,
      http_proxy: url,
      https_proxy: url,
      NO_PROXY: exceptions,
      no_proxy: exceptions,
      // Node heeds them from 22.21 and 24.0 on, where told to.
      NODE_USE_ENV_PROXY: '1',
    },
    clears: ['ALL_PROXY', 'all_proxy'],
    files: {},
    use: `HTTPS_PROXY=${shown} curl https://…`,
  }
}
