import type { SessionStatus, TunnelStatus } from '../../control/schema.ts'
import { showDuration, showUntil } from '../duration.ts'
import type { Paint } from '../paint.ts'
import { escapeLine } from './escape.ts'
import { padEnd, truncate } from './line.ts'

/** How a client comes by its password here: by a key of this screen, by files that were written, or not from here. */
export type Access = 'key' | 'files' | 'elsewhere'

/** What is open, as whom, until when, recorded where, and how to use it. */
export function sessionHeader(status: SessionStatus, width: number, paint: Paint, now: Date, access: Access): string[] {
  const column = Math.max(8, ...status.tunnels.map(tunnel => tunnel.resource.length)) + 2
  const row = (label: string, text: string) =>
    `${padEnd(label, column - 2)}  ${truncate(escapeLine(text), width - column)}`
  const lines: string[] = []
  for (const [index, tunnel] of status.tunnels.entries()) {
    const name = escapeLine(tunnel.resource)
    lines.push(
      paint.bold(row(name, tunnel.resource === '' ? '' : describe(tunnel, status))),
      row(
        'open',
        [tunnel.address, ...(index === 0 ? [until(status, now), `recording ${status.session}`] : [])].join('    '),
      ),
      row('', usage(tunnel, access)),
      row('rules', `${rulesInWords(tunnel)}         agentgate policy explain ${tunnel.resource}`),
    )
    if (status.tunnels.length > 1 && index < status.tunnels.length - 1) lines.push('')
  }
  return lines
}

/** `until 16:04 (59 min)` */
export function until(status: Pick<SessionStatus, 'expiresAt'>, now: Date): string {
  const end = new Date(status.expiresAt)
  const left = end.getTime() - now.getTime()
  return left <= 0 ? `ended ${showUntil(end, now)}` : `until ${showUntil(end, now)} (${showDuration(left)})`
}

export function asWhom(status: Pick<SessionStatus, 'principal' | 'actor'>): string {
  return status.actor === null ? status.principal : `${status.actor} for ${status.principal}`
}

function describe(tunnel: TunnelStatus, status: SessionStatus): string {
  return [tunnel.kind, tunnel.label, `scope ${tunnel.scope}`, `as ${asWhom(status)}`].filter(Boolean).join(' · ')
}

function usage(tunnel: TunnelStatus, access: Access): string {
  switch (access) {
    case 'key':
      return `${tunnel.shown}       c copies it with its password`
    case 'files':
      return tunnel.use
    case 'elsewhere':
      return `${tunnel.shown}       with its password: --write-files, --json, or run the client: -- CMD`
    default:
      return access satisfies never
  }
}

/** `3 deny, 1 asks for approval, 2 masks` */
export function rulesInWords({ rules }: Pick<TunnelStatus, 'rules'>): string {
  const counted = (count: number, one: string, many: string) =>
    count === 0 ? [] : [`${count} ${count === 1 ? one : many}`]
  const words = [
    ...counted(rules.deny, 'denies', 'deny'),
    ...counted(rules.approve, 'asks for approval', 'ask for approval'),
    ...counted(rules.masks, 'mask', 'masks'),
  ]
  return words.length === 0 ? 'none' : words.join(', ')
}
