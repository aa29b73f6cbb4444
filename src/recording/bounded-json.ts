/** More values than anything agentgate writes: parsed, a hostile text of brackets takes fifty times its own size. */
export const maxParts = 1_000_000

/** Parses JSON of whatever origin in memory that is in proportion to it; undefined where it is none. */
export function parseJson(bytes: Buffer): unknown {
  if (!withinParts(bytes)) return undefined
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}

/** Whether JSON has no more values than are parsed. */
export function withinParts(bytes: Buffer): boolean {
  return bytes.length <= maxParts || countParts(bytes) <= maxParts
}

/** Brackets, commas and colons outside strings. */
function countParts(bytes: Buffer): number {
  let parts = 0
  let inString = false
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index]
    if (inString) {
      if (byte === 0x5c) index += 1
      else if (byte === 0x22) inString = false
    } else if (byte === 0x22) inString = true
    else if (byte === 0x5b || byte === 0x7b || byte === 0x2c || byte === 0x3a) parts += 1
  }
  return parts
}
