import { readFileSync } from 'node:fs'
import { text as textOf } from 'node:stream/consumers'
import { createInterface } from 'node:readline/promises'
import { InvalidArgumentError, Option, type Command } from 'commander'
import type { Paths } from '../config/paths.ts'
import type { ApprovalAnswer, EditPreview } from '../control/schema.ts'
import { AgentgateError, errorCodes, hasErrno, type ErrorCode } from '../errors.ts'
import type { Io } from './command.ts'
import { parseDuration } from './duration.ts'
import { envSwitch, readGlobals, type Globals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import type { FoundRequest } from './live-sessions.ts'

interface ApproveFlags {
  proposed?: boolean
  reason?: string
  times?: number
  rows?: number
  for?: number
}

interface EditFlags {
  text?: string
  file?: string
  reason?: string
  preview?: boolean
  yes?: boolean
}

export function configure(command: Command, io: Io): void {
  command.action(async () => {
    const globals = readGlobals(command, io)
    if (globals.json || !io.stdout.isTTY || !io.stdin.isTTY || envSwitch(io.env['CI']))
      return await list(globals, false, io)
    const [{ approvalsLive }, paths] = await Promise.all([import('./approvals-live.ts'), pathsOf(io)])
    await approvalsLive(io, paths)
  })
  const listing = command.command('list').description('what is waiting, in any session of yours')
  listing
    .option('--watch', 'go on: a line for each request that comes, and with --json for each that ends')
    .action(async (flags: { watch?: boolean }) => await list(readGlobals(listing, io), flags.watch ?? false, io))

  const approve = command.command('approve').description('let it run, once')
  approve
    .argument('<id>', 'of the request, or its beginning')
    .option('--reason <text>', 'stands beside it in the record')
    .addOption(new Option('--times <n>', 'its shape, at most so many times; with --for').argParser(times))
    .addOption(new Option('--for <time>', 'its shape, for so long, such as 30m; with --times').argParser(seconds))
    .addOption(new Option('--rows <n>', 'its shape, for so many rows changed in all; with both').argParser(rows))
    .option('--proposed', 'what others said yes to in its place, where several must')
    .action(async (id: string, flags: ApproveFlags) => await approveOne(id, flags, readGlobals(approve, io), io))

  const edit = command.command('edit').description('let something else run in its place')
  edit
    .argument('<id>', 'of the request, or its beginning')
    .option('--text <text>', 'what runs instead')
    .option('--file <path>', 'a file that holds it; - for stdin')
    .option('--reason <text>', 'stands beside it in the record')
    .option('--preview', 'only say what it would be decided as')
    .option('-y, --yes', 'do not ask once more')
    .action(async (id: string, flags: EditFlags) => await editOne(id, flags, readGlobals(edit, io), io))

  const reject = command.command('reject').description('refuse it, with a reason that the asker gets')
  reject
    .argument('<id>', 'of the request, or its beginning')
    .requiredOption('--reason <text>', 'why not: the asker gets it as the error')
    .action(
      async (id: string, flags: { reason: string }) =>
        await decide(id, { outcome: 'reject', reason: flags.reason }, readGlobals(reject, io), io),
    )

  examples(command, [
    ['agentgate approvals', 'everything that waits for you, live; approve, edit, reject with a key'],
    ['agentgate approvals list --json', 'for scripts: one request a line'],
    ['agentgate approvals approve a_7K2M9Q', 'once'],
    ['agentgate approvals edit a_7K2M9Q --text "…"', 'run this in its place'],
    ['agentgate approvals reject a_7K2M9Q --reason "not on a Friday"', ''],
  ])
  examples(approve, [
    ['agentgate approvals approve a_7K2M9Q', 'once'],
    ['agentgate approvals approve a_7K2M9Q --times 10 --for 30m', 'its shape, with any values, ten times at most'],
  ])
  examples(edit, [
    ['agentgate approvals edit a_7K2M9Q', 'in your $EDITOR'],
    ['agentgate approvals edit a_7K2M9Q --file fixed.sql', ''],
    ['agentgate approvals edit a_7K2M9Q --text "…" --preview --json', 'what it would be decided as'],
  ])
  examples(reject, [['agentgate approvals reject a_7K2M9Q --reason "not on a Friday"', '']])
  for (const each of [command, approve, edit, reject])
    exitCodes(each, [
      [2, 'no such request is waiting'],
      [4, 'a passphrase is missing or wrong, or a rule denies the edit'],
      [5, 'the request ended before the answer came: withdrawn, timed out, or answered elsewhere'],
    ])
}

async function pathsOf(io: Io): Promise<Paths> {
  const config = await import('../config/paths.ts')
  return new config.Paths(io.env)
}

async function waiting(io: Io): Promise<readonly FoundRequest[]> {
  const { liveSessions, waitingRequests } = await import('./live-sessions.ts')
  const [own, others] = await Promise.all([
    pathsOf(io).then(async paths => await waitingRequests(await liveSessions(paths))),
    waitingAtBroker(io),
  ])
  // One's own session asks the broker too: it is answered where it runs, which can do more.
  const known = new Set(own.map(({ request }) => request.id))
  return [...own, ...others.filter(({ request }) => !known.has(request.id))]
}

async function waitingAtBroker(io: Io): Promise<readonly FoundRequest[]> {
  const { approvalsAtBroker } = await import('./broker-approvals.ts')
  const control = await approvalsAtBroker(io)
  if (control === undefined) return []
  return (await control.approvals()).map(request => ({ session: { control }, request }))
}

async function find(id: string, io: Io): Promise<FoundRequest> {
  const { requestNamed } = await import('./live-sessions.ts')
  return requestNamed(id, await waiting(io))
}

async function list(globals: Globals, watch: boolean, io: Io): Promise<void> {
  const { listRequests, watchRequests } = await import('./approvals-list.ts')
  if (watch) {
    await watchRequests(globals.json, io, await pathsOf(io))
    return
  }
  listRequests(await waiting(io), globals.json, io)
}

function approval(flags: ApproveFlags): ApprovalAnswer {
  const reason = flags.reason === undefined ? {} : { reason: flags.reason }
  if (flags.times === undefined && flags.for === undefined && flags.rows === undefined)
    return { outcome: 'approve', ...reason }
  if (flags.times === undefined || flags.for === undefined)
    throw new AgentgateError('USAGE', 'a shape is approved with both limits', { hint: '--times 10 --for 30m' })
  return {
    outcome: 'approve',
    ...reason,
    shape: { times: flags.times, seconds: flags.for, ...(flags.rows === undefined ? {} : { rows: flags.rows }) },
  }
}

async function approveOne(id: string, flags: ApproveFlags, globals: Globals, io: Io): Promise<void> {
  const [{ proposalText }, { escapeLine }] = await Promise.all([
    import('./ui/approval-panel.ts'),
    import('./ui/escape.ts'),
  ])
  // What cannot be meant is said before anybody is asked.
  const plain = approval(flags)
  const found = await find(id, io)
  const { proposed } = found.request
  if (flags.proposed !== true) {
    if (proposed !== undefined && !globals.json)
      io.stderr.write(
        `notice: ${escapeLine(proposed.by.join(', '))} said yes to something else (approvals list --json), and this starts the count again; --proposed says yes to that\n`,
      )
    await send(found, plain, globals, io)
    return
  }
  if (proposed === undefined)
    throw new AgentgateError('USAGE', 'nobody proposes anything in its place', { hint: 'agentgate approvals list' })
  const reason = flags.reason === undefined ? {} : { reason: flags.reason }
  if (!globals.json)
    io.stderr.write(
      `yes to what ${escapeLine(proposed.by.join(', '))} made of it:\n  ${escapeLine(proposalText(proposed))}\n`,
    )
  const { text, shape } = proposed
  const answer: ApprovalAnswer =
    text === undefined
      ? { outcome: 'approve', ...reason, ...(shape === undefined ? {} : { shape }) }
      : { outcome: 'edit', text, ...reason }
  await send(found, answer, globals, io)
}

async function decide(id: string, answer: ApprovalAnswer, globals: Globals, io: Io): Promise<void> {
  await send(await find(id, io), answer, globals, io)
}

async function editOne(id: string, flags: EditFlags, globals: Globals, io: Io): Promise<void> {
  const found = await find(id, io)
  const { request, session } = found
  if (!request.editable)
    throw new AgentgateError('USAGE', `${request.id} cannot be edited`, {
      hint: `agentgate approvals reject ${request.id} --reason "…"`,
    })
  const text = await newText(found, flags, io)
  const preview = await session.control.preview(request.id, text)
  if (preview.kind === 'refused')
    throw new AgentgateError('DENIED', preview.message, { hint: 'nothing was run; edit it again' })
  if (flags.preview === true || !globals.json) await showPreview(found, text, preview, globals, io)
  if (flags.preview === true) return
  if (preview.verdict === 'deny')
    throw new AgentgateError('DENIED', preview.message ?? 'a rule denies what you made of it', {
      hint: 'nothing was run; edit it again',
    })
  if (isTerminal(io) && flags.yes !== true && !globals.json && !(await confirmed(io)))
    throw new AgentgateError('USAGE', 'nothing was run')
  await send(
    found,
    { outcome: 'edit', text, ...(flags.reason === undefined ? {} : { reason: flags.reason }) },
    globals,
    io,
  )
}

async function newText({ request }: FoundRequest, flags: EditFlags, io: Io): Promise<string> {
  if (flags.text !== undefined && flags.file !== undefined)
    throw new AgentgateError('USAGE', '--text and --file do not go together')
  if (flags.text !== undefined) return flags.text
  if (flags.file !== undefined && flags.file !== '-') {
    try {
      return readFileSync(flags.file, 'utf8').replace(/\n$/, '')
    } catch (error) {
      if (hasErrno(error, 'ENOENT', 'EACCES', 'EISDIR'))
        throw new AgentgateError('USAGE', `${flags.file} cannot be read (${error.code ?? 'unknown'})`, { cause: error })
      throw error
    }
  }
  if (flags.file === '-' || !io.stdin.isTTY) {
    const text = (await textOf(io.stdin)).replace(/\n$/, '')
    if (text.trim() === '')
      throw new AgentgateError('USAGE', 'nothing came on stdin', { hint: '--text "…" or --file PATH' })
    return text
  }
  const { editorOf, editText } = await import('./editor.ts')
  const editor = editorOf(io.env)
  if (editor === undefined)
    throw new AgentgateError('USAGE', 'what should run instead?', { hint: '--text "…", --file PATH, or set EDITOR' })
  const folder = (await pathsOf(io)).stateDir()
  const text = await editText(request.view.text, { editor, folder, extension: 'sql', env: io.env })
  if (text === undefined || text === request.view.text || text.trim() === '')
    throw new AgentgateError('USAGE', 'nothing was changed, and nothing was run')
  return text
}

async function showPreview(
  { request }: FoundRequest,
  text: string,
  preview: Extract<EditPreview, { kind: 'ok' }>,
  globals: Globals,
  io: Io,
): Promise<void> {
  if (globals.json) {
    io.stdout.write(
      `${JSON.stringify({ event: 'preview', at: new Date().toISOString(), id: request.id, ...preview })}\n`,
    )
    return
  }
  const { editComparison } = await import('./ui/approval-panel.ts')
  const { paintFor, wantsColour } = await import('./paint.ts')
  const width = io.stdout.isTTY ? io.stdout.columns - 1 : 100
  io.stdout.write(
    `${editComparison(request, text, preview, width, paintFor(wantsColour(io.stdout, io.env))).join('\n')}\n`,
  )
}

/** A safety question: no default yes, and no answer is a no. */
async function confirmed(io: Io): Promise<boolean> {
  const lines = createInterface({ input: io.stdin, output: io.stderr })
  try {
    return /^y(es)?$/i.test((await lines.question('run this instead? [y/N] ')).trim())
  } finally {
    lines.close()
  }
}

/** Signs the answer where whoever asks could also be answering, sends it, and says what became of it. */
async function send(
  { request, session }: FoundRequest,
  answer: ApprovalAnswer,
  globals: Globals,
  io: Io,
): Promise<void> {
  const signed = answer.outcome === 'reject' || request.challenge === null ? answer : await sign(request, answer, io)
  const result = await session.control.answer(request.id, signed)
  if (result.kind === 'refused') {
    const code = result.code in errorCodes ? (result.code as ErrorCode) : 'DENIED'
    // It was waiting a moment ago.
    if (code === 'NO_SUCH_APPROVAL')
      throw new AgentgateError('APPROVAL_WITHDRAWN', result.message, { hint: result.hint })
    throw new AgentgateError(code, result.message, { hint: result.hint })
  }
  const more = result.missing === undefined ? '' : `, ${result.missing} more to say so`
  io.stdout.write(
    globals.json
      ? `${JSON.stringify({ event: 'answered', at: new Date().toISOString(), session: request.session, id: request.id, outcome: result.outcome, missing: result.missing })}\n`
      : `${result.outcome}${more}  ${request.view.summary}  ${request.id}\n`,
  )
}

async function sign(request: FoundRequest['request'], answer: ApprovalAnswer, io: Io): Promise<ApprovalAnswer> {
  const { ApproverKeyring } = await import('./approver-keyring.ts')
  const keyring = new ApproverKeyring(await pathsOf(io))
  if (!keyring.exists)
    throw new AgentgateError(
      'PASSPHRASE',
      'whoever asks could also be the one who answers: an approval needs your passphrase, and none is set',
      { hint: 'set one with: agentgate passphrase' },
    )
  if (envSwitch(io.env['CI']))
    throw new AgentgateError('PASSPHRASE', 'a passphrase is typed at a terminal, and this is CI')
  const [{ atTerminal }, { readHidden }] = await Promise.all([
    import('./own-terminal.ts'),
    import('./ask-passphrase.ts'),
  ])
  const passphrase = await atTerminal(io, async at => await readHidden(at, `passphrase, to answer ${request.id}: `))
  if (!(await keyring.unlock(passphrase))) throw new AgentgateError('PASSPHRASE', 'that is not your passphrase')
  return keyring.sign(request, answer)
}

function isTerminal(io: Io): boolean {
  return io.stdin.isTTY && io.stderr.isTTY && !envSwitch(io.env['CI'])
}

function times(text: string): number {
  const parsed = Number(text)
  if (!/^\d{1,4}$/.test(text) || parsed < 1 || parsed > 1000) throw new InvalidArgumentError('from 1 to 1000')
  return parsed
}

function rows(text: string): number {
  const parsed = Number(text)
  if (!/^\d{1,10}$/.test(text) || parsed < 1 || parsed > 1_000_000_000)
    throw new InvalidArgumentError('from 1 to 1000000000')
  return parsed
}

function seconds(text: string): number {
  const parsed = parseDuration(text)
  if (parsed === undefined || parsed > 86_400) throw new InvalidArgumentError('write it as 90s, 30m or 2h, at most 1d')
  return parsed
}
