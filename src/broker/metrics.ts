/** Upper bounds in seconds, of calls and of what ends a credential. */
const bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const

interface Family {
  readonly name: string
  readonly help: string
  readonly kind: 'counter' | 'gauge' | 'histogram'
}

interface Histogram {
  readonly counts: number[]
  sum: number
  count: number
}

const families = {
  calls: { name: 'agentgate_calls_total', help: 'Calls of the API, by call and HTTP status.', kind: 'counter' },
  callSeconds: { name: 'agentgate_call_seconds', help: 'How long a call took to answer.', kind: 'histogram' },
  errors: { name: 'agentgate_errors_total', help: 'Refusals and failures, by error code.', kind: 'counter' },
  granted: { name: 'agentgate_grants_opened_total', help: 'Grants given out here.', kind: 'counter' },
  ended: { name: 'agentgate_sessions_ended_total', help: 'Sessions ended here, by how.', kind: 'counter' },
  endSeconds: {
    name: 'agentgate_end_seconds',
    help: 'From the word that ends a grant until the target has ended it too.',
    kind: 'histogram',
  },
  asked: { name: 'agentgate_approvals_asked_total', help: 'Requests for approval that came here.', kind: 'counter' },
  decided: { name: 'agentgate_approvals_decided_total', help: 'Answers that counted, by outcome.', kind: 'counter' },
  targetFailures: {
    name: 'agentgate_target_failures_total',
    help: 'Credentials that could not be ended, or swept, at their target at the time.',
    kind: 'counter',
  },
  storeFailures: {
    name: 'agentgate_store_failures_total',
    help: 'Times that the store did not answer the look of each second.',
    kind: 'counter',
  },
  grants: { name: 'agentgate_grants', help: 'Grants that live, by state.', kind: 'gauge' },
  sessions: { name: 'agentgate_sessions', help: 'Sessions that live, at whichever broker.', kind: 'gauge' },
  tunnels: { name: 'agentgate_tunnels', help: 'Sessions whose tunnel is on the line here.', kind: 'gauge' },
  approvals: { name: 'agentgate_approvals_open', help: 'What waits for an answer.', kind: 'gauge' },
  suspended: { name: 'agentgate_principals_suspended', help: 'Who is suspended.', kind: 'gauge' },
  vouches: { name: 'agentgate_store_up', help: '1 while the store answers.', kind: 'gauge' },
} as const satisfies Record<string, Family>

type NameOf<Kind> = {
  [Key in keyof typeof families]: (typeof families)[Key]['kind'] extends Kind ? Key : never
}[keyof typeof families]

/**
 * Counts for Prometheus (text format 0.0.4). Labels come from lists in the code alone: never a name, an id or anything that
 * somebody sent.
 */
export class Metrics {
  readonly #counters = new Map<string, number>()
  readonly #histograms = new Map<string, Histogram>()

  count(name: NameOf<'counter'>, labels: Readonly<Record<string, string>> = {}, by = 1): void {
    const key = keyOf(families[name].name, labels)
    this.#counters.set(key, (this.#counters.get(key) ?? 0) + by)
  }

  observe(name: NameOf<'histogram'>, seconds: number, labels: Readonly<Record<string, string>> = {}): void {
    const key = keyOf(families[name].name, labels)
    const known = this.#histograms.get(key) ?? { counts: bounds.map(() => 0), sum: 0, count: 0 }
    this.#histograms.set(key, known)
    for (const [index, bound] of bounds.entries())
      if (seconds <= bound) known.counts[index] = (known.counts[index] ?? 0) + 1
    known.sum += seconds
    known.count += 1
  }

  /** @param now what is asked of the store at that moment; gauges that are not in it are not known, and left out */
  text(now: Partial<Record<NameOf<'gauge'>, number | Readonly<Record<string, number>>>>): string {
    const lines: string[] = []
    for (const [key, family] of Object.entries(families)) {
      const found: string[] = []
      if (family.kind === 'gauge') {
        const value = now[key as NameOf<'gauge'>]
        if (typeof value === 'number') found.push(`${family.name} ${value}`)
        else
          for (const [state, count] of Object.entries(value ?? {}))
            found.push(`${keyOf(family.name, { state })} ${count}`)
      } else if (family.kind === 'counter') {
        for (const [each, count] of this.#counters) if (isOf(each, family.name)) found.push(`${each} ${count}`)
        if (found.length === 0) found.push(`${family.name} 0`)
      } else
        for (const [each, histogram] of this.#histograms)
          if (isOf(each, family.name)) found.push(...histogramLines(family.name, each, histogram))
      if (found.length > 0)
        lines.push(`# HELP ${family.name} ${family.help}`, `# TYPE ${family.name} ${family.kind}`, ...found)
    }
    return `${lines.join('\n')}\n`
  }
}

function keyOf(name: string, labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  return pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`
}

function isOf(key: string, name: string): boolean {
  return key === name || key.startsWith(`${name}{`)
}

function histogramLines(name: string, key: string, { counts, sum, count }: Histogram): string[] {
  const labels = key.slice(name.length).replace(/^\{|\}$/g, '')
  const withLabels = (more: string) => {
    const all = [labels, more].filter(each => each !== '').join(',')
    return all === '' ? '' : `{${all}}`
  }
  return [
    ...counts.map((each, index) => `${name}_bucket${withLabels(`le="${bounds[index] ?? 0}"`)} ${each}`),
    `${name}_bucket${withLabels('le="+Inf"')} ${count}`,
    `${name}_sum${withLabels('')} ${sum.toFixed(6)}`,
    `${name}_count${withLabels('')} ${count}`,
  ]
}
