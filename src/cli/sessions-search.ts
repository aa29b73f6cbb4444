import type { FoundStatement } from '../control/witness-schema.ts'
import { administeringClient, brokerClient, brokerHere } from './broker-client.ts'
import type { Io } from './command.ts'
import { showTime } from './duration.ts'
import { write } from './output.ts'
import { escapeLine, flatten } from './ui/escape.ts'
import { truncate } from './ui/line.ts'

export interface SearchFlags {
  readonly resource?: string
  readonly who?: string
  readonly since?: Date
  readonly until?: Date
  readonly denied?: boolean
  readonly limit: number
}

/** In the broker's index: everybody's for who may audit, else one's own. */
export async function searchStatements(
  text: string | undefined,
  flags: SearchFlags,
  json: boolean,
  io: Io,
): Promise<void> {
  const at = brokerHere(io)
  const client = at === undefined ? await administeringClient(io) : await brokerClient(at, io)
  const found = await client.searchStatements({
    text: text ?? null,
    resource: flags.resource ?? null,
    who: flags.who ?? null,
    since: flags.since?.toISOString() ?? null,
    until: flags.until?.toISOString() ?? null,
    denied: flags.denied === true,
    limit: flags.limit,
  })
  for (const statement of found)
    await write(io.stdout, json ? `${JSON.stringify({ event: 'statement', ...statement })}\n` : line(statement, io))
  if (found.length === flags.limit) io.stderr.write(`only the newest ${flags.limit}: --limit, --since\n`)
}

function line({ session, at, principal, actor, resource, decision, text }: FoundStatement, io: Io): string {
  const who = actor === null ? principal : `${principal} + ${actor}`
  if (!io.stdout.isTTY) return `${[session, at, who, resource, decision, text].map(escapeLine).join('\t')}\n`
  const time = `${at.slice(0, 10)} ${showTime(new Date(at))}`
  const start = [session, time, who, resource, decision].map(escapeLine).join('  ')
  return `${start}  ${truncate(flatten(text), Math.max(20, io.stdout.columns - start.length - 2))}\n`
}
