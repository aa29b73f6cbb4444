import { readFileSync } from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../errors.ts'
import { osUser } from '../identity/os-user.ts'
import { showDefault } from '../policy/check.ts'
import { concerns, type CompiledPolicy } from '../policy/compile.ts'
import type { ResourceDeclaration } from '../policy/declaration.ts'
import { explain, type Explanation } from '../policy/explain.ts'
import { loadPolicy } from '../policy/load.ts'
import { placeName } from '../policy/problem.ts'
import type { Subject } from '../policy/subject.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { paintFor, wantsColour, type Paint } from './paint.ts'
import { loadProtocols } from './protocols.ts'
import { escapeLine, escapeLines, flatten } from './ui/escape.ts'

interface ExplainOptions extends Globals {
  readonly resource: string | undefined
  readonly statement: string | undefined
  readonly scope?: string
  readonly user?: string
  readonly group?: readonly string[]
  readonly actor?: string
  readonly confined?: boolean
  readonly reason?: string
  readonly ticket?: string
  readonly client?: string
  readonly at?: string
  readonly fixtures?: string
}

/** Shows what a policy, trusted or not, says of a resource or of one statement on it. Connects to nothing. */
export async function runExplain(options: ExplainOptions, io: Io): Promise<void> {
  const { policy } = await loadPolicy({
    path: options.policy,
    digest: options.policyDigest,
    cwd: io.cwd,
    env: io.env,
    kinds: await loadProtocols(),
    untrusted: 'accept',
  })
  const { name } = policy.resource(options.resource ?? onlyResource(policy))
  const resource = policy.declaration.resources.get(name)
  if (resource === undefined) throw new AgentgateError('NO_SUCH_RESOURCE', `no resource "${name}"`)
  const subject = await subjectOf(options, policy)
  const paint = paintFor(wantsColour(io.stdout, io.env, io.argv))
  if (options.statement === undefined) showResource(policy, resource, subject, options, io, paint)
  else await showStatement(policy, resource, subject, options.statement, options, io, paint)
}

function onlyResource(policy: CompiledPolicy): string {
  const names = [...policy.resources.keys()]
  const [only] = names
  if (only !== undefined && names.length === 1) return only
  throw new AgentgateError('USAGE', 'say which resource', { hint: `one of ${names.join(', ')}` })
}

async function subjectOf(options: ExplainOptions, policy: CompiledPolicy): Promise<Subject> {
  const me = await osUser()
  return {
    principal: {
      name: options.user ?? me.name,
      // Somebody else's groups are not known here.
      groups: options.group ?? (options.user === undefined ? me.groups : []),
      source: policy.solo ? 'os-user' : 'oidc',
    },
    actor: options.actor === undefined ? null : { name: options.actor, proven: false },
    confined: options.confined ?? false,
    purpose: options.reason ?? null,
    ticket: options.ticket ?? null,
  }
}

function showResource(
  policy: CompiledPolicy,
  resource: ResourceDeclaration,
  subject: Subject,
  options: ExplainOptions,
  io: Io,
  paint: Paint,
): void {
  const access = policy.access(subject).find(one => one.resource.name === resource.name)
  const scopes = access?.scopes.map(({ scope, ttlSeconds }) => ({ scope: scope.name, ttlSeconds })) ?? []
  const rules = policy.rules
    .filter(rule => concerns(rule.declaration.when, resource))
    .map(({ declaration, ref }) => ({ ...ref, effect: declaration.effect, message: declaration.message ?? null }))
  const masks = policy
    .masks(subject, resource.name)
    .map(mask => ({ name: mask.name, place: mask.place, with: mask.with.kind }))
  const otherwise = subject.actor === null ? resource.default.people : resource.default.agents
  if (options.json) {
    const about = { resource: resource.name, kind: resource.kindName, place: placeName(resource.place) }
    io.stdout.write(`${JSON.stringify({ event: 'resource', ...about, scopes, rules, masks, default: otherwise })}\n`)
    return
  }
  const line = (label: string, text: string) => void io.stdout.write(`${paint.dim(label.padEnd(9))} ${text}\n`)
  const shown = policy.resources.get(resource.name)
  line(
    resource.name,
    `${resource.kindName} · ${shown?.address ?? 'the host in its credential’s url'} · ${placeName(resource.place)}`,
  )
  line(
    'scopes',
    scopes.length === 0
      ? `none for ${whoIs(subject)}`
      : `${scopes.map(one => one.scope).join(', ')} for ${whoIs(subject)}`,
  )
  for (const rule of rules)
    line(
      rule.effect,
      `${escapeLine(rule.name)}  ${paint.dim(rule.place)}${rule.message === null ? '' : `  ${escapeLine(rule.message)}`}`,
    )
  for (const mask of masks) line('mask', `${escapeLine(mask.name)}  ${paint.dim(mask.place)}  ${mask.with}`)
  line('else', `${subject.actor === null ? 'people' : 'agents'} may do ${showDefault(otherwise)}`)
}

async function showStatement(
  policy: CompiledPolicy,
  resource: ResourceDeclaration,
  subject: Subject,
  statement: string,
  options: ExplainOptions,
  io: Io,
  paint: Paint,
): Promise<void> {
  const { scope } = policy.grant(subject, resource.name, options.scope)
  const fixtures = options.fixtures === undefined ? undefined : readFixtures(options.fixtures, io)
  const action = await resource.kind.parse(statement, { resource: resource.settings, fixtures })
  const client = options.client === undefined ? undefined : { program: options.client }
  const nowMs = timeOf(options.at)
  const explanation = explain(policy, { subject, resource, scope, client, action, nowMs })
  if (options.json) io.stdout.write(`${JSON.stringify(event(explanation, resource, scope.name))}\n`)
  else io.stdout.write(render(explanation, `${resource.name}  ${scope.name}, as ${whoIs(subject)}`, paint))
}

function event(explanation: Explanation, resource: ResourceDeclaration, scope: string) {
  const { view, verdict, rules } = explanation
  return {
    event: 'explanation',
    resource: resource.name,
    scope,
    decision: verdict.kind,
    rule: verdict.rule,
    ...(verdict.kind === 'deny' ? { message: verdict.message, hint: verdict.hint ?? null } : {}),
    ...(verdict.kind === 'approve' ? { approvers: verdict.approvers } : {}),
    ...(verdict.kind !== 'deny' && verdict.limit !== undefined ? { limit: verdict.limit } : {}),
    ...(verdict.kind !== 'deny' && verdict.record !== undefined ? { record: verdict.record } : {}),
    masks: verdict.kind === 'deny' ? [] : verdict.masks.map(mask => mask.name),
    rules,
    action: view,
  }
}

function render(explanation: Explanation, about: string, paint: Paint): string {
  const { view, verdict, rules } = explanation
  const lines: string[] = []
  const line = (label: string, text: string) => void lines.push(`${paint.dim(label.padEnd(9))} ${text}`)
  line('on', escapeLine(about))
  line('statement', escapeLines(view.text).join(`\n${' '.repeat(10)}`))
  line('does', `${flatten(view.summary)} · ${effectText(view.effect)}`)
  if (view.reads.length > 0) line('reads', escapeLine(view.reads.join(', ')))
  if (view.writes.length > 0) line('writes', escapeLine(view.writes.join(', ')))
  const unknown = view.attributes['unknown']
  if (typeof unknown === 'string') line('unknown', escapeLine(unknown))
  lines.push('')
  switch (verdict.kind) {
    case 'allow':
      line(paint.green('allowed'), byRule(verdict.rule, paint))
      break
    case 'deny':
      line(paint.red('denied'), `${byRule(verdict.rule, paint)}: ${escapeLine(verdict.message)}`)
      if (verdict.hint !== undefined) line('hint', escapeLine(verdict.hint))
      break
    case 'approve': {
      const { groups, count, withinSeconds } = verdict.approvers
      const who = groups.length === 0 ? 'you' : `somebody in ${groups.join(' or ')}`
      line(
        paint.yellow('waits'),
        `${byRule(verdict.rule, paint)}: for ${count > 1 ? `${count} of ` : ''}${escapeLine(who)}, ${Math.round(withinSeconds / 60)} min`,
      )
      break
    }
    default:
      verdict satisfies never
  }
  if (verdict.kind !== 'deny' && verdict.limit !== undefined) {
    const { rows, bytes, rule } = verdict.limit
    const most = [rows === null ? [] : `${rows} rows`, bytes === null ? [] : `${bytes} bytes`].flat().join(' or ')
    line('result', `at most ${most}, by rule "${escapeLine(rule.name)}" ${paint.dim(rule.place)}`)
  }
  if (verdict.kind !== 'deny' && verdict.record !== undefined) {
    const { keep, rule } = verdict.record
    const what = keep === 'full' ? 'the whole result' : 'of the result only count and digest'
    line('recorded', `${what}, by rule "${escapeLine(rule.name)}" ${paint.dim(rule.place)}`)
  }
  if (verdict.kind !== 'deny' && verdict.masks.length > 0)
    line('masks', escapeLine(verdict.masks.map(mask => mask.name).join(', ')))
  if (rules.length > 0) lines.push('')
  for (const { rule, effect, applies, why } of rules) {
    const mark = applies ? paint.bold('applies') : paint.dim('does not')
    lines.push(
      `${mark}  ${effect.padEnd(7)}  ${escapeLine(rule.name)}  ${paint.dim(rule.place)}\n          ${escapeLine(why)}`,
    )
  }
  return `${lines.join('\n')}\n`
}

function effectText(effect: 'read' | 'change' | 'unknown'): string {
  switch (effect) {
    case 'read':
      return 'only reads'
    case 'change':
      return 'changes something'
    case 'unknown':
      return 'what it does cannot be known beforehand'
    default:
      return effect satisfies never
  }
}

function byRule(rule: { readonly name: string; readonly place: string } | null, paint: Paint): string {
  return rule === null ? 'by no rule, the default' : `by rule "${escapeLine(rule.name)}" ${paint.dim(rule.place)}`
}

function whoIs(subject: Subject): string {
  const { principal, actor } = subject
  return actor === null ? principal.name : `${actor.name} for ${principal.name}`
}

function readFixtures(file: string, io: Io): string {
  try {
    return readFileSync(path.resolve(io.cwd, file), 'utf8')
  } catch (error) {
    throw new AgentgateError('USAGE', `${file} cannot be read`, { hint: `ls -l ${file}`, cause: error })
  }
}

function timeOf(text: string | undefined): number {
  if (text === undefined) return Date.now()
  const time = Date.parse(text)
  if (Number.isNaN(time))
    throw new AgentgateError('USAGE', `${text} is no time`, { hint: 'such as 2026-03-02T22:00:00Z' })
  return time
}
