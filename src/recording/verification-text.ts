import type { Erasure } from './encryption/erasure.ts'
import type { Problem } from './read-item.ts'
import type { Verification } from './verify.ts'
import type { WitnessVerification } from './witness/witness-check.ts'

/** A line is for reading: --json has all of them. */
const maxShown = 5

/** One line for a person. `time` shows when an event was. */
export function verificationText(verification: Verification, time: (at: number) => string): string {
  const { result, events, segments, journals, head, problems, torn, ended, lastAt, signedBy, doubtful, tombstone } =
    verification
  const { witness, locked, erasure } = verification
  const files = [
    ...(segments > 0 || journals === 0 ? [counted(segments, 'segment')] : []),
    ...(journals > 0 ? [counted(journals, 'journal')] : []),
  ].join(' and ')
  const unread = locked === 0 ? '' : ` (${locked} encrypted, their content ${unreadText(erasure)})`
  const what = `${counted(events, 'event')}${unread} in ${files}${head === null ? '' : `, head ${shortHead(head)}`}`
  switch (result) {
    case 'whole': {
      const signed = signedBy === null ? 'not signed' : `signed by the session's key ${signedBy.slice(0, 8)}`
      return `whole and unaltered: ${what}, ${signed}${witnessText(witness, time)}`
    }
    case 'deleted': {
      if (tombstone === null) return 'deleted'
      const { deletedAt, by, reason } = tombstone
      const day = new Date(deletedAt).toISOString().slice(0, 10)
      return `deleted: on ${day} by ${by} (${reason}); it had ${counted(events, 'event')}${head === null ? '' : `, head ${shortHead(head)}`}`
    }
    case 'open':
      return `open: unaltered so far, ${what}${witnessText(witness, time)}`
    case 'unfinished': {
      const sofar = `unfinished: unaltered as far as it goes, ${what}${witnessText(witness, time)}`
      if (ended) return `${sofar}; the session ended, but its process died before it could close the recording`
      const last = lastAt === null ? '' : ` after event ${events} (${time(lastAt)})`
      const half = torn === 0 ? '' : `, in the middle of an event (${counted(torn, 'byte')})`
      return `${sofar}; it breaks off${last}${half}`
    }
    case 'altered': {
      const shown = problems.slice(0, maxShown).map(problem => problemText(problem, time))
      if (problems.length > maxShown) shown.push(`and ${problems.length - maxShown} more`)
      if (doubtful !== null) shown.push(`${range(doubtful.from, doubtful.to)} cannot be trusted`)
      return `altered: ${shown.join('; ')}`
    }
    default:
      return result satisfies never
  }
}

function unreadText(erasure: Erasure | null): string {
  if (erasure === null) return 'not read'
  const { erasedAt, by, reason } = erasure
  return `erased on ${new Date(erasedAt).toISOString().slice(0, 10)} by ${by}: ${reason}`
}

/** `, witnessed by broker 4Kx8… until 14:08:03 (last 2 s before the end not witnessed)` */
export function witnessText(witness: WitnessVerification | null, time: (at: number) => string): string {
  if (witness === null) return ''
  const { through, unproven, late, trusted, complete } = witness
  const broker = `broker ${witness.key.slice(0, 8)}${trusted ? '' : ' (whose key is not known here: --key FILE)'}`
  if (through === null) return `, not witnessed: ${broker} certified it, but countersigned nothing of it`
  const gaps = [
    ...(unproven === null
      ? []
      : [
          `${counted(unproven.events, 'event')} in the last ${seconds(unproven)} s before the end not witnessed, from ${time(unproven.from)} to ${time(unproven.until)}`,
        ]),
    ...late.map(stretch => `witnessed only afterwards from ${time(stretch.from)} to ${time(stretch.until)}`),
  ]
  const until = complete ? `to its end, ${time(through.at)}` : `until ${time(through.at)}`
  return `, witnessed by ${broker} ${until}${gaps.length === 0 ? '' : ` (${gaps.join('; ')})`}`
}

function seconds({ from, until }: { readonly from: number; readonly until: number }): number {
  return Math.ceil((until - from) / 1000)
}

/** `segment 2, event 118 (14:02:11) does not follow from event 117` */
export function problemText(problem: Problem, time: (at: number) => string): string {
  const { place, number, through, sequence, at, text } = problem
  const several = number !== null && through !== undefined && through > number
  const where = number === null ? `the ${place}` : several ? range(number, through) : `${place} ${number}`
  const event = sequence === null ? '' : `, event ${sequence}${at === null ? '' : ` (${time(at)})`}`
  return `${where}${event} ${text}`
}

function range(from: number, to: number): string {
  return from === to ? `segment ${from}` : `segments ${from}–${to}`
}

export function shortHead(head: string): string {
  return `${head.slice(0, 4)}…${head.slice(-2)}`
}

function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`
}
