import { z } from 'zod'
import { AgentgateError } from '../errors.ts'
import type { Verdict } from './action.ts'
import type { CompiledPolicy } from './compile.ts'
import type { Place, Problem } from './problem.ts'
import { parsePart } from './schema-problem.ts'
import type { Subject } from './subject.ts'
import { underMasks } from './under-masks.ts'
import { readYaml } from './yaml-source.ts'

const names = z.union([
  z
    .string()
    .min(1)
    .transform(name => [name]),
  z.array(z.string().min(1)),
])

/** Who asks, of what; what all cases share stands in `defaults`. */
const circumstances = {
  principal: z.string().min(1).optional(),
  groups: names.optional(),
  actor: z.string().min(1).nullable().optional().describe('An agent’s name; left away or null: a person alone.'),
  confined: z.boolean().optional(),
  purpose: z.string().min(1).nullable().optional(),
  ticket: z.string().min(1).nullable().optional(),
  client: z.string().min(1).nullable().optional().describe('The program at the other end of the socket.'),
  resource: z.string().min(1).optional(),
  scope: z.string().min(1).optional(),
  at: z.iso.datetime({ offset: true, error: 'a time such as 2026-03-02T14:00:00Z' }).optional(),
  fixtures: z.string().optional().describe('A name from fixtures, or the text itself (PostgreSQL: DDL).'),
} as const

const testCase = z.strictObject({
  name: z.string().min(1).optional(),
  ...circumstances,
  statement: z.string().min(1),
  expect: z.enum(['allow', 'deny', 'approve']),
  rule: z.string().min(1).nullable().optional().describe('The rule that decides; null: none, the default.'),
  masks: z.array(z.string().min(1)).optional().describe('The masks that hold, by name.'),
})

/** The file of cases, as `agentgate policy test` reads it. */
export const testFileSchema = z.strictObject({
  fixtures: z.union([z.string(), z.record(z.string().min(1), z.string())]).optional(),
  defaults: z.strictObject(circumstances).optional(),
  cases: z.array(testCase).min(1, { error: 'at least one case' }),
})

type TestFile = z.output<typeof testFileSchema>

export interface TestCase {
  readonly name: string
  readonly place: Place
  readonly given: Omit<TestFile['cases'][number], 'name'>
  readonly fixtures: string | undefined
}

export type TestResult =
  | { readonly kind: 'passed'; readonly case: TestCase }
  | { readonly kind: 'failed'; readonly case: TestCase; readonly message: string; readonly got: Got | undefined }

/** What the policy said. */
export interface Got {
  readonly decision: Verdict['kind']
  readonly rule: string | null
  readonly place: string | null
  readonly message: string | null
  readonly masks: readonly string[]
}

export function readTestFile(file: {
  readonly name: string
  readonly shown: string
  readonly bytes: Buffer
}):
  | { readonly kind: 'ok'; readonly cases: readonly TestCase[] }
  | { readonly kind: 'wrong'; readonly problems: readonly Problem[] } {
  const read = readYaml(file)
  if (read.kind === 'broken') return { kind: 'wrong', problems: read.problems }
  const parsed = parsePart(testFileSchema, read.yaml.value, read.yaml, [])
  if (parsed.kind === 'wrong') return parsed
  const { fixtures, defaults, cases } = parsed.value
  return {
    kind: 'ok',
    cases: cases.map((each, index) => {
      const given = { ...defaults, ...each }
      return {
        name: each.name ?? oneLine(each.statement),
        place: read.yaml.place(['cases', index]),
        given,
        fixtures: fixturesOf(given.fixtures, fixtures),
      }
    }),
  }
}

function fixturesOf(own: string | undefined, shared: TestFile['fixtures']): string | undefined {
  if (typeof shared === 'string' || shared === undefined) return own ?? shared
  return own === undefined ? undefined : ((Object.hasOwn(shared, own) ? shared[own] : undefined) ?? own)
}

/** Runs one case against a policy. Never throws for what the case or the policy says. */
export async function runTestCase(policy: CompiledPolicy, test: TestCase, nowMs: number): Promise<TestResult> {
  const failed = (message: string, got?: Got): TestResult => ({ kind: 'failed', case: test, message, got })
  const { given } = test
  let got: Got
  try {
    got = await ask(policy, test, nowMs)
  } catch (error) {
    if (error instanceof AgentgateError && error.code !== 'INTERNAL')
      return failed(error.hint === undefined ? error.message : `${error.message} (${error.hint})`)
    throw error
  }
  if (got.decision !== given.expect) return failed(`expected ${given.expect}, got ${showGot(got)}`, got)
  if (given.rule !== undefined && given.rule !== got.rule) {
    const wanted = given.rule === null ? 'no rule' : `rule "${given.rule}"`
    return failed(`expected ${given.expect} by ${wanted}, got ${showGot(got)}`, got)
  }
  if (given.masks !== undefined && given.masks.toSorted().join('\0') !== got.masks.toSorted().join('\0'))
    return failed(`expected masks ${showNames(given.masks)}, got ${showNames(got.masks)}`, got)
  return { kind: 'passed', case: test }
}

async function ask(policy: CompiledPolicy, test: TestCase, nowMs: number): Promise<Got> {
  const { given } = test
  const subject: Subject = {
    principal: {
      name: given.principal ?? 'someone',
      groups: given.groups ?? [],
      source: policy.solo ? 'os-user' : 'oidc',
    },
    actor: given.actor === undefined || given.actor === null ? null : { name: given.actor, proven: false },
    confined: given.confined ?? false,
    purpose: given.purpose ?? null,
    ticket: given.ticket ?? null,
  }
  const [only] = policy.resources.size === 1 ? policy.resources.keys() : []
  const resourceName = given.resource ?? only
  if (resourceName === undefined) throw new AgentgateError('USAGE', 'the case names no resource')
  const { name } = policy.resource(resourceName)
  const resource = policy.declaration.resources.get(name)
  if (resource === undefined) throw new AgentgateError('NO_SUCH_RESOURCE', `no resource "${name}"`)
  try {
    const { scope } = policy.grant(subject, name, given.scope)
    const client = given.client === undefined || given.client === null ? null : { program: given.client }
    const options = { resource: resource.settings, fixtures: test.fixtures }
    const action = await resource.kind.parse(given.statement, options)
    const at = given.at === undefined ? nowMs : Date.parse(given.at)
    const verdict = policy.decider(subject, name, scope.name, client).decide(action, at)
    return gotOf(underMasks(verdict, resource.kind, action))
  } catch (error) {
    // No access at all, or nothing that may ever reach the target: a refusal like any other.
    if (error instanceof AgentgateError && error.code === 'DENIED')
      return { decision: 'deny', rule: null, place: null, message: error.message, masks: [] }
    throw error
  }
}

function gotOf(verdict: Verdict): Got {
  return {
    decision: verdict.kind,
    rule: verdict.rule?.name ?? null,
    place: verdict.rule?.place ?? null,
    message: verdict.kind === 'deny' ? verdict.message : null,
    masks: verdict.kind === 'deny' ? [] : verdict.masks.map(mask => mask.name),
  }
}

function showGot(got: Got): string {
  const by = got.rule === null ? ' by no rule' : ` by rule "${got.rule}" (${got.place ?? ''})`
  return `${got.decision}${by}${got.message === null ? '' : `: ${got.message}`}`
}

function showNames(list: readonly string[]): string {
  return list.length === 0 ? 'none' : list.join(', ')
}

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim()
  return line.length > 80 ? `${line.slice(0, 79)}…` : line
}
