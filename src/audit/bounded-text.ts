import { createHash } from 'node:crypto'

/** Bytes of a text in an event; receivers cut what is longer, in silence. */
const maxTextBytes = 16 << 10

/** What is left out is said, with a digest by which the recording's text is found again. */
export function boundedText(
  text: string,
  maxBytes = maxTextBytes,
): { readonly text: string; readonly more: Readonly<Record<string, string | number>> } {
  const bytes = Buffer.byteLength(text)
  if (bytes <= maxBytes) return { text, more: {} }
  // Only whole characters: what a cut in the middle of one leaves is a replacement character at the end.
  const kept = Buffer.from(text)
    .subarray(0, maxBytes)
    .toString('utf8')
    .replace(/\ufffd$/, '')
  return {
    text: `${kept}…`,
    more: { text_bytes: bytes, text_sha256: createHash('sha256').update(text).digest('hex') },
  }
}
