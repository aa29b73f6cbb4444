import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { HeldCredential } from '../../credentials/held-credential.ts'
import { openResource } from '../../credentials/open-resource.ts'
import { AgentgateError, errorCodes } from '../../errors.ts'
import { newGrantId, type ResourceName, type ScopeName } from '../../ids.ts'
import type { LoadedPolicy } from '../../policy/load.ts'
import { readBackendNote, type Protocol, type SeenBackend } from '../../protocols/protocol.ts'
import { openSessions } from '../../recording/catalogue.ts'
import { readRecording } from '../../recording/reader.ts'
import { connectTo } from '../../tunnel/tunnel.ts'
import type { Io } from '../command.ts'
import type { Globals } from '../globals.ts'
import { trustedPolicyHere } from '../policy-here.ts'
import { whoFor } from '../principal.ts'
import { loadProtocols } from '../protocols.ts'
import { escapeLine } from '../ui/escape.ts'
import type { Cell, Report, ReportSource } from './report.ts'

/** A tunnel says which connection is its own once it is logged in; whoever is just logging in is not a stranger yet. */
const secondLookMilliseconds = 2000
/** Between the clock of the server and of the tunnel's machine. */
const clockMilliseconds = 10 * 60_000

interface Claim {
  readonly session: string
  readonly principal: string
  readonly at: number
}

/** Connections at the targets, as they say themselves, each with the session that claims it: or with none. */
export async function coverageReport(source: ReportSource, globals: Globals, io: Io): Promise<Report> {
  const protocols = await loadProtocols()
  const policy = await trustedPolicyHere(globals, io)
  return {
    name: 'coverage',
    title: 'Connections at the target, and who claims them',
    columns: [
      'resource',
      'role',
      'backend',
      'since',
      'from',
      'program',
      'database',
      'state',
      'claimed',
      'session',
      'principal',
    ],
    rows: rowsOf(policy, protocols, source, io),
  }
}

async function* rowsOf(
  policy: LoadedPolicy,
  protocols: ReadonlyMap<string, Protocol>,
  source: ReportSource,
  io: Io,
): AsyncGenerator<readonly Cell[], void, void> {
  const seen = new Set<string>()
  for (const resource of policy.policy.resources.values()) {
    const protocol = protocols.get(resource.kind)
    if (protocol?.backends === undefined) continue
    for (const scope of resource.scopes.keys()) {
      let found: readonly { backend: SeenBackend; claim: Claim | undefined }[]
      try {
        found = await look(policy, resource.name, scope, protocol, source, io)
      } catch (error) {
        if (!(error instanceof AgentgateError)) throw error
        // One that cannot be asked must not look like one that has nothing to hide.
        io.stderr.write(`warning: ${escapeLine(resource.name)} was not looked at: ${escapeLine(error.message)}\n`)
        io.exitCode = error.exitCode
        break
      }
      for (const { backend, claim } of found) {
        const key = `${resource.name} ${backend.role} ${backend.id}`
        if (seen.has(key)) continue
        seen.add(key)
        if (claim === undefined) io.exitCode = errorCodes.VERIFICATION_FAILED
        yield [
          resource.name,
          backend.role,
          backend.id,
          backend.since === null ? null : new Date(backend.since).toISOString(),
          backend.from,
          backend.program,
          backend.database,
          backend.state,
          claim === undefined ? 'NO' : 'yes',
          claim?.session ?? null,
          claim?.principal ?? null,
        ]
      }
    }
  }
}

async function look(
  policy: LoadedPolicy,
  name: ResourceName,
  scope: ScopeName,
  protocol: Protocol,
  source: ReportSource,
  io: Io,
): Promise<{ backend: SeenBackend; claim: Claim | undefined }[]> {
  const { issuer, ...target } = await openResource(policy, name, scope, { env: io.env })
  const held = await HeldCredential.mint(issuer, {
    grant: newGrantId(),
    subject: {
      principal: (await whoFor(policy, io.env)).principal,
      actor: null,
      confined: false,
      purpose: 'agentgate report coverage',
      ticket: null,
    },
    scope: target.scope,
    ttlSeconds: 60,
  })
  try {
    const served = { ...target, credential: held.current }
    await protocol.prepare(served)
    const once = async () => {
      const there = (await protocol.backends?.(served, async () => await connectTo(served.name, served.address))) ?? []
      const claims = await claimsOf(source.recordings)
      return there.map(backend => ({ backend, claim: claimOf(claims, backend) }))
    }
    const first = await once()
    if (first.every(({ claim }) => claim !== undefined)) return first
    await delay(secondLookMilliseconds)
    const second = await once()
    const before = new Set(first.map(({ backend }) => `${backend.role} ${backend.id}`))
    // One that came only now has had no time to be claimed.
    return second.filter(({ backend, claim }) => claim !== undefined || before.has(`${backend.role} ${backend.id}`))
  } finally {
    await held.end()
  }
}

function claimOf(claims: ReadonlyMap<string, readonly Claim[]>, { role, id, since }: SeenBackend): Claim | undefined {
  return claims.get(`${role} ${id}`)?.find(claim => since === null || Math.abs(claim.at - since) < clockMilliseconds)
}

/** What the tunnels that are open say is theirs. */
async function claimsOf(recordings: string): Promise<ReadonlyMap<string, readonly Claim[]>> {
  const claims = new Map<string, Claim[]>()
  for (const session of await openSessions(recordings, Date.now())) {
    const own = new Map<string, { key: string; claim: Claim }>()
    let principal = ''
    for await (const item of readRecording(path.join(recordings, session))) {
      if (item.kind !== 'event') continue
      const { event, at } = item.placed
      if (event.kind === 'session-start') principal = event.subject.principal.name
      if (event.kind === 'connection-end') own.delete(event.connection)
      if (event.kind !== 'note') continue
      const backend = readBackendNote(event.text)
      if (backend !== undefined)
        // Without a connection it is the tunnel's own, for all of them.
        own.set(event.connection ?? `own ${backend.id}`, {
          key: `${backend.role} ${backend.id}`,
          claim: { session, principal, at },
        })
    }
    for (const { key, claim } of own.values()) claims.set(key, [...(claims.get(key) ?? []), claim])
  }
  return claims
}
