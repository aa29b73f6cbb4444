import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import type { BrokerClient } from '../control/broker-client.ts'
import type { PolicyAnswer, PolicyContent, PolicyPush } from '../control/broker-schema.ts'
import { AgentgateError } from '../errors.ts'
import { findPolicy, isTestFile, policyFilesOf, readPolicyFiles, type PolicyFiles } from '../policy/policy-files.ts'
import { administeringClient } from './broker-client.ts'
import type { Io } from './command.ts'
import { counted } from './counted.ts'
import { envSwitch, type Globals } from './globals.ts'
import { paintFor, wantsColour } from './paint.ts'
import { paintLine, unifiedDiff } from './policy-diff.ts'
import { showRows } from './show-rows.ts'
import { escapeLine } from './ui/escape.ts'

interface PushFlags {
  readonly force?: boolean
  readonly dryRun?: boolean
  readonly yes?: boolean
}

/** Sends the policy here, with its cases, to the broker. */
export async function pushPolicy(globals: Globals, flags: PushFlags, io: Io): Promise<void> {
  const files = readPolicyFiles(findPolicy({ path: globals.policy, cwd: io.cwd, env: io.env }), io.cwd)
  const tests = readdirSync(files.folder)
    .filter(isTestFile)
    .sort()
    .map(name => ({ name, text: readFileSync(path.join(files.folder, name), 'utf8') }))
  const client = await administeringClient(io)
  await send(client, await client.policy(null), contentOf(files), tests, flags, globals, io)
}

/** Lets one count again that did before, the newest that is another than the one that does where none is named. */
export async function rollbackPolicy(
  wanted: string | undefined,
  flags: PushFlags,
  globals: Globals,
  io: Io,
): Promise<void> {
  const client = await administeringClient(io)
  const { policies, current } = await client.policyHistory()
  const beginsAs = (digest: string) =>
    wanted === undefined || digest.startsWith(wanted) || digest.startsWith(`sha256:${wanted}`)
  const found = new Set(policies.map(each => each.digest).filter(digest => digest !== current && beginsAs(digest)))
  const [digest] = found
  if (digest === undefined || (wanted !== undefined && found.size > 1))
    throw new AgentgateError(
      'USAGE',
      digest === undefined ? 'the broker has no such policy to go back to' : `several begin with ${wanted ?? ''}`,
      { hint: 'agentgate policy history' },
    )
  const [now, { policy }] = await Promise.all([client.policy(null), client.policy(digest)])
  await send(client, now, policy, [], flags, globals, io)
}

/** Those that were pushed, newest first. */
export async function policyHistory(globals: Globals, io: Io): Promise<void> {
  const { policies, current } = await (await administeringClient(io)).policyHistory()
  const newest = Math.max(...policies.map(each => each.number))
  const shown = policies.map(each => ({ ...each, counts: each.digest === current && each.number === newest }))
  if (globals.json) {
    for (const each of shown) io.stdout.write(`${JSON.stringify({ event: 'policy', ...each })}\n`)
    return
  }
  if (shown.length === 0) io.stderr.write('none was pushed: the broker’s file counts\n')
  else
    showRows(
      ['POLICY', 'SINCE', 'BY', ''],
      shown.map(({ digest, at, by, counts }) => [
        io.stdout.isTTY ? digest.slice(0, 19) : digest,
        io.stdout.isTTY ? at.slice(0, 16).replace('T', ' ') : at,
        by ?? 'the broker’s file',
        counts ? 'counts now' : '',
      ]),
      io,
    )
}

async function send(
  client: BrokerClient,
  now: PolicyAnswer,
  policy: PolicyContent,
  tests: PolicyPush['tests'],
  flags: PushFlags,
  globals: Globals,
  io: Io,
): Promise<void> {
  const say = (event: object, text: string) =>
    void io.stdout.write(globals.json ? `${JSON.stringify({ ...event, at: new Date().toISOString() })}\n` : text)
  const about = { broker: client.address, digest: policy.digest, before: now.current }
  if (policy.digest === now.current) {
    say({ event: 'policy-pushed', ...about, changed: false }, `the broker has this policy already  ${policy.digest}\n`)
    return
  }
  const paint = paintFor(wantsColour(io.stdout, io.env, io.argv))
  const diff = unifiedDiff(namedLike(now.policy, policy), filesOf(policy).files, 'at the broker')
  say(
    { event: 'policy-difference', ...about, diff: diff.map(line => line.text).join('\n') },
    `${diff.map(line => `${paintLine(line, paint)}\n`).join('')}\n`,
  )
  const asked = { policy, tests, base: now.current, force: flags.force ?? false }
  const checked = await client.pushPolicy({ ...asked, check: true })
  for (const text of checked.warnings)
    say({ event: 'warning', text }, `${paint.yellow('WARNING')}: ${escapeLine(text)}\n`)
  if (flags.dryRun === true) {
    const taken = checked.warnings.length === 0 || asked.force
    say(
      { event: 'policy-checked', ...about, cases: checked.cases, taken },
      `nothing was changed; the broker would ${taken ? 'take it' : 'not take it without --force'}, ${casesText(checked.cases)}\n`,
    )
    return
  }
  if (checked.warnings.length === 0 || asked.force) await confirm(flags, globals, io)
  const pushed = await client.pushPolicy({ ...asked, check: false })
  say(
    { event: 'policy-pushed', ...about, changed: pushed.changed, cases: pushed.cases },
    `pushed to ${client.address}  ${policy.digest}  (${casesText(pushed.cases)})\nback with: agentgate policy rollback\n`,
  )
}

/** A safety question: no default yes, and no answer is a no. Not asked where nobody can answer. */
async function confirm(flags: PushFlags, globals: Globals, io: Io): Promise<void> {
  if (flags.yes === true || globals.json || !io.stdin.isTTY || !io.stderr.isTTY || envSwitch(io.env['CI'])) return
  const lines = createInterface({ input: io.stdin, output: io.stderr })
  try {
    if (/^y(es)?$/i.test((await lines.question('let this count for everybody? [y/N] ')).trim())) return
  } finally {
    lines.close()
  }
  throw new AgentgateError('USAGE', 'nothing was pushed')
}

function casesText(cases: number): string {
  return cases === 0 ? 'no cases' : `${counted(cases, 'case')} passed`
}

function contentOf({ kind, digest, files }: PolicyFiles): PolicyContent {
  return {
    ...{ kind, digest },
    files: files.map(file => ({ name: path.basename(file.path), text: file.bytes.toString('utf8') })),
  }
}

function filesOf({ kind, files }: PolicyContent): PolicyFiles {
  return policyFilesOf(kind, files, '/')
}

/** One file is one file, whatever either end calls it. */
function namedLike(before: PolicyContent, after: PolicyContent): PolicyFiles['files'] {
  const [first] = after.files
  const { files } = filesOf(before)
  return before.kind === 'file' && after.kind === 'file' && first !== undefined
    ? files.map(file => ({ ...file, name: first.name }))
    : files
}
