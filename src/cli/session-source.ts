import os from 'node:os'
import { Paths } from '../config/paths.ts'
import type { BrokerAddress } from '../control/broker-address.ts'
import type { OpenRequest } from '../control/broker-schema.ts'
import { AgentgateError } from '../errors.ts'
import { loadPolicy, type LoadedPolicy } from '../policy/load.ts'
import type { Actor, GivenOnRequest, Principal } from '../policy/subject.ts'
import type { Protocol } from '../protocols/protocol.ts'
import { loadBrokerPolicy } from '../tunnel/broker-policy.ts'
import { BrokerSession } from '../tunnel/broker-session.ts'
import { brokerClient, brokerHere } from './broker-client.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { whoFor } from './principal.ts'
import { rememberWitness } from './sessions-trust.ts'
import type { AskedResource } from './resource-options.ts'

export interface Asked extends Omit<OpenRequest, 'host' | 'resources' | 'ttlSeconds'> {
  readonly resources: readonly AskedResource[]
  readonly ttlSeconds: number | undefined
}

/** Where a session's policy, principal and grants come from. */
export interface SessionSource {
  readonly policy: LoadedPolicy
  readonly principal: Principal
  /** Who acts for them, where that is proven or a broker has said it; else what the caller says counts. */
  readonly actor: Actor | null
  /** What a broker's approvers gave it. */
  readonly onRequest?: readonly GivenOnRequest[] | undefined
  /** With the scopes that a broker gave; else as asked for. */
  readonly resources: readonly AskedResource[]
  readonly ttlSeconds: number | undefined
  /** Whoever asked for it ends it. */
  readonly broker: BrokerSession | undefined
  /** Where to see a change; a broker tells of its own. */
  readonly watch:
    { readonly path: string | undefined; readonly cwd: string; readonly digest: string | undefined } | undefined
}

/** The broker that is named, else the policy here. @throws AgentgateError */
export async function sessionSource(
  asked: Asked,
  globals: Globals,
  protocols: ReadonlyMap<string, Protocol>,
  io: Io,
): Promise<SessionSource> {
  const at = brokerHere(io, globals)
  if (at !== undefined) return await fromBroker(at, asked, protocols, io)
  const watch = { path: globals.policy, cwd: io.cwd, digest: globals.policyDigest }
  const policy = await loadPolicy({ ...watch, env: io.env, kinds: protocols })
  policy.requireTrusted()
  return {
    policy,
    ...(await whoFor(policy, io.env)),
    resources: asked.resources,
    ttlSeconds: asked.ttlSeconds,
    broker: undefined,
    watch,
  }
}

async function fromBroker(
  at: BrokerAddress,
  asked: Asked,
  protocols: ReadonlyMap<string, Protocol>,
  io: Io,
): Promise<SessionSource> {
  if (asked.resources.length === 0)
    throw new AgentgateError('USAGE', 'which resource?', {
      hint: 'the broker has the policy: agentgate connect RESOURCE',
    })
  const client = await brokerClient(at, io)
  const { command, actor, confined, purpose, ticket } = asked
  const broker = await BrokerSession.open(
    client,
    {
      ...{ command, actor, confined, purpose, ticket },
      resources: asked.resources.map(({ name, scope }) => ({ name, scope: scope ?? null })),
      ttlSeconds: asked.ttlSeconds ?? null,
      host: os.hostname().slice(0, 255),
    },
    async () => await brokerClient(at, io),
  )
  try {
    const { opened } = broker
    const paths = new Paths(io.env)
    const folder = paths.brokerPolicyDir(at.address)
    if (broker.recording !== undefined) rememberWitness(paths, at.address, broker.recording.certificate.key)
    return {
      policy: await loadBrokerPolicy(opened.policy, folder, io.env, protocols),
      principal: opened.principal,
      actor: opened.actor,
      onRequest: opened.onRequest,
      resources: opened.grants.map(grant => ({ name: grant.resource, scope: grant.scope })),
      ttlSeconds: opened.ttlSeconds,
      broker,
      watch: undefined,
    }
  } catch (error) {
    await broker.end('it could not be opened').catch(() => undefined)
    throw error
  }
}
