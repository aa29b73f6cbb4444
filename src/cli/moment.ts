import { InvalidArgumentError } from 'commander'
import { parseDuration } from './duration.ts'

/** `2d` (ago), `2026-11-20`, `2026-11-20T14:07` (local time), or with its zone. */
export function moment(text: string): Date {
  const seconds = parseDuration(text)
  if (seconds !== undefined) return new Date(Date.now() - seconds * 1000)
  // A day alone would be midnight in UTC (ECMA-262 §21.4.1.32), with a time it is local.
  const date = /^\d{4}-\d\d-\d\d$/.test(text) ? new Date(`${text}T00:00`) : new Date(text)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(date.getTime()))
    throw new InvalidArgumentError('expected a time such as 2d (ago), 2026-11-20 or 2026-11-20T14:07')
  return date
}
