import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Command } from 'commander'
import { AgentgateError, hasErrno } from '../errors.ts'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples } from './help.ts'
import type { FoundResource } from './init-sources.ts'

interface Flags {
  force?: boolean
  print?: boolean
}

interface InitOptions {
  readonly json: boolean
  readonly path: string
  readonly force: boolean
  readonly print: boolean
}

export function configure(command: Command, io: Io): void {
  command
    .option('--force', 'replace a file that is there')
    .option('--print', 'only show it, write nothing')
    .action(async (flags: Flags) => {
      const { json, policy } = readGlobals(command, io)
      const file = path.resolve(io.cwd, policy ?? 'agentgate.yaml')
      await init({ json, path: file, force: flags.force ?? false, print: flags.print ?? false }, io)
    })
  examples(command, [
    ['agentgate init', 'write agentgate.yaml from DATABASE_URL, PGHOST, PGSERVICE or ~/.pgpass'],
    ['agentgate init --print', 'see what it would say'],
    ['DATABASE_URL=postgres://… agentgate init --policy db.yaml', 'into another file'],
  ])
}

async function init(options: InitOptions, io: Io): Promise<void> {
  const { findResources } = await import('./init-sources.ts')
  const found = findResources(io.env, file => {
    try {
      return readFileSync(file, 'utf8')
    } catch {
      return undefined // not there, or not ours to read: one source less
    }
  })
  const text = policyText(found)
  if (options.print) {
    io.stdout.write(text)
    return
  }
  try {
    // Fails where there is one already, whoever wrote it and whenever.
    writeFileSync(options.path, text, { flag: options.force ? 'w' : 'wx', mode: 0o644 })
  } catch (error) {
    const shown = path.relative(io.cwd, options.path) || options.path
    if (hasErrno(error, 'EEXIST'))
      throw new AgentgateError('USAGE', `${shown} is there already`, {
        hint: 'look at it with: agentgate policy check; replace it with: agentgate init --force',
      })
    throw new AgentgateError('USAGE', `${shown} cannot be written`, {
      hint: `ls -ld ${path.dirname(options.path)}`,
      cause: error,
    })
  }
  report(found, options, io)
}

function report(found: readonly FoundResource[], options: InitOptions, io: Io): void {
  const resources = found.map(({ name, source }) => ({ name, source }))
  if (options.json) {
    io.stdout.write(`${JSON.stringify({ event: 'written', path: options.path, resources })}\n`)
    return
  }
  const shown = path.relative(io.cwd, options.path) || options.path
  const what =
    found.length === 0
      ? 'a template: nothing was found to start from'
      : resources.map(one => `${one.name}, from ${one.source}`).join('; ')
  const first = found[0]?.name ?? 'RESOURCE'
  const steps = [
    ...(found.length === 0 ? [[`$EDITOR ${shown}`, 'say what there is to reach']] : []),
    ['agentgate policy check', 'what holds, and what to mind'],
    ['agentgate trust', 'let it count'],
    [`agentgate connect ${first}`, 'open it'],
  ]
  io.stdout.write(
    `wrote ${shown}  (${what})\n\nnext:\n${steps.map(([step = '', says = '']) => `  ${step.padEnd(34)} ${says}\n`).join('')}`,
  )
}

/** The whole file, commented so that it can be understood without another page. */
function policyText(found: readonly FoundResource[]): string {
  const resources = found.length === 0 ? template : found.map(resourceText).join('')
  return `# Who may do what through agentgate. Nothing here counts until: agentgate trust
# What is wrong with it, and what it means:  agentgate policy check · agentgate policy explain
version: 1

resources:
${resources}
# The strongest effect wins: deny, then approve, then allow. Where no rule matches, people are allowed, and agents
# may only read.
rules:
  - name: no unbounded writes
    when: { statement: [update, delete], where: missing }
    then: deny
    message: an UPDATE or DELETE needs a WHERE

  - name: schema changes are asked for
    when: { statement: [ddl, truncate] }
    then: approve
    approvers: { within: 10m }

  # Agents may change something once you have looked at it, rather than never:
  # - name: agents ask before they change something
  #   when: { actor: "*", effect: change }
  #   then: approve

# What clients, agents and recordings never see in the clear.
# masks:
#   - { name: contact data, columns: ["*.email", "*.phone"], with: partial }
`
}

const template = `  # db:
  #   kind: postgres
  #   address: db.internal:5432
  #   database: shop
  #   credential: { issuer: static, user: app, password: "\${env:DB_PASSWORD}" }
  #   scopes: { all: {} }
  {}
`

function resourceText(found: FoundResource): string {
  const lines = [
    `${found.name}:  # from ${found.source}`,
    '  kind: postgres',
    ...(found.address === undefined ? [] : [`  address: ${quoted(found.address)}`]),
    ...(found.database === undefined ? [] : [`  database: ${quoted(found.database)}`]),
    ...(found.tls === undefined ? [] : [`  tls: ${found.tls}`]),
    ...(found.note === undefined ? [] : [`  # ${found.note}`]),
    `  credential: { issuer: static, ${found.credential} }`,
    `  scopes: { all: {} }`,
  ]
  return lines.map(line => `  ${line}\n`).join('')
}

/** Plain where YAML takes it for text, else in double quotes, which JSON's are. */
function quoted(text: string): string {
  return /^[A-Za-z/][A-Za-z0-9._/-]*(?::[0-9]+)?$/.test(text) && !/^(?:true|false|null|yes|no|on|off)$/i.test(text)
    ? text
    : JSON.stringify(text)
}
