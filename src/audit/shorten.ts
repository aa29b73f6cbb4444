import { boundedText } from './bounded-text.ts'
import type { Json } from './ocsf-parts.ts'

/** A text is not cut below this: what is left would say nothing. */
const leastBytes = 64

/**
 * An event of at most so many bytes as JSON, by cutting its longest texts; `unmapped.shortened` then says so. Where it
 * has no text left to cut it stays larger.
 */
export function shorten(event: { readonly [key: string]: Json }, maxBytes: number): { readonly [key: string]: Json } {
  if (Buffer.byteLength(JSON.stringify(event)) <= maxBytes) return event
  const marked = { ...event, unmapped: { ...(event['unmapped'] as Record<string, Json> | undefined), shortened: true } }
  for (let limit = maxBytes; limit >= leastBytes; limit = Math.floor(limit / 2)) {
    const cut = cutTexts(marked, limit) as { readonly [key: string]: Json }
    if (Buffer.byteLength(JSON.stringify(cut)) <= maxBytes) return cut
  }
  return cutTexts(marked, leastBytes) as { readonly [key: string]: Json }
}

function cutTexts(value: Json, maxBytes: number): Json {
  if (typeof value === 'string') return boundedText(value, maxBytes).text
  if (Array.isArray(value)) return (value as readonly Json[]).map(each => cutTexts(each, maxBytes))
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, cutTexts(each, maxBytes)]))
  return value
}
