import { randomBytes } from 'node:crypto'
import os from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { contentOf } from '../broker/policy-content.ts'
import { BrokerClient } from '../control/broker-client.ts'
import type { Adoption } from '../control/broker-schema.ts'
import { AgentgateError } from '../errors.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import type { Subject } from '../policy/subject.ts'
import type { HeldGrant } from '../tunnel/start.ts'
import type { Session } from '../tunnel/session.ts'
import { startsOwnBroker } from './broker-client.ts'
import type { Io } from './command.ts'
import { ensureOwnBroker } from './own-broker.ts'

/** The client has its first answer by then: the session is open before its broker starts. */
const startAfterMs = 300
const silentMs = 10_000
const againMs = 500
const lastAgainMs = 30_000
const tellEveryMs = 15_000

/**
 * For a session that no broker granted: this user's own lists it, ends it by word, and ends its credentials where this process
 * is killed. Nothing waits for it, and without it the session goes on.
 */
export function followOwnBroker(
  policy: LoadedPolicy,
  subject: Subject,
  io: Pick<Io, 'env'>,
): ((session: Session, held: readonly HeldGrant[]) => void) | undefined {
  if (!startsOwnBroker(io.env)) return undefined
  return (session, held) => {
    follow(session, adoptionOf(session, held, policy, subject, io), io).catch(() => undefined) // never this session's end
  }
}

async function follow(session: Session, adoption: () => Promise<Adoption>, io: Pick<Io, 'env'>): Promise<void> {
  const over = new AbortController()
  void session.finished.then(() => over.abort())
  const { signal } = over
  await sleep(startAfterMs, undefined, { signal }).catch(() => undefined)
  let wait = againMs
  while (!signal.aborted) {
    try {
      const client = new BrokerClient(await ensureOwnBroker(io.env), null)
      const adopted = await adoption()
      await client.adopt(adopted)
      wait = againMs
      void session.finished
        .then(async () => await client.end(adopted.session, adopted.token, 'closed by its tunnel'))
        .catch(() => undefined)
      const telling = setInterval(() => {
        // It may have been renewed.
        void adoption()
          .then(async now => await client.adopt(now))
          .catch(() => undefined)
      }, tellEveryMs)
      telling.unref()
      try {
        for await (const event of client.stream(adopted.session, adopted.token, silentMs, signal)) {
          if (event.event !== 'ended') continue
          // Its time is its own to keep: it may stay, and say that it has expired.
          if (event.kind === 'revoked') await session.revoke(event.reason)
          return
        }
      } finally {
        clearInterval(telling)
      }
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      wait = Math.min(lastAgainMs, wait * 2)
    }
    await sleep(wait, undefined, { signal }).catch(() => undefined)
  }
}

function adoptionOf(
  session: Session,
  held: readonly HeldGrant[],
  policy: LoadedPolicy,
  subject: Subject,
  io: Pick<Io, 'env'>,
): () => Promise<Adoption> {
  const token = randomBytes(32).toString('base64url')
  const content = contentOf(policy)
  return async () => {
    const minted = held.some(({ credential }) => credential.current.issuer === 'postgres-role')
    return {
      ...{ session: session.id, token, principal: subject.principal.name, actor: subject.actor?.name ?? null },
      ...{ host: os.hostname().slice(0, 255), purpose: subject.purpose, ticket: subject.ticket },
      expiresAt: (await session.status()).expiresAt,
      policy: content,
      folder: policy.folder,
      env: minted ? referredTo(content.files.map(file => file.text).join('\n'), io) : {},
      grants: held.map(({ grant, resource, scope, credential }) => ({
        ...{ grant, resource, scope, issuer: credential.current.issuer, user: credential.current.user },
      })),
    }
  }
}

function referredTo(text: string, io: Pick<Io, 'env'>): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [, name = ''] of text.matchAll(/\$\{env:(\w+)\}/g)) {
    const value = io.env[name]
    if (value !== undefined) found[name] = value
  }
  return found
}
