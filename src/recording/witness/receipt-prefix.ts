/** Where a broker puts receipts, beside the folders of sessions: no session's id begins so. */
export const receiptPrefix = 'witness/'

/** `witness/2026-11-21/1807-41aa….jsonl`: by minute (UTC) and content, so that the same again is nothing new. */
export function receiptObject(at: number, sha256: string): string {
  const [day = '', time = ''] = new Date(at).toISOString().split('T')
  return `${receiptPrefix}${day}/${time.slice(0, 2)}${time.slice(3, 5)}-${sha256.slice(0, 32)}.jsonl`
}

/** The minute that such an object is of, in milliseconds since 1970; undefined: it is none. */
export function minuteOf(key: string): number | undefined {
  const match = /^witness\/(\d{4}-\d\d-\d\d)\/(\d\d)(\d\d)-[0-9a-f]{32}\.jsonl$/.exec(key)
  const at = match === null ? NaN : Date.parse(`${match[1] ?? ''}T${match[2] ?? ''}:${match[3] ?? ''}:00Z`)
  return Number.isNaN(at) ? undefined : at
}
