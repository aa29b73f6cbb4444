import { z } from 'zod'

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Plan Rows': number
  readonly Plans?: readonly PlanNode[] | undefined
}

const planNode: z.ZodType<PlanNode> = z.looseObject({
  'Node Type': z.string(),
  'Plan Rows': z.number(),
  Plans: z.array(z.lazy(() => planNode)).optional(),
})

const explained = z.array(z.looseObject({ Plan: planNode.optional() })).min(1)

/**
 * What the topmost node of a plan (EXPLAIN, FORMAT JSON) gives, or what a node that writes is given, whichever is more; null where
 * there is no plan.
 */
export function plannedRows(rows: readonly (readonly (string | null)[])[]): number | null {
  let parsed: unknown
  try {
    parsed = JSON.parse(rows.map(row => row[0] ?? '').join('\n'))
  } catch {
    return null // a utility statement: there is nothing to plan
  }
  const plan = explained.safeParse(parsed)
  const top = plan.success ? plan.data[0]?.Plan : undefined
  if (top === undefined) return null
  let most = top['Plan Rows']
  const waiting: PlanNode[] = [top]
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    const inner = node.Plans ?? []
    if (node['Node Type'] === 'ModifyTable')
      most = Math.max(
        most,
        inner.reduce((sum, one) => sum + one['Plan Rows'], 0),
      )
    waiting.push(...inner)
  }
  return most
}
