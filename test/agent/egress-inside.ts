// The egress proxy as a session would serve it to a confined child, with names of the test's own and a note of each that was asked for.
import { appendFileSync } from 'node:fs'
import type net from 'node:net'
import { asResourceName, asScopeName, connectionId, newSessionId } from '../../src/ids.ts'
import { resourceSchema } from '../../src/protocols/egress/action.ts'
import { egressBy } from '../../src/protocols/egress/egress.ts'
import type { Context } from '../../src/protocols/protocol.ts'
import { Secret } from '../../src/secret.ts'

export interface EgressPlan {
  readonly port: number
  readonly hosts: readonly string[]
  readonly names: Readonly<Record<string, string>>
  /** Every name that was resolved is added to this file. */
  readonly resolved: string
  readonly secret: string
}

export function serveEgress(plan: EgressPlan): (client: net.Socket) => void {
  const protocol = egressBy(host => {
    appendFileSync(plan.resolved, `${host}\n`)
    const address = plan.names[host]
    return address === undefined ? Promise.reject(new Error('ENOTFOUND')) : Promise.resolve([address])
  })
  const name = asResourceName('web')
  const scope = asScopeName('default')
  if (name === undefined || scope === undefined) throw new Error('no names')
  const context: Context = {
    session: newSessionId(),
    connection: connectionId(1),
    subject: {
      principal: { name: 'maria', groups: [], source: 'os-user' },
      actor: null,
      confined: true,
      purpose: null,
      ticket: null,
    },
    resource: {
      name,
      kind: 'egress',
      address: 'some hosts',
      tls: { mode: 'off', name: undefined, ca: undefined },
      settings: resourceSchema.parse({ hosts: plan.hosts, addresses: ['127.0.0.0/8'] }),
      scope: { name: scope, settings: {} },
      credential: { issuer: 'none', user: null, secret: null, certificate: null, expiresAt: null },
    },
    clientSecret: new Secret(plan.secret),
    signal: new AbortController().signal,
    generation: 1,
    masks: () => [],
    commit: () => undefined,
    record: () => undefined,
    upstream: () => Promise.reject(new Error('egress has no target of its own')),
    denies: () => false,
    asks: () => false,
    shapes: new Set(),
    refuse: () => 1,
    decide: action => ({
      kind: 'allow',
      action,
      edited: false,
      approval: null,
      rule: null,
      masks: [],
      event: 1,
    }),
  }
  return client => void protocol.accept(client, context)
}
