import net from 'node:net'
import { z } from 'zod'

/** `registry.npmjs.org`, `*.pythonhosted.org`, `10.1.2.3:8081`, `[fd00::1]:443`: what a resource of kind egress may reach. */
export interface HostPattern {
  readonly written: string
  /** A name in lower case without a dot at its end, or an address as it is printed; behind `*.` for whatever lies below it. */
  readonly host: string
  readonly below: boolean
  /** null: 443 for TLS, 80 for plain HTTP. */
  readonly port: number | null
}

const shape = 'a host such as registry.npmjs.org, *.npmjs.org, 10.1.2.3:8081 or [fd00::1]:443'

/** A pattern, or what is wrong with it. */
export function parseHostPattern(text: string): HostPattern | string {
  const match = /^(\*\.)?(\[[^\]]+\]|[^:/?#@\s*]+)(?::(\d{1,5}))?$/.exec(text)
  if (match === null) return shape
  const [, star, written = '', portText] = match
  const host = canonicalHost(written)
  if (host === undefined) return shape
  const below = star !== undefined
  // One label would be a whole top-level domain.
  if (below && (net.isIP(host) !== 0 || !host.includes('.'))) return '*. before a domain of at least two labels'
  const port = portText === undefined ? null : Number(portText)
  if (port !== null && (port < 1 || port > 65_535)) return 'a port from 1 to 65535'
  return { written: text, host, below, port }
}

/**
 * How a host is compared: lower case, punycode, no dot at its end, an IPv4 address in whichever notation as four numbers
 * (WHATWG URL §3.5), IPv6 without brackets. undefined for what is no host.
 */
export function canonicalHost(text: string): string | undefined {
  let host: string
  try {
    const url = new URL(`http://${text}/`)
    if (url.username !== '' || url.password !== '' || url.port !== '' || url.pathname !== '/') return undefined
    host = url.hostname
  } catch {
    return undefined
  }
  if (host.startsWith('[')) return host.slice(1, -1)
  const bare = host.replace(/\.$/, '')
  if (net.isIPv4(bare)) return bare
  // Letters, digits, hyphens and, as registries have them, underscores (RFC 1123 §2.1).
  return /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/.test(bare)
    ? bare
    : undefined
}

/** The pattern that lets a client go there. `usualPort` is that of the scheme it speaks. */
export function patternFor(
  patterns: readonly HostPattern[],
  host: string,
  port: number,
  usualPort: number,
): HostPattern | undefined {
  return patterns.find(
    pattern =>
      port === (pattern.port ?? usualPort) &&
      (pattern.below ? host.endsWith(`.${pattern.host}`) : host === pattern.host),
  )
}

export const hostPattern = z.string().transform((text, context): HostPattern => {
  const parsed = parseHostPattern(text)
  if (typeof parsed !== 'string') return parsed
  context.addIssue({ code: 'custom', message: parsed, input: text })
  return z.NEVER
})
