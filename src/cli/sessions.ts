import { InvalidArgumentError, Option, type Command } from 'commander'
import { AgentgateError } from '../errors.ts'
import type { Io } from './command.ts'
import { parseDuration } from './duration.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import { moment } from './moment.ts'
import type { EraseFlags } from './sessions-erase.ts'
import type { ExportOptions } from './sessions-export.ts'
import type { From } from './recorded-copies.ts'
import type { SessionFilter } from './sessions-filter.ts'
import type { SearchFlags } from './sessions-search.ts'
import type { VerifyFlags } from './sessions-verify.ts'

interface ReplayFlags {
  text?: boolean
  speed?: number
  maxIdle?: number
  rows?: number
}

const folderOption = () =>
  new Option('--recordings <folder>', "where recordings are; else this user's own").env('AGENTGATE_RECORDINGS')
const fromOption = () =>
  new Option('--from <place>', 'read copies there instead: s3://bucket/prefix or file:///folder').conflicts(
    'recordings',
  )

/** Wherever a recording is opened, it is looked for in the environment. */
const identityOption = (io: Io) =>
  new Option('--identity <file>', 'of age, for recordings that are encrypted; AGENTGATE_AGE_IDENTITY').argParser(
    (file: string) => (io.env['AGENTGATE_AGE_IDENTITY'] = file),
  )

export function configure(command: Command, io: Io): void {
  command.addOption(folderOption()).action(async (flags: { recordings?: string }) => {
    const { listSessions } = await import('./sessions-list.ts')
    await listSessions(flags.recordings, {}, readGlobals(command, io).json, io)
  })

  const list = command.command('list').description('every recorded session, the newest first')
  list
    .option('--grep <text>', 'in statements, values, decisions, results, terminals; any case')
    .option('--resource <name>', 'with this resource; db-* for several')
    .option('--who <name>', 'of this person or agent; * as in --resource')
    .addOption(new Option('--since <time>', '2d (ago), 2026-11-20, 2026-11-20T14:07').argParser(moment))
    .addOption(new Option('--until <time>', 'likewise').argParser(moment))
    .option('--denied', 'with something that was refused')
    .addOption(folderOption())
    .addOption(fromOption())
    .addOption(identityOption(io))
    .action(async (flags: SessionFilter & From) => {
      const { recordings: _, from: __, ...filter } = flags
      const { listSessions } = await import('./sessions-list.ts')
      const { withCopies } = await import('./recorded-copies.ts')
      const what = { all: filter.grep === undefined ? 'manifest' : 'content' } as const
      await withCopies(flags, what, io, async recordings => {
        await listSessions(recordings, filter, readGlobals(list, io).json, io)
      })
    })

  const show = command.command('show').description('who, what, when, and each statement with its decision')
  show
    .argument('<session>', 'its id, or the beginning; or a folder that holds a recording')
    .addOption(folderOption())
    .addOption(fromOption())
    .addOption(identityOption(io))
    .action(async (session: string, flags: From) => {
      const { showSession } = await import('./sessions-show.ts')
      const { withCopies } = await import('./recorded-copies.ts')
      await withCopies(flags, { session }, io, async (recordings, id) => {
        await showSession(id, recordings, readGlobals(show, io).json, io)
      })
    })

  const replay = command.command('replay').description('see it happen again, with what came back')
  replay
    .argument('<session>', 'its id, or the beginning; or a folder that holds a recording')
    .option('--text', 'all at once, as text')
    .addOption(new Option('--speed <factor>', 'so many times as fast (default: 1)').argParser(factor))
    .addOption(new Option('--max-idle <time>', 'wait no longer than this (default: 2s)').argParser(idle))
    .addOption(
      new Option('--rows <n>', 'rows of each result; 0 for all (default: 20 on a terminal, else all)').argParser(rows),
    )
    .addOption(folderOption())
    .addOption(fromOption())
    .addOption(identityOption(io))
    .action(async (session: string, flags: ReplayFlags & From) => {
      const { replaySession } = await import('./sessions-replay.ts')
      const { withCopies } = await import('./recorded-copies.ts')
      await withCopies(flags, { session }, io, async (recordings, id) => {
        await replaySession(id, recordings, { ...flags, json: readGlobals(replay, io).json }, io)
      })
    })

  const tail = command.command('tail').description('what an open session does, as it does it')
  tail
    .argument('[session]', 'its id, or the beginning; else the only one that is open')
    .addOption(
      new Option('--last <n>', 'statements from before (default: 10); with --json events (default: all)').argParser(
        rows,
      ),
    )
    .addOption(folderOption())
    .action(async (session: string | undefined, flags: { last?: number; recordings?: string }) => {
      const { tailSession } = await import('./sessions-tail.ts')
      await tailSession(session, flags.recordings, { ...flags, json: readGlobals(tail, io).json }, io)
    })

  const exported = command.command('export').description('as a file for others: JSON, CSV, asciicast, or one HTML page')
  exported
    .argument('<session>', 'its id, or the beginning; or a folder that holds a recording')
    .addOption(
      new Option('--format <format>', 'else by the name of the file, else jsonl').choices([
        'jsonl',
        'csv',
        'asciicast',
        'html',
      ]),
    )
    .option('-o, --output <file>', 'instead of stdout')
    .addOption(new Option('--rows <n>', 'rows of each result in HTML; 0 for all (default: 1000)').argParser(rows))
    .addOption(folderOption())
    .addOption(fromOption())
    .addOption(identityOption(io))
    .action(async (session: string, flags: ExportOptions & From) => {
      const { exportSession } = await import('./sessions-export.ts')
      const { withCopies } = await import('./recorded-copies.ts')
      await withCopies(flags, { session }, io, async (recordings, id) => {
        await exportSession(id, recordings, flags, io)
      })
    })

  const kill = command.command('kill').description('end one that the broker granted, wherever it runs')
  kill
    .argument('<session>', 'its id')
    .option('--reason <text>', 'shown to whoever loses it', 'killed')
    .action(async (session: string, flags: { reason: string }) => {
      const { administeringClient } = await import('./broker-client.ts')
      await (await administeringClient(io)).killSession(session, flags.reason)
      io.stdout.write(
        readGlobals(kill, io).json ? `${JSON.stringify({ event: 'killed', session })}\n` : `${session}  killed\n`,
      )
    })

  const search = command.command('search').description('statements of all sessions that the broker granted')
  search
    .argument('[text]', 'in the statement, as it was recorded; any case')
    .option('--resource <name>', 'with this resource; db-* for several')
    .option('--who <name>', 'of this person or agent; * as in --resource')
    .addOption(new Option('--since <time>', '2d (ago), 2026-11-20, 2026-11-20T14:07').argParser(moment))
    .addOption(new Option('--until <time>', 'likewise').argParser(moment))
    .option('--denied', 'that were refused')
    .addOption(new Option('--limit <n>', 'the newest, at most 1000').default(100).argParser(limit))
    .action(async (text: string | undefined, flags: SearchFlags) => {
      const { searchStatements } = await import('./sessions-search.ts')
      await searchStatements(text, flags, readGlobals(search, io).json, io)
    })
  examples(search, [
    ['agentgate sessions search payments --since 30d', 'who touched payments?'],
    ["agentgate sessions search --who 'claude*' --denied", 'what agents tried'],
  ])
  exitCodes(search, [
    [3, 'not logged in'],
    [6, 'no broker answers'],
  ])

  const sync = command.command('sync').description('upload what is not yet where the policy says')
  sync.addOption(folderOption()).action(async (flags: { recordings?: string }) => {
    const { syncSessions } = await import('./sessions-sync.ts')
    await syncSessions(flags.recordings, readGlobals(sync, io), io)
  })

  const hold = command.command('hold').description('keep recordings, whatever their retention says')
  hold
    .argument('[session]', 'its id, or the beginning')
    .option('--who <name>', 'instead: all of this person, or of an agent of this name, also what is to come')
    .option('--reason <text>', 'why')
    .addOption(folderOption())
    .action(async (session: string | undefined, flags: { who?: string; reason?: string; recordings?: string }) => {
      const { holdSession, holdWho } = await import('./sessions-retention.ts')
      const { json } = readGlobals(hold, io)
      if (flags.who === undefined) await holdSession(oneOf(session, 'hold'), flags, json, io)
      else await holdWho(noneBesides(session, flags.who), flags, json, io)
    })

  const release = command.command('release').description('let go of what is held')
  release
    .argument('[session]', 'its id, or the beginning')
    .option('--who <name>', 'instead: a person or agent that was held')
    .addOption(folderOption())
    .action(async (session: string | undefined, flags: { who?: string; recordings?: string }) => {
      const { releaseSession, releaseWho } = await import('./sessions-retention.ts')
      const { json } = readGlobals(release, io)
      if (flags.who === undefined) await releaseSession(oneOf(session, 'release'), flags.recordings, json, io)
      else await releaseWho(noneBesides(session, flags.who), flags.recordings, json, io)
    })

  const prune = command.command('prune').description('delete recordings that are past their retention')
  prune
    .option('--dry-run', 'only say which')
    .addOption(folderOption())
    .action(async (flags: { dryRun?: boolean; recordings?: string }) => {
      const { pruneSessions } = await import('./sessions-retention.ts')
      await pruneSessions(flags, readGlobals(prune, io), io)
    })

  const erase = command.command('erase').description('erase what an encrypted recording holds, for good')
  erase
    .argument('<session>', 'its id, or the beginning')
    .requiredOption('--reason <text>', 'why; it stays in the place of the key')
    .option('-y, --yes', 'do not ask')
    .addOption(folderOption())
    .action(async (session: string, flags: EraseFlags) => {
      const { eraseSession } = await import('./sessions-erase.ts')
      await eraseSession(session, flags, readGlobals(erase, io), io)
    })
  examples(erase, [
    [
      "agentgate sessions erase s_7Q2N --reason 'request 17'",
      'its key goes, here and in the bucket; that it is whole can still be proven',
    ],
  ])
  exitCodes(erase, [
    [2, 'no such session, it is open, held or not encrypted, or nobody said yes'],
    [4, 'the broker gives this to its administrators only'],
    [6, 'erased here, and not in the bucket; or the broker does not answer'],
  ])

  const verify = command.command('verify').description('whether recordings are whole and unaltered')
  verify
    .argument('[session...]', 'ids, or their beginnings; or folders that hold a recording')
    .option('--all', 'every recorded session')
    .option('--key <file>', 'the broker’s public key: nothing counts that it has not certified')
    .addOption(folderOption())
    .addOption(fromOption())
    .addOption(identityOption(io))
    .action(async (sessions: string[], flags: VerifyFlags) => {
      const { verifySessions } = await import('./sessions-verify.ts')
      await verifySessions(sessions, flags, readGlobals(verify, io), io)
    })

  examples(command, [
    ['agentgate sessions', 'what happened, the newest first'],
    ['agentgate sessions show s_7Q2N', 'its statements and decisions; the beginning of an id is enough'],
    ['agentgate sessions replay s_7Q2N --speed 4', 'four times as fast'],
    ['agentgate sessions verify s_7Q2N', 'whole and unaltered?'],
    ['agentgate sessions list --json', 'one session a line'],
  ])
  examples(list, [
    ['agentgate sessions list --since 2d --denied', 'refusals of the last two days'],
    ["agentgate sessions list --resource 'db-*' --who maria --grep payments", 'who touched payments?'],
    ["agentgate sessions list --json | jq -r 'select(.masked > 0).session'", 'those with something masked'],
  ])
  examples(show, [
    ['agentgate sessions show s_7Q2N', ''],
    ['agentgate sessions show s_7Q2N --json', 'the session, then one statement a line'],
  ])
  examples(replay, [
    [
      'agentgate sessions replay s_7Q2N',
      'as it happened; space pauses, → skips, +/- change the speed, / searches, q ends',
    ],
    ['agentgate sessions replay s_7Q2N --speed 10 --max-idle 500ms', ''],
    ['agentgate sessions replay s_7Q2N --text | less', 'all at once'],
    ['agentgate sessions replay s_7Q2N --json', 'every event a line, results decoded'],
  ])
  examples(verify, [
    ['agentgate sessions verify s_7Q2N', ''],
    ['agentgate sessions verify --all', ''],
    ['agentgate sessions verify ./evidence/s_7Q2NXXXXXX', 'a copy that someone handed over'],
    ['agentgate sessions verify --all --from s3://acme/recordings --key broker.pem', 'the bucket alone, for auditors'],
  ])
  examples(tail, [
    ['agentgate sessions tail', 'the session that is open'],
    ['agentgate sessions tail s_7Q2N --last 0', 'only what happens from now on'],
    ['agentgate sessions tail --json | jq \'select(.event == "action")\'', 'every event a line, results decoded'],
  ])
  examples(sync, [
    ['agentgate sessions sync', 'after the bucket was away; what is there is not uploaded again'],
    ['agentgate sessions sync --json', ''],
  ])
  exitCodes(sync, [[6, 'something could not be uploaded; it stays here']])
  examples(hold, [
    ["agentgate sessions hold s_7Q2N --reason 'INC-2201'", ''],
    ['agentgate sessions hold --who maria@example.com', 'all of hers on this machine, also to come'],
  ])
  examples(release, [['agentgate sessions release s_7Q2N', '']])
  examples(prune, [
    ['agentgate sessions prune --dry-run', 'what would go'],
    ['agentgate sessions prune', 'for a timer'],
  ])
  for (const each of [hold, release]) exitCodes(each, [[2, 'no such session']])
  exitCodes(prune, [[7, 'there are recordings past their retention that cannot be read; they stay']])
  examples(exported, [
    ['agentgate sessions export s_7Q2N -o incident.html', 'one page with timeline, search and decisions'],
    ['agentgate sessions export s_7Q2N --format csv', 'one statement a row'],
    ['agentgate sessions export s_7Q2N -o session.cast', 'the recorded terminal, for asciinema'],
  ])
  for (const each of [command, list, show, replay, tail, exported])
    exitCodes(each, [
      [2, 'no such session'],
      [7, 'parts of it cannot be read, or are not as they were recorded'],
    ])
  exitCodes(verify, [
    [0, 'whole and unaltered, or still open and unaltered so far'],
    [2, 'no such session'],
    [6, 'the bucket does not answer'],
    [7, 'altered, damaged, or it breaks off before its end'],
  ])
}

function oneOf(session: string | undefined, command: string): string {
  if (session !== undefined) return session
  throw new AgentgateError('USAGE', 'which session?', {
    hint: `agentgate sessions ${command} SESSION, or --who NAME`,
  })
}

function noneBesides(session: string | undefined, who: string): string {
  if (session === undefined) return who
  throw new AgentgateError('USAGE', 'a session or --who, not both')
}

function factor(text: string): number {
  const value = Number(text.replace(/x$/, ''))
  if (!(value > 0 && value <= 1000)) throw new InvalidArgumentError('expected a number such as 4 or 0.5, up to 1000')
  return value
}

/** Milliseconds. */
function idle(text: string): number {
  const milliseconds = /^(\d{1,7})ms$/.exec(text)?.[1]
  const seconds = parseDuration(text)
  if (milliseconds === undefined && seconds === undefined && text !== '0')
    throw new InvalidArgumentError('expected a time such as 500ms, 2s or 1m')
  return milliseconds === undefined ? (seconds ?? 0) * 1000 : Number(milliseconds)
}

function limit(text: string): number {
  const value = Number(text)
  if (!/^\d{1,4}$/.test(text) || value < 1 || value > 1000)
    throw new InvalidArgumentError('expected a number up to 1000')
  return value
}

function rows(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('expected a number')
  return Number(text)
}
