import type { Action } from './action.ts'
import type { ConditionDeclaration } from './declaration.ts'
import { anyMatches, type Glob } from './glob.ts'
import type { PolicyKind } from './kind.ts'
import type { Client } from './policy.ts'
import type { ParsedSubjectWhen, ParsedWhen } from './schema.ts'
import type { Subject } from './subject.ts'

/** Whether a condition holds, and whether another action of the same shape may find otherwise. */
export type Finding = 0 | 1 | 2 | 3
export const matched = 1
export const varying = 2

export type EffectOf = (action: Action) => 'read' | 'change' | 'unknown'

/** What a condition is prepared for: all of it is fixed while a connection lasts. */
export interface Setting {
  readonly kindName: string
  readonly kind: PolicyKind
  readonly resource: string
  readonly scope: string
  readonly subject: Subject
  /** Undefined: not known (yet). */
  readonly client: Client | undefined
  readonly effectOf: EffectOf
}

/** A condition with everything known beforehand worked out; what is left asks the action and the clock. */
export interface PreparedCondition {
  /** Nothing is left to ask: it holds. */
  readonly always: boolean
  find(action: Action, nowMs: number): Finding
}

export function subjectHolds(when: ParsedSubjectWhen, subject: Subject): boolean {
  return (
    (when.user === undefined || anyMatches(when.user, subject.principal.name)) &&
    (when.group === undefined || subject.principal.groups.some(group => anyMatches(when.group ?? [], group))) &&
    (when.actor === undefined || (subject.actor !== null && anyMatches(when.actor, subject.actor.name))) &&
    (when.proven === undefined || subject.actor?.proven === when.proven) &&
    (when.confined === undefined || when.confined === subject.confined) &&
    (when.purpose === undefined || saidHolds(when.purpose, subject.purpose)) &&
    (when.ticket === undefined || saidHolds(when.ticket, subject.ticket))
  )
}

/** `present`, `missing`, or what was said. */
function saidHolds(globs: readonly Glob[], said: string | null): boolean {
  const text = said?.trim() ?? ''
  return globs.some(one => {
    if (one.pattern === 'present') return text !== ''
    if (one.pattern === 'missing') return text === ''
    return text !== '' && one.matches(text)
  })
}

/**
 * Undefined where it cannot hold, whatever is asked. `doubt` is what becomes of what is not known: it holds for
 * conditions that make an answer stricter, and fails for those that relax it.
 */
export function prepareCondition(
  condition: ConditionDeclaration,
  setting: Setting,
  doubt: 'holds' | 'fails',
): PreparedCondition | undefined {
  const { general } = condition
  if (general.resource !== undefined && !anyMatches(general.resource, setting.resource)) return undefined
  if (general.scope !== undefined && !anyMatches(general.scope, setting.scope)) return undefined
  if (!subjectHolds(general, setting.subject)) return undefined
  let clientUnknown = false
  if (general.client !== undefined) {
    if (setting.client === undefined) {
      if (doubt === 'fails') return undefined
      clientUnknown = true
    } else if (!anyMatches(general.client, setting.client.program)) return undefined
  }
  const whole = condition.protocol === null ? null : condition.protocol.get(setting.kindName)
  if (whole === undefined) return undefined

  const { kind, effectOf } = setting
  const effects = general.effect === undefined ? null : new Set<string>(general.effect)
  const { shape, varies } = whole === null ? { shape: null, varies: false } : splitByShape(kind, whole)
  const clock = general.time === undefined ? null : clockOf(general.time)
  const settled: Finding = clientUnknown ? ((matched | varying) as Finding) : matched
  const unsettled: Finding = (matched | varying) as Finding
  return {
    always: effects === null && whole === null && clock === null && !clientUnknown,
    find: (action, nowMs) => {
      if (effects !== null) {
        const effect = effectOf(action)
        // What is unknown may be any of them.
        if (!effects.has(effect) && !(effect === 'unknown' && doubt === 'holds')) return 0
      }
      if (shape !== null && !kind.matches(shape, action, doubt)) return 0
      if (clock !== null && !clock(nowMs)) return varying
      if (varies) return kind.matches(whole, action, doubt) ? unsettled : varying
      return clock === null ? settled : unsettled
    },
  }
}

/** The part that a shape alone answers, asked first: most actions fall out there, and their answer can be kept. */
function splitByShape(kind: PolicyKind, whole: Readonly<Record<string, unknown>>) {
  if (!kind.varies(whole)) return { shape: whole, varies: false }
  const steady = Object.entries(whole).filter(([key, value]) => !kind.varies({ [key]: value }))
  return { shape: steady.length === 0 ? null : Object.fromEntries(steady), varies: true }
}

const dayNames = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']

/** Whether a point in time is in the days and hours. Formatting is slow, so an answer is kept for its minute. */
function clockOf(time: NonNullable<ParsedWhen['time']>): (nowMs: number) => boolean {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: time.zone ?? 'UTC',
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })
  const { days, hours } = time
  const inDays = (day: number) => days === undefined || days.has(day)
  const holds = (nowMs: number): boolean => {
    const parts = new Map(format.formatToParts(nowMs).map(part => [part.type, part.value]))
    const day = dayNames.indexOf(parts.get('weekday') ?? '')
    const minute = Number(parts.get('hour')) * 60 + Number(parts.get('minute'))
    if (hours === undefined) return inDays(day)
    // After midnight, hours that began the evening before belong to that evening's day.
    return hours.some(({ from, to }) =>
      from < to
        ? inDays(day) && minute >= from && minute < to
        : (inDays(day) && minute >= from) || (inDays((day + 6) % 7) && minute < to),
    )
  }
  let minuteSeen = Number.NaN
  let answer = false
  return nowMs => {
    const minute = Math.floor(nowMs / 60_000)
    if (minute !== minuteSeen) {
      answer = holds(nowMs)
      minuteSeen = minute
    }
    return answer
  }
}
