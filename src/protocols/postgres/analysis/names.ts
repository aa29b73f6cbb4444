/** The parts of a name as the server reads it from text (`'public."Order"'::regclass`): unquoted parts in lower case. */
export function parseQualifiedName(text: string): string[] {
  const parts: string[] = []
  const pattern = /\s*(?:"((?:[^"]|"")*)"|([^\s".]+))\s*(\.|$)/gy
  for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
    parts.push(truncateName(match[1]?.replaceAll('""', '"') ?? asciiLower(match[2] ?? '')))
    if (match[3] === '') return parts
  }
  return []
}

/** Names end after 63 bytes, at a whole character (NAMEDATALEN, src/include/pg_config_manual.h). */
export function truncateName(name: string): string {
  if (name.length <= 15 || Buffer.byteLength(name) <= 63) return name
  const bytes = Buffer.from(name)
  let end = 63
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end)
}

/** The server folds ASCII alone where its encoding has characters of several bytes. */
function asciiLower(text: string): string {
  return text.replaceAll(/[A-Z]/g, letter => letter.toLowerCase())
}
