/** Keys whose values are secrets or lead to them: tokens that CI leaves for fetching, credential helpers, askpass. */
const secretKey =
  /^\s*(extraheader|helper|askpass|proxy|sslkey|sslcertpasswordprotected|cookiefile|token|password|oauth\w*)\s*=/i
const secretSection = /^\s*\[\s*credential\b/i
const anySection = /^\s*\[/

/**
 * A git configuration without what opens anything (git-config(1)): for a child that may commit but has no one to push to.
 * User names and passwords in URLs go, the URLs stay.
 */
export function withoutSecrets(text: string): string {
  const kept: string[] = []
  let dropping = false
  let continued = false
  for (const line of text.split('\n')) {
    if (continued) {
      // The rest of a dropped value.
      continued = line.endsWith('\\')
      continue
    }
    if (anySection.test(line)) dropping = secretSection.test(line)
    // A key may stand behind its section on one line.
    const key = line.replace(/^\s*\[[^\]]*\]/, '')
    if (dropping || secretKey.test(key)) {
      continued = line.endsWith('\\')
      continue
    }
    kept.push(line.replace(/(:\/\/)[^/@\s"]+@/g, '$1'))
  }
  return kept.join('\n')
}
