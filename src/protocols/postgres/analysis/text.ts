/** Parse trees count bytes of UTF-8. `length` 0 is to the end. */
export function byteSlice(text: string, start: number, length: number): string {
  if (Buffer.byteLength(text) === text.length)
    return length === 0 ? text.slice(start) : text.slice(start, start + length)
  const bytes = Buffer.from(text)
  return bytes.toString('utf8', start, length === 0 ? undefined : start + length)
}
