import { AgentgateError } from '../errors.ts'
import { osUser } from '../identity/os-user.ts'
import { accessRows, whoMay, type AccessRow } from '../policy/access-report.ts'
import { loadPolicy, type LoadedPolicy } from '../policy/load.ts'
import type { Principal } from '../policy/subject.ts'
import { brokerClient, brokerHere } from './broker-client.ts'
import type { Io } from './command.ts'
import { showDuration } from './duration.ts'
import type { Globals } from './globals.ts'
import { whoFor } from './principal.ts'
import { loadProtocols } from './protocols.ts'
import { showRows } from './show-rows.ts'
import { escapeLine } from './ui/escape.ts'

interface Shown {
  readonly rows: readonly AccessRow[]
}

export async function accessWho(resource: string, globals: Globals, io: Io): Promise<void> {
  const at = brokerHere(io, globals)
  if (at !== undefined) {
    show(await (await brokerClient(at, io)).accessWho(resource), 'who', globals, io)
    return
  }
  const { policy } = await policyHere(globals, io)
  policy.resource(resource)
  const people = policy.solo ? [await osUser()] : []
  const rows =
    policy.declaration.access === undefined
      ? own(policy, await osUser(), resource)
      : whoMay(policy.declaration, resource, people)
  show({ rows }, 'who', globals, io)
}

export async function accessOfSomebody(
  name: string,
  groups: readonly string[],
  globals: Globals,
  io: Io,
): Promise<void> {
  const at = brokerHere(io, globals)
  if (at !== undefined) {
    const answer = await (await brokerClient(at, io)).accessOf(name === 'me' ? null : name, groups)
    if (!answer.known && !globals.json)
      io.stderr.write('the broker has not seen anybody of this name: shown is what names them; their groups: --group\n')
    show(answer, 'of', globals, io)
    return
  }
  const loaded = await policyHere(globals, io)
  const { policy } = loaded
  const principal: Principal =
    name === 'me'
      ? (await whoFor(loaded, io.env)).principal
      : { name, groups, source: policy.solo ? 'os-user' : 'oidc' }
  if (name !== 'me' && groups.length === 0 && !globals.json)
    io.stderr.write('only what names them, or anybody, is shown; say their groups: --group\n')
  show({ rows: accessRows(policy.declaration, principal, undefined) }, 'of', globals, io)
}

/** Without `access` a policy is its user's own. */
function own({ declaration }: LoadedPolicy['policy'], user: Principal, resource: string) {
  return accessRows(declaration, user, undefined).filter(row => row.resource === resource)
}

/** Only read: nothing of it is resolved. */
async function policyHere(globals: Globals, io: Io): Promise<LoadedPolicy> {
  const source = { path: globals.policy, digest: globals.policyDigest, cwd: io.cwd, env: io.env }
  return await loadPolicy({ ...source, kinds: await loadProtocols(), untrusted: 'accept' })
}

function show(answer: Shown, asked: 'who' | 'of', globals: Globals, io: Io): void {
  if (globals.json) {
    for (const row of answer.rows) io.stdout.write(`${JSON.stringify(row)}\n`)
    return
  }
  if (answer.rows.length === 0) {
    io.stderr.write(asked === 'who' ? 'nobody may use it\n' : 'nothing\n')
    return
  }
  const columns =
    asked === 'who'
      ? ['WHO', 'AGENTS', 'SCOPE', 'HOW', 'FOR', 'WHY', 'SEEN']
      : ['WHAT', 'AGENTS', 'SCOPE', 'HOW', 'FOR', 'WHY']
  showRows(
    columns,
    answer.rows.map(row =>
      [
        asked === 'who' ? row.who : row.resource,
        row.actor ?? '',
        row.scope,
        howText(row),
        showDuration(row.ttlSeconds * 1000),
        row.place ?? 'your own policy',
        ...(asked === 'who' ? [row.people.join(', ')] : []),
      ].map(escapeLine),
    ),
    io,
  )
}

function howText({ how, approvers }: AccessRow): string {
  switch (how) {
    case 'held':
      return 'held'
    case 'given':
      return 'given on request'
    case 'on-request': {
      const { groups = [], count = 1 } = approvers ?? {}
      const who = groups.length === 0 ? 'administrators' : groups.join(' or ')
      return `on request: ${count > 1 ? `${count} of ` : ''}${who}`
    }
    default:
      throw new AgentgateError('INTERNAL', how satisfies never)
  }
}
