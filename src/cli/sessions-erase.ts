import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import { AgentgateError } from '../errors.ts'
import { asSessionId } from '../ids.ts'
import { erase, readErasure } from '../recording/encryption/erasure.ts'
import { isEncrypted } from '../recording/encryption/find-key.ts'
import { readHold } from '../recording/hold.ts'
import { hasManifest, readManifest } from '../recording/manifest.ts'
import { ownerAlive } from '../recording/owner.ts'
import { isHeldByPerson, personHolds } from '../recording/person-hold.ts'
import { recover } from '../recording/recover.ts'
import { failureText } from '../recording/sync/failure-text.ts'
import { openTarget } from '../recording/sync/place.ts'
import { readSyncState, syncSession } from '../recording/sync/sync-session.ts'
import { canAsk } from './ask-passphrase.ts'
import { brokerClient, brokerHere } from './broker-client.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { erasedText } from './recorded-key.ts'
import { findRecorded, recordingsFolder, type Recorded } from './recorded.ts'
import { tellAudit } from './tell-audit.ts'
import { escapeLine } from './ui/escape.ts'

export interface EraseFlags {
  readonly reason: string
  readonly yes?: boolean
  readonly recordings?: string
}

/**
 * Erases the key of an encrypted recording, here and where it was copied to; what the broker's index has of it goes first.
 * @throws AgentgateError USAGE: it is open, held or not encrypted, or nobody has said yes; DENIED, BUCKET_FAILED
 */
export async function eraseSession(name: string, flags: EraseFlags, globals: Globals, io: Io): Promise<void> {
  const { reason } = flags
  if (reason.trim() === '') throw new AgentgateError('USAGE', 'why?', { hint: "--reason 'request 17'" })
  const recorded = await findRecorded(name, flags.recordings, io)
  const { folder } = recorded
  const session = path.basename(folder)
  if (asSessionId(session) === undefined)
    throw new AgentgateError('USAGE', `${name} is no session’s folder`, { hint: 'it has the id as its name' })
  await refuseUnfit(recorded, recordingsFolder(flags.recordings, io))
  await askFor(session, flags.yes === true, io)
  const indexed = await eraseFromIndex(session, reason, globals, io)
  const by = os.userInfo().username
  const before = await readErasure(folder)
  const erasure = await erase(folder, session, { at: Date.now(), by, reason })
  // A broker has told it already.
  if (before.kind !== 'read' && indexed === null)
    await tellAudit({ kind: 'erasure', session, what: 'content', by, reason }, globals, io)
  const copy = await eraseCopy(folder, io)
  const text = [
    erasedText(session, erasure),
    ...(indexed === null ? [] : [`${indexed} gone from the broker’s index`]),
    ...copy,
  ]
  if (globals.json)
    io.stdout.write(
      `${JSON.stringify({ event: 'erased', session, indexed, copy: copy[0] ?? null, key: erasure.key })}\n`,
    )
  else io.stdout.write(`${escapeLine(text.join('; '))}\n`)
}

async function refuseUnfit({ folder, name }: Recorded, recordings: string): Promise<void> {
  const session = path.basename(folder)
  const now = Date.now()
  if (!(await hasManifest(folder))) {
    if (ownerAlive(folder, now))
      throw new AgentgateError('USAGE', `${session} is still being recorded`, {
        hint: `agentgate sessions kill ${session}`,
      })
    // Sealed first, with the key that its crash left.
    if (path.dirname(folder) === path.resolve(recordings)) await recover(recordings, now)
  }
  if (!(await isEncrypted(folder)))
    throw new AgentgateError('USAGE', `${session} is not encrypted: there is no key whose erasing would erase it`, {
      hint: 'recording.encrypt-to in the policy, for those to come; agentgate sessions prune, for what is past its retention',
    })
  const read = await readManifest(folder)
  const start = read.kind === 'read' && read.intact ? read.manifest.start : null
  const hold = await readHold(folder)
  // Holds stand beside recordings; one that lies elsewhere may have been held where it came from.
  if (hold !== null || isHeldByPerson(await personHolds(path.dirname(folder)), start))
    throw new AgentgateError('USAGE', `${name} is held`, {
      hint: hold === null ? 'agentgate sessions release --who NAME' : `agentgate sessions release ${session}`,
    })
}

/** No answer is a no. @throws AgentgateError USAGE */
async function askFor(session: string, yes: boolean, io: Io): Promise<void> {
  if (yes) return
  if (!canAsk(io))
    throw new AgentgateError('USAGE', 'what is erased is gone for good, and there is no terminal to ask at', {
      hint: `agentgate sessions erase ${session} --reason … --yes`,
    })
  const lines = createInterface({ input: io.stdin, output: io.stderr })
  try {
    const typed = await new Promise<string>(resolve => {
      lines.once('close', () => resolve(''))
      lines
        .question(`what was said and returned in ${session} will be gone for good. type its id: `)
        .then(resolve, () => resolve(''))
    })
    if (typed.trim() === session) return
  } finally {
    lines.close()
  }
  throw new AgentgateError('USAGE', 'that is not its id, so nothing was erased')
}

/** Before anything else: erasing what a broker granted is for its administrators. null: no broker is named here. */
async function eraseFromIndex(session: string, reason: string, globals: Globals, io: Io): Promise<number | null> {
  const at = brokerHere(io, globals)
  if (at === undefined) return null
  return await (await brokerClient(at, io)).eraseStatements(session, reason)
}

/** @throws AgentgateError BUCKET_FAILED: what is here is erased, its copy is not */
async function eraseCopy(folder: string, io: Io): Promise<readonly string[]> {
  const state = await readSyncState(folder)
  if (state === null) return []
  const session = path.basename(folder)
  try {
    if (state === 'unreadable') throw new Error('sync.json cannot be read')
    const target = await openTarget(state.place, io.env)
    await syncSession(folder, target, new AbortController().signal)
    return [`its key is gone from ${state.place.to} too`]
  } catch (cause) {
    const place = state === 'unreadable' ? 'elsewhere' : `in ${state.place.to}`
    throw new AgentgateError(
      'BUCKET_FAILED',
      `${session} is erased here, and its copy ${place} is not: ${failureText(cause)}`,
      {
        hint: 'agentgate sessions sync, once it can be deleted there',
        cause,
      },
    )
  }
}
