import type { Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'

export function configure(command: Command, io: Io): void {
  check(command.command('check').description('find what is wrong with a policy, and show what holds'), io)
  test(command.command('test').description('run the cases beside a policy (*.test.yaml)'), io)
  explain(command.command('explain').description('why a statement gets the decision it gets'), io)
  digest(command.command('digest').description('the digest of a policy’s content, for --policy-digest'), io)
  examples(command, [
    ['agentgate policy check', 'errors and warnings with their lines, and what holds by default'],
    ['agentgate policy test', 'the cases in agentgate.test.yaml'],
    ['agentgate policy explain db-prod "delete from orders"', 'which rule decides, and why the others do not'],
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
