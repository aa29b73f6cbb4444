import path from 'node:path'
import type { AuditEvent } from '../audit/audit-event.ts'
import { AgentgateError, errorCodes } from '../errors.ts'
import { asSessionId } from '../ids.ts'
import { findSession } from '../recording/catalogue.ts'
import { sessionIds } from '../recording/session-ids.ts'
import { verificationText } from '../recording/verification-text.ts'
import { verifyRecording, type Verification } from '../recording/verify.ts'
import type { Receipt } from '../recording/witness/receipt.ts'
import type { Io } from './command.ts'
import { showTime } from './duration.ts'
import type { Globals } from './globals.ts'
import { paintFor, wantsColour } from './paint.ts'
import { fetching, isPlace, withElsewhere, type From } from './recorded-copies.ts'
import { keyIfAny } from './recorded-key.ts'
import { findBuried, recordingsFolder, type Recorded } from './recorded.ts'
import { Witnesses } from './sessions-trust.ts'
import { escapeLine } from './ui/escape.ts'

export interface VerifyFlags extends From {
  readonly all?: boolean
  /** A file with the broker's public key. */
  readonly key?: string
}

export async function verifySessions(
  names: readonly string[],
  flags: VerifyFlags,
  globals: Globals,
  io: Io,
): Promise<void> {
  const gaps: Gap[] = []
  try {
    await verifyThem(names, flags, { json: globals.json, gaps }, io)
  } finally {
    if (gaps.length > 0) {
      const { tellOfRecordings } = await import('./tell-audit.ts')
      await tellOfRecordings(gaps, globals, io)
    }
  }
}

type Gap = Extract<AuditEvent, { kind: 'recording-gap' }>

/** How what is found is said, and what of it the SIEM is to hear. */
interface Saying {
  readonly json: boolean
  readonly gaps: Gap[]
}

async function verifyThem(names: readonly string[], flags: VerifyFlags, saying: Saying, io: Io): Promise<void> {
  if (flags.all !== true && names.length === 0)
    throw new AgentgateError('USAGE', 'which session?', { hint: 'agentgate sessions verify SESSION, or --all' })
  const { from } = flags
  if (from !== undefined) {
    await verifyCopies(names, { ...flags, from }, saying, io)
    return
  }
  const witnesses = new Witnesses(flags.key, null, io)
  for (const recorded of await wanted(names, flags, io)) {
    const verify = async (folder: string) => await verifyOne({ name: recorded.name, folder }, witnesses, saying, io)
    const isOwn = flags.recordings === undefined && !names.some(isPlace)
    if (!(await withElsewhere(recorded.folder, isOwn, io, verify))) await verify(recorded.folder)
  }
}

/** One after another, so that of a whole bucket no more than one is here at a time. */
async function verifyCopies(
  names: readonly string[],
  flags: VerifyFlags & { readonly from: string },
  saying: Saying,
  io: Io,
): Promise<void> {
  await fetching(flags.from, io, async ({ copies, folder }) => {
    const ids = await copies.sessions()
    const witnesses = new Witnesses(flags.key, copies, io)
    for (const session of flags.all === true ? ids : names.map(name => findSession(ids, name))) {
      const fetched = await copies.fetch(session, folder, 'all')
      await verifyOne({ name: session, folder: fetched }, witnesses, saying, io)
      copies.forget(session, folder)
    }
    if (flags.all === true) sayMissing(await witnesses.all(), new Set(ids), saying, io)
  })
}

async function verifyOne(recorded: Recorded, witnesses: Witnesses, saying: Saying, io: Io): Promise<void> {
  const trust = await witnesses.trustFor(path.basename(recorded.folder), recorded.folder)
  const verification = await verifyRecording(
    recorded.folder,
    Date.now(),
    trust,
    (await keyIfAny(recorded.folder, io)).key,
  )
  const good = verification.result !== 'altered' && verification.result !== 'unfinished'
  const plain = verificationText(verification, at => new Date(at).toISOString())
  if (verification.result === 'altered')
    saying.gaps.push({ kind: 'recording-gap', session: nameOf(recorded), what: 'altered', detail: plain })
  if (saying.json) {
    if (!good) io.exitCode = errorCodes.VERIFICATION_FAILED
    io.stdout.write(`${JSON.stringify(verificationJson(recorded, verification))}\n`)
    return
  }
  say(
    recorded.name,
    verificationText(verification, at => showTime(new Date(at))),
    good,
    io,
  )
}

/** What was recorded, as the broker knows, and is not there at all. */
function sayMissing(receipts: readonly Receipt[], there: ReadonlySet<string>, saying: Saying, io: Io): void {
  const last = new Map<string, Receipt>()
  for (const receipt of receipts) {
    if (there.has(receipt.session)) continue
    const before = last.get(receipt.session)
    if (before === undefined || before.sequence < receipt.sequence) last.set(receipt.session, receipt)
  }
  for (const { session, sequence, at } of last.values()) {
    const text = `missing: the broker saw ${sequence} events of it, the last at ${new Date(at).toISOString()}, and it is not there`
    saying.gaps.push({ kind: 'recording-gap', session, what: 'missing', detail: text })
    if (saying.json) {
      io.exitCode = errorCodes.VERIFICATION_FAILED
      io.stdout.write(
        `${JSON.stringify({ event: 'verification', session, result: 'missing', events: sequence, text })}\n`,
      )
    } else say(session, text, false, io)
  }
}

function say(name: string, text: string, good: boolean, io: Io): void {
  if (!good) io.exitCode = errorCodes.VERIFICATION_FAILED
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const [word = '', ...rest] = escapeLine(text).split(':')
  const shown = [good ? paint.green(word) : paint.red(word), ...rest].join(':')
  io.stdout.write(`${escapeLine(name)}${io.stdout.isTTY ? '  ' : '\t'}${shown}\n`)
}

async function wanted(names: readonly string[], flags: VerifyFlags, io: Io): Promise<readonly Recorded[]> {
  if (flags.all === true) {
    const root = recordingsFolder(flags.recordings, io)
    return (await sessionIds(root)).map(name => ({ name, folder: path.join(root, name) }))
  }
  const found: Recorded[] = []
  for (const name of names) found.push(await findBuried(name, flags.recordings, io))
  return found
}

/** What is in it may be anybody's: the folder was asked about. */
function nameOf({ name, folder }: Recorded): string {
  return asSessionId(name) ?? asSessionId(path.basename(folder)) ?? name.slice(0, 100)
}

/** Documented in docs/commands.md: it only grows. */
function verificationJson(recorded: Recorded, verification: Verification): object {
  const { session, lastAt, problems, ...rest } = verification
  return {
    event: 'verification',
    session: session ?? recorded.name,
    folder: recorded.folder,
    ...rest,
    lastAt: lastAt === null ? null : new Date(lastAt).toISOString(),
    text: verificationText(verification, at => new Date(at).toISOString()),
    problems: problems.map(problem => ({
      ...problem,
      at: problem.at === null ? null : new Date(problem.at).toISOString(),
    })),
  }
}
