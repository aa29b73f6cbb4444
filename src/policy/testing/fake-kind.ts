import { z } from 'zod'
import type { Action, ActionView } from '../action.ts'
import type { PolicyKind } from '../kind.ts'
import type { Subject } from '../subject.ts'

/** A kind for tests of policy alone: `verb table [where] [rows=N] [?]`, several with `;`. `?` is what cannot be known. */
export interface FakeAction extends Action {
  readonly kind: 'fake'
  readonly shape: { readonly text: string; readonly parts: readonly Part[] }
  readonly rows: number
}

interface Part {
  readonly verb: string
  readonly table: string
  readonly where: boolean
  readonly unknown: boolean
}

const words = z.enum(['select', 'insert', 'update', 'delete', 'drop', 'truncate', 'alter', 'set'])
const oneOrMore = <T extends z.ZodType>(item: T) => z.union([item.transform(value => [value]), z.array(item).min(1)])

const whenSchema = z.strictObject({
  statement: oneOrMore(words).optional(),
  table: oneOrMore(z.string().min(1)).optional(),
  where: z.enum(['missing', 'present']).optional(),
  rows: z.int().optional(),
})

const shapes = new Map<string, FakeAction['shape']>()

/** One shape per text without `rows=`, as protocols keep them. */
export function fakeAction(text: string): FakeAction {
  const rows = Number(/rows=([0-9]+)/.exec(text)?.[1] ?? 0)
  const plain = text.replace(/ ?rows=[0-9]+/, '')
  let shape = shapes.get(plain)
  if (shape === undefined) {
    const parts = plain.split(';').map(part => {
      const [verb = '', table = ''] = part.trim().split(/\s+/)
      return { verb, table, where: part.includes(' where'), unknown: part.includes('?') }
    })
    shapes.set(plain, (shape = { text: plain, parts }))
  }
  return { kind: 'fake', shape, rows }
}

export const fakeKind: PolicyKind & { calls: number } = {
  kind: 'fake',
  calls: 0,
  targetPort: () => 5432,
  resourceSchema: z.strictObject({ database: z.string().optional() }),
  scopeSchema: z.strictObject({ role: z.string().optional() }),
  whenSchema,
  matches(when, action, doubt) {
    fakeKind.calls += 1
    const asked = when as z.output<typeof whenSchema>
    const { shape, rows } = action as FakeAction
    const holds = (part: Part) => {
      if (part.unknown) return doubt === 'holds'
      return (
        (asked.statement === undefined || asked.statement.some(word => word === part.verb)) &&
        (asked.table === undefined || asked.table.includes(part.table)) &&
        (asked.where === undefined || asked.where === (part.where ? 'present' : 'missing')) &&
        (asked.rows === undefined || rows > asked.rows)
      )
    }
    return doubt === 'holds' ? shape.parts.some(holds) : shape.parts.every(holds)
  },
  varies: when => (when as z.output<typeof whenSchema>).rows !== undefined,
  hint: when => ((when as z.output<typeof whenSchema>).where === 'missing' ? 'add a WHERE' : undefined),
  view(action): ActionView {
    const { shape, rows } = action as FakeAction
    const reads = shape.parts.filter(part => part.verb === 'select').map(part => part.table)
    const writes = shape.parts.filter(part => part.verb !== 'select').map(part => part.table)
    return {
      kind: 'fake',
      summary: shape.text,
      text: shape.text,
      effect: shape.parts.some(part => part.unknown) ? 'unknown' : writes.length > 0 ? 'change' : 'read',
      verbs: shape.parts.map(part => part.verb),
      reads,
      writes,
      attributes: { rows },
    }
  },
  parse: text => Promise.resolve(fakeAction(text)),
}

/** Another, with a word of its own and one (`table`) that both know. */
export const otherKind: PolicyKind = {
  ...fakeKind,
  kind: 'other',
  resourceSchema: z.object({ region: z.string().optional() }),
  scopeSchema: z.object({}),
  whenSchema: z.object({ method: z.enum(['GET', 'POST']).optional(), table: z.string().optional() }),
  matches: () => true,
  varies: () => false,
}

export const fakeKinds = new Map<string, PolicyKind>([
  ['fake', fakeKind],
  ['other', otherKind],
])

export function person(name = 'maria', groups: readonly string[] = [], more: Partial<Subject> = {}): Subject {
  return {
    principal: { name, groups, source: 'os-user' },
    actor: null,
    confined: false,
    purpose: null,
    ticket: null,
    ...more,
  }
}

export function agent(name = 'claude', groups: readonly string[] = [], more: Partial<Subject> = {}): Subject {
  return person('maria', groups, { actor: { name, proven: false }, ...more })
}
