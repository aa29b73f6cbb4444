import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { AgentgateError } from '../errors.ts'
import { asSessionId, type SessionId } from '../ids.ts'
import { syncPlaceSchema, type SyncPlace } from '../policy/sync-place.ts'
import { findSession } from '../recording/catalogue.ts'
import { hasManifest } from '../recording/manifest.ts'
import { Copies } from '../recording/sync/copies.ts'
import { isElsewhere } from '../recording/sync/local-copies.ts'
import { openTarget } from '../recording/sync/place.ts'
import { SyncFailed } from '../recording/sync/target.ts'
import type { Io } from './command.ts'
import { findBuried } from './recorded.ts'

export interface From {
  readonly recordings?: string
  /** `s3://bucket/prefix` or `file:///folder`: read there instead of here. */
  readonly from?: string
}

/** Copies elsewhere, and a folder of this process's own that they are fetched into. */
export interface FetchedCopies {
  readonly copies: Copies
  readonly folder: string
}

/**
 * Runs `work` on the recordings folder that is meant: with `from` one into which what `what` names has been fetched, gone
 * afterwards. A name becomes the whole id. @throws AgentgateError USAGE, NO_SUCH_SESSION, BUCKET_FAILED
 */
export async function withCopies(
  { recordings, from }: From,
  what: { readonly session: string } | { readonly all: 'manifest' | 'content' },
  io: Io,
  work: (recordings: string | undefined, session: string) => Promise<void>,
): Promise<void> {
  if (from === undefined && 'session' in what && (await whereOnly(what.session, recordings, io, work))) return
  if (from === undefined || ('session' in what && isPlace(what.session))) {
    await work(recordings, 'session' in what ? what.session : '')
    return
  }
  await fetching(from, io, async ({ copies, folder }) => {
    const ids = await copies.sessions()
    if ('session' in what) {
      const session = findSession(ids, what.session)
      await copies.fetch(session, folder, 'all')
      await work(folder, session)
      return
    }
    for (const session of ids) await fetchFor(copies, session, folder, what.all)
    await work(folder, '')
  })
}

/** Does `work` on a session whose parts are only where they were uploaded; false: they are here, or nowhere. */
async function whereOnly(
  name: string,
  recordings: string | undefined,
  io: Io,
  work: (recordings: string | undefined, session: string) => Promise<void>,
): Promise<boolean> {
  const { folder } = await findBuried(name, recordings, io)
  const isOwn = recordings === undefined && !isPlace(name)
  return await withElsewhere(
    folder,
    isOwn,
    io,
    async fetched => await work(path.dirname(fetched), path.basename(fetched)),
  )
}

/** Whether a session is named by the folder that it is in. */
export function isPlace(name: string): boolean {
  return /[/.]/.test(name)
}

/**
 * Fetches a session that is only where it was uploaded, and does `work` on that; false: it is here.
 * @param isOwn it is of this machine's own recordings: what a folder of somebody else's names is not asked with one's own keys
 * @throws AgentgateError USAGE, BUCKET_FAILED
 */
export async function withElsewhere(
  folder: string,
  isOwn: boolean,
  io: Io,
  work: (fetched: string) => Promise<void>,
): Promise<boolean> {
  const elsewhere = await isElsewhere(folder)
  const session = asSessionId(path.basename(folder))
  if (elsewhere === null || session === undefined) return false
  if (!isOwn) {
    const { to } = elsewhere.place
    throw new AgentgateError('USAGE', `what was recorded of ${session} is only in ${to}`, {
      hint: `if you trust that place: --from ${to}`,
    })
  }
  await fetchingFrom(elsewhere.place, io, async ({ copies, folder: into }) => {
    await work(await copies.fetch(session, into, 'all'))
  })
  return true
}

/** @throws AgentgateError USAGE, BUCKET_FAILED */
export async function fetching(from: string, io: Io, work: (fetched: FetchedCopies) => Promise<void>): Promise<void> {
  const place = syncPlaceSchema.safeParse({ to: from, endpoint: endpointOf(io) })
  if (!place.success)
    throw new AgentgateError('USAGE', `${from} is no place for recordings`, {
      hint: 's3://bucket/prefix or file:///folder; AWS_ENDPOINT_URL for what is not AWS',
    })
  await fetchingFrom(place.data, io, work)
}

async function fetchingFrom(place: SyncPlace, io: Io, work: (fetched: FetchedCopies) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-copies-'))
  // Also where the process is ended in between: what was fetched is nobody's to find.
  const clean = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', clean)
  try {
    const target = await openTarget(place, io.env)
    await work({ copies: new Copies(target, new AbortController().signal), folder })
  } catch (error) {
    if (!(error instanceof SyncFailed)) throw error
    throw new AgentgateError('BUCKET_FAILED', `${place.to}: ${error.message}`, { cause: error })
  } finally {
    process.off('exit', clean)
    clean()
  }
}

/** One that has no manifest is described by its events. */
async function fetchFor(
  copies: Copies,
  session: SessionId,
  folder: string,
  what: 'manifest' | 'content',
): Promise<void> {
  if (what === 'manifest' && (await hasManifest(await copies.fetch(session, folder, 'manifest')))) return
  await copies.fetch(session, folder, 'all')
}

/** As the AWS SDKs have it. */
function endpointOf({ env }: Io): string | undefined {
  const text = env['AWS_ENDPOINT_URL_S3'] ?? env['AWS_ENDPOINT_URL']
  return text === undefined || text === '' ? undefined : text
}
