/**
 * RFC 8785 (JSON Canonicalization Scheme) for what manifests and headers hold: strings, safe integers, booleans, null,
 * arrays, objects. Members that are undefined are left out.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      // RFC 8785 §3.2.3: by UTF-16 code units, which is how JavaScript compares strings.
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`)
    return `{${members.join(',')}}`
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new TypeError('not a safe integer')
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value === null)
    return JSON.stringify(value)
  throw new TypeError(`no canonical JSON for a ${typeof value}`)
}
