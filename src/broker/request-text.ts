import { duration } from '../policy/schema-text.ts'

const units = [
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
] as const

/** What is asked for as an approver reads and edits it: `scope write for 1h`. */
export function requestText(scope: string, seconds: number): string {
  const [unit, per] = units.find(([, each]) => seconds % each === 0) ?? ['s', 1]
  return `scope ${scope} for ${seconds / per}${unit}`
}

/** The seconds that an approver wrote; undefined where it is no such text, or another scope's. */
export function editedSeconds(text: string, scope: string): number | undefined {
  const [, named, time] = /^\s*scope\s+(\S+)\s+for\s+(\S+)\s*$/.exec(text) ?? []
  if (named !== scope) return undefined
  const parsed = duration.safeParse(time)
  return parsed.success ? parsed.data : undefined
}
