import path from 'node:path'
import { asSessionId } from '../ids.ts'
import { Account } from './account.ts'
import { canonicalJson } from './canonical-json.ts'
import { readManifest, type Manifest, type ManifestRead } from './manifest.ts'
import { ownerAlive } from './owner.ts'
import type { Problem } from './read-item.ts'
import { readRecording } from './reader.ts'
import type { ContentKey } from './encryption/content-key.ts'
import { readErasure, type Erasure } from './encryption/erasure.ts'
import type { SegmentEntry } from './seal.ts'
import { readTombstone, type Tombstone } from './tombstone.ts'
import { receiptHolds, type Receipt } from './witness/receipt.ts'
import { readReceipts } from './witness/receipts-file.ts'
import { noTrust, WitnessCheck, type Trust, type WitnessVerification } from './witness/witness-check.ts'

/** No more are kept of a recording that has more wrong with it. */
const maxProblems = 100

export interface Verification {
  /** `open`: whole so far. `unfinished`: what is there is unaltered, but nothing says that it is all. */
  readonly result: 'whole' | 'open' | 'unfinished' | 'altered' | 'deleted'
  readonly session: string | null
  /** Events that could be read and follow from one another. */
  readonly events: number
  readonly segments: number
  /** Files that have not been made segments of yet. */
  readonly journals: number
  readonly head: string | null
  readonly lastAt: number | null
  /** Bytes of an incomplete event at the end. */
  readonly torn: number
  /** There is an event that ends the session. */
  readonly ended: boolean
  /** The session's public key, whose signature under the manifest holds. */
  readonly signedBy: string | null
  readonly problems: readonly Problem[]
  /** Events whose content was not read, as its key is not here or was erased: that they are unaltered holds all the same. */
  readonly locked: number
  /** null: no broker has certified it. */
  readonly witness: WitnessVerification | null
  /** Files after the first break that no intact manifest speaks for. */
  readonly doubtful: { readonly from: number; readonly to: number } | null
  /** Its key was erased, and with it what was said and returned. */
  readonly erasure: Erasure | null
  /** What was left when the recording was deleted. */
  readonly tombstone: Tombstone | null
}

/** Computes chain, hashes, signature, receipts and manifest again. Never throws for what the files hold. */
export async function verifyRecording(
  folder: string,
  now: number,
  trust = noTrust,
  key: ContentKey | null = null,
): Promise<Verification> {
  const buried = await readTombstone(folder)
  if (buried.kind === 'read' && !buried.leftovers) return deleted(folder, buried.tombstone, trust)
  // Before the events: of a session that goes on the witness may see more while they are read.
  const receipts = await readReceipts(folder)
  const alive = ownerAlive(folder, now)
  const read = await readManifest(folder)
  const found = new Found()
  const check = new WitnessCheck(nameOf(folder), receipts, trust)
  for await (const item of readRecording(folder, key)) {
    switch (item.kind) {
      case 'event':
        found.account.take(item.placed)
        check.take(item.placed.sequence, item.placed.at, item.chain)
        break
      case 'problem':
        found.problems.push(item.problem)
        break
      case 'locked':
        found.locked += item.count ?? 0
        found.lockedJournals += item.count === null ? 1 : 0
        if (item.last !== null) check.boundary(item.last.sequence, item.last.chain)
        break
      case 'file':
        if (item.segment === null) found.journals += 1
        else found.segments.push(item.segment)
        break
      case 'end':
        found.session = item.end.session
        found.head = item.end.head
        found.torn = item.end.torn
        found.last = item.end.lastFile
        break
      default:
        item satisfies never
    }
    if (found.problems.length >= maxProblems) break
  }
  if (buried.kind !== 'none')
    found.add('altered', buried.kind === 'read' ? 'is buried, but files are left' : 'has a damaged tombstone', 'folder')
  const erased = await readErasure(folder)
  if (erased.kind === 'read' && erased.leftovers)
    found.add('altered', 'is said to be erased, but its key is there', 'folder')
  if (erased.kind === 'unreadable') found.add('altered', 'has a damaged word of its erasure', 'folder')
  if (erased.kind === 'read' && found.session !== null && erased.erasure.session !== found.session)
    found.add('altered', `tells of the erasure of ${erased.erasure.session}`, 'folder')
  if (read.kind === 'unreadable')
    found.add(read.reason === 'damaged' ? 'altered' : read.reason, manifestTexts[read.reason])
  if (read.kind === 'read') compare(read, found)
  const encrypted = found.locked > 0 || found.lockedJournals > 0
  const start = found.account.start ?? (encrypted && read.kind === 'read' ? read.manifest.start : null)
  const known = found.problems.length === 0 && found.lockedJournals === 0
  const witness = check.finish(start, found.account.events + found.locked, known)
  for (const problem of check.problems)
    found.problems.push({ kind: 'altered', place: 'witness', number: null, ...problem })
  const { session, segments, journals, head, torn, problems } = found
  const told = encrypted && read.kind === 'read' ? read.manifest : found.account
  const { end, lastAt } = told
  const events = found.account.events + found.locked
  const signedBy = read.kind === 'read' && read.intact ? read.key : null
  const signed = start?.key === null || (signedBy !== null && signedBy === start?.key)
  const result =
    problems.length > 0
      ? 'altered'
      : read.kind === 'read'
        ? read.manifest.end !== null && signed
          ? 'whole'
          : 'unfinished'
        : alive
          ? 'open'
          : 'unfinished'
  const ended = end !== null
  const broken = Math.min(...problems.map(problem => problem.through ?? problem.number ?? Infinity))
  const vouched = read.kind === 'read' && read.intact
  const doubtful = !vouched && broken < found.last ? { from: broken + 1, to: found.last } : null
  return {
    result,
    session,
    events,
    segments: segments.length,
    journals,
    head,
    lastAt,
    torn,
    ended,
    signedBy,
    problems,
    witness,
    locked: found.locked,
    doubtful,
    erasure: erased.kind === 'read' ? erased.erasure : null,
    tombstone: null,
  }
}

/** The folder's name where it is that of a session. */
function nameOf(folder: string): string | null {
  const { name } = path.parse(path.resolve(folder))
  return asSessionId(name) ?? null
}

function deleted(folder: string, tombstone: Tombstone, trust: Trust): Verification {
  const { session, events, head, endedAt } = tombstone
  const name = nameOf(folder)
  const problems: Problem[] = []
  const add = (text: string) =>
    problems.push({ kind: 'altered', place: 'folder', number: null, sequence: null, at: null, text })
  if (name !== null && name !== session) add(`holds the tombstone of ${session}`)
  const seen = trust.receipts.filter(receipt => receipt.session === session && trust.keys.includes(receipt.key))
  if (seen.some(receipt => receiptHolds(receipt) && isOther(receipt, tombstone)))
    add('holds the tombstone of another recording than the broker saw')
  return {
    result: problems.length > 0 ? 'altered' : 'deleted',
    session,
    events,
    segments: 0,
    journals: 0,
    head,
    lastAt: endedAt,
    torn: 0,
    ended: endedAt !== null,
    signedBy: null,
    problems,
    witness: null,
    locked: 0,
    doubtful: null,
    erasure: null,
    tombstone,
  }
}

/** The broker saw more events than it says there were, or another chain at its end. */
function isOther(receipt: Receipt, { events, head }: Tombstone): boolean {
  return receipt.sequence > events || (receipt.sequence === events && receipt.head !== head)
}

const manifestTexts = {
  damaged: 'is damaged',
  newer: 'was written by a newer version of agentgate',
  foreign: 'is not one of a recording',
} as const

/** What the events and files themselves say. */
class Found {
  readonly problems: Problem[] = []
  readonly segments: SegmentEntry[] = []
  readonly account = new Account()
  journals = 0
  locked = 0
  lockedJournals = 0
  session: string | null = null
  head: string | null = null
  torn = 0
  /** Number of the last file. */
  last = 0

  add(kind: Problem['kind'], text: string, place: 'manifest' | 'folder' = 'manifest'): void {
    this.problems.push({ kind, place, number: null, sequence: null, at: null, text })
  }
}

/** Each word of a manifest can be had from the events: where they say something else, one of the two was altered. */
function compare(read: Extract<ManifestRead, { kind: 'read' }>, found: Found): void {
  const { manifest, intact } = read
  if (!intact) found.add('altered', 'is not as it was sealed')
  missingFiles(manifest, found)
  // Behind a first break everything differs: that has been said more precisely.
  if (found.problems.length > 0) return
  const { start, end, trailing, lastAt, summary } = found.account
  const events = found.account.events + found.locked
  const clear: readonly (readonly [boolean, string])[] = [
    [found.journals === 0 && found.lockedJournals === 0, 'was written, but there are events after it'],
    [manifest.session === found.session, `is of another session, ${manifest.session}`],
    [manifest.state === 'recovered' || manifest.end !== null, 'tells of no end'],
    [manifest.events === events, `tells of ${manifest.events} events, but there are ${events}`],
    [manifest.head === found.head, 'ends in another head than the events'],
    // Who recovers a session does not have its key, and says so.
    [
      read.key === (start ?? manifest.start)?.key || manifest.state === 'recovered',
      'is not signed with the key of the session',
    ],
  ]
  for (const [holds, text] of clear) if (!holds) found.add('altered', text)
  if (found.locked > 0) return // what the events themselves say is for who can read them
  const checks: readonly (readonly [boolean, string])[] = [
    [start !== null && same(manifest.start, start), 'tells of another start than the first event'],
    [same(manifest.end, end), 'tells of another end than the last event'],
    [!trailing, 'was written, but there are events after the end'],
    [manifest.lastAt === lastAt, 'tells of another last event'],
    [same(manifest.summary, summary), 'counts other events than there are'],
  ]
  for (const [holds, text] of checks) if (!holds) found.add('altered', text)
}

function missingFiles(manifest: Manifest, found: Found): void {
  const seen = new Set(found.problems.map(problem => problem.number))
  const last = manifest.segments.at(-1)?.number ?? 0
  const read = new Map(found.segments.map(segment => [segment.number, segment]))
  for (const listed of manifest.segments) {
    if (seen.has(listed.number)) continue
    const segment = read.get(listed.number)
    const problem = { place: 'segment', number: listed.number, at: null } as const
    if (segment === undefined && listed.number > (found.segments.at(-1)?.number ?? 0)) {
      const text = last > listed.number ? 'are missing' : 'is missing'
      found.problems.push({ ...problem, kind: 'missing', through: last, sequence: null, text })
      return
    }
    if (segment !== undefined && !same(segment, listed))
      found.problems.push({
        ...problem,
        kind: 'altered',
        sequence: null,
        text: 'is not the one that the manifest lists',
      })
  }
}

function same(one: unknown, other: unknown): boolean {
  try {
    return canonicalJson(one) === canonicalJson(other)
  } catch {
    return false // holds what no recorder writes
  }
}
