import os from 'node:os'
import { shorten } from '../shorten.ts'
import type { Queued } from '../outbox-reader.ts'

/** RFC 5424 §6.2.1: 13 is "log audit". */
const facility = 13
/** OCSF's severity_id to RFC 5424's severity. */
const severities: Readonly<Record<number, number>> = { 1: 6, 2: 5, 3: 4, 4: 3, 5: 2, 6: 1 }

/** One event as RFC 5424 message in RFC 5425 framing: its length in octets, a space, and it. */
export function syslogFrame(queued: Queued, maxBytes: number): Buffer {
  const severity = severities[Number(queued.event['severity_id'])] ?? 5
  const head = `<${facility * 8 + severity}>1 ${new Date(queued.at).toISOString()} ${word(os.hostname(), 255)} agentgate ${process.pid} ${word(queued.kind, 32)} - `
  const body = ascii(JSON.stringify(shortened(queued, maxBytes - head.length)))
  const message = `${head}${body}`
  return Buffer.from(`${message.length} ${message}`, 'latin1')
}

/** The escapes that make JSON plain ASCII are longer than what they stand for. */
function shortened({ event }: Queued, maxBytes: number): Queued['event'] {
  for (let limit = maxBytes; ; limit = Math.floor(limit / 2)) {
    const short = shorten(event, limit)
    if (ascii(JSON.stringify(short)).length <= maxBytes || limit < 512) return short
  }
}

/** JSON says the same in ASCII, and then needs no byte order mark (RFC 5424 §6.4), at which many a JSON parser stops. */
function ascii(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** PRINTUSASCII, or the NILVALUE. */
function word(text: string, most: number): string {
  const kept = text.replace(/[^!-~]/g, '').slice(0, most)
  return kept === '' ? '-' : kept
}
