import type { Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'

export function configure(command: Command, io: Io): void {
  check(command.command('check').description('find what is wrong with a policy, and show what holds'), io)
  test(command.command('test').description('run the cases beside a policy (*.test.yaml)'), io)
  explain(command.command('explain').description('why a statement gets the decision it gets'), io)
  push(command.command('push').description('send a policy to the broker, where it counts from then on'), io)
  history(command.command('history').description('which policies were pushed to the broker, and by whom'), io)
  rollback(command.command('rollback').description('let one count again that did before'), io)
  digest(command.command('digest').description('the digest of a policy’s content, for --policy-digest'), io)
  examples(command, [
    ['agentgate policy check', 'errors and warnings with their lines, and what holds by default'],
    ['agentgate policy test', 'the cases in agentgate.test.yaml'],
    ['agentgate policy explain db-prod "delete from orders"', 'which rule decides, and why the others do not'],
    ['agentgate policy push', 'shows the difference, and sends it to the broker'],
  ])
}

function check(command: Command, io: Io): void {
  command.argument('[path]', 'the policy file or folder; as --policy').action(async (path: string | undefined) => {
    const { runCheck } = await import('./policy-check.ts')
    const globals = readGlobals(command, io)
    io.exitCode = await runCheck({ ...globals, path: path ?? globals.policy }, io)
  })
  examples(command, [
    ['agentgate policy check', 'the policy of this folder'],
    ['agentgate policy check policies/ --json', 'a folder of files; each problem is one line of JSON'],
  ])
  exitCodes(command, [[2, 'it has errors']])
}

interface TestFlags {
  filter?: string
}

function test(command: Command, io: Io): void {
  command
    .argument('[files...]', 'files of cases; else every *.test.yaml beside the policy')
    .option('--filter <text>', 'only cases with this in their name')
    .action(async (files: string[], flags: TestFlags) => {
      const { runTests } = await import('./policy-test.ts')
      io.exitCode = await runTests({ ...readGlobals(command, io), files, filter: flags.filter }, io)
    })
  examples(command, [
    ['agentgate policy test', 'every *.test.yaml beside the policy'],
    ['agentgate policy test payments.test.yaml', 'these cases only'],
  ])
  exitCodes(command, [[7, 'a case failed']])
}

interface ExplainFlags {
  scope?: string
  user?: string
  group?: string[]
  actor?: string
  confined?: boolean
  reason?: string
  ticket?: string
  client?: string
  at?: string
  fixtures?: string
}

function explain(command: Command, io: Io): void {
  command
    .argument('[resource]', 'as agentgate.yaml names it; the only one where there is one')
    .argument('[statement]', 'what would be asked: a statement, a request line')
    .option('-s, --scope <scope>', 'the scope it is asked in')
    .option('--user <name>', 'who asks, where not you')
    .option('--group <names...>', 'the groups of whoever asks')
    .option('--actor <name>', 'the agent that asks for them')
    .option('--confined', 'the agent is confined')
    .option('--reason <text>', 'why it is asked')
    .option('--ticket <id>', 'the ticket it is for')
    .option('--client <program>', 'the program that asks')
    .option('--at <time>', 'when it is asked, such as 2026-03-02T22:00:00Z')
    .option('--fixtures <file>', 'what the target looks like (PostgreSQL: DDL)')
    .action(async (resource: string | undefined, statement: string | undefined, flags: ExplainFlags) => {
      const { runExplain } = await import('./policy-explain.ts')
      await runExplain({ ...readGlobals(command, io), ...flags, resource, statement }, io)
    })
  examples(command, [
    ['agentgate policy explain db-prod', 'who may use it, which rules and masks it has'],
    ['agentgate policy explain db-prod "delete from orders"', 'what happens to this, and why'],
    ['agentgate policy explain db-prod "select 1" --actor claude', 'the same for an agent of yours'],
    ['agentgate policy explain db-prod "…" --fixtures schema.sql', 'with the tables that the statement is about'],
  ])
}

function digest(command: Command, io: Io): void {
  command.argument('[path]', 'the policy file or folder; as --policy').action(async (path: string | undefined) => {
    const { findPolicy, readPolicyFiles } = await import('../policy/policy-files.ts')
    const globals = readGlobals(command, io)
    const found = findPolicy({ path: path ?? globals.policy, cwd: io.cwd, env: io.env })
    const files = readPolicyFiles(found, io.cwd)
    io.stdout.write(
      globals.json
        ? `${JSON.stringify({ event: 'digest', path: files.path, digest: files.digest })}\n`
        : `${files.digest}\n`,
    )
  })
  examples(command, [
    ['agentgate policy digest', 'keep it in a protected variable of the CI, as AGENTGATE_POLICY_DIGEST'],
    ['agentgate connect db --policy-digest "$(agentgate policy digest)"', 'accept the file as it is now'],
  ])
}

interface PushFlags {
  force?: boolean
  dryRun?: boolean
  yes?: boolean
}

function pushOptions(command: Command): Command {
  return command
    .option('--dry-run', 'only show the difference, and what the broker says of it')
    .option('--force', 'though it locks somebody out')
    .option('-y, --yes', 'do not ask once more')
}

const pushExitCodes = [
  [2, 'it has errors, another policy counts meanwhile, or this broker takes none'],
  [3, 'not logged in'],
  [4, 'refused: you are no administrator, it locks somebody out, or says what only the broker’s own file may'],
  [6, 'the broker does not answer'],
  [7, 'one of its cases fails'],
] as const

function push(command: Command, io: Io): void {
  pushOptions(command.argument('[path]', 'the policy file or folder; as --policy')).action(
    async (path: string | undefined, flags: PushFlags) => {
      const { pushPolicy } = await import('./policy-push.ts')
      const globals = readGlobals(command, io)
      await pushPolicy({ ...globals, policy: path ?? globals.policy }, flags, io)
    },
  )
  examples(command, [
    ['agentgate policy push', 'the policy of this folder, with the cases beside it'],
    ['agentgate policy push policies/ --dry-run', 'what would change, and whether the broker would take it'],
  ])
  exitCodes(command, pushExitCodes)
}

function history(command: Command, io: Io): void {
  command.action(async () => {
    const { policyHistory } = await import('./policy-push.ts')
    await policyHistory(readGlobals(command, io), io)
  })
  examples(command, [['agentgate policy history --json', 'one a line, newest first']])
  exitCodes(command, [[4, 'for administrators and auditors']])
}

function rollback(command: Command, io: Io): void {
  pushOptions(command.argument('[digest]', 'of the one to go back to, or its beginning; else the one before')).action(
    async (wanted: string | undefined, flags: PushFlags) => {
      const { rollbackPolicy } = await import('./policy-push.ts')
      await rollbackPolicy(wanted, flags, readGlobals(command, io), io)
    },
  )
  examples(command, [
    ['agentgate policy rollback', 'the one before the last push'],
    ['agentgate policy rollback sha256:41aa', 'a certain one, of agentgate policy history'],
  ])
  exitCodes(command, pushExitCodes)
}
