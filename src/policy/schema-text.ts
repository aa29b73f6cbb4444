import net from 'node:net'
import { z } from 'zod'
import { isLoopbackHost } from '../config/loopback.ts'
import { parseSecretTemplate, referencesOf, type SecretTemplate } from '../config/secret-reference.ts'
import { glob, type Glob } from './glob.ts'

// Small texts of the policy file, each read into what it means. The `error` of each says what was expected, as the end
// of "…; expected".

const secondsPer = { s: 1, m: 60, h: 3600, d: 86_400 } as const
const bytesPer = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const

/** `30s`, `15m`, `1h`, `400d`, in seconds. */
export const duration = z
  .string({ error: 'a duration such as 30s, 15m, 1h or 7d' })
  .regex(/^[1-9][0-9]{0,5}[smhd]$/, { error: 'a duration such as 30s, 15m, 1h or 7d' })
  .transform(text => {
    const unit = text.slice(-1) as keyof typeof secondsPer
    return Number(text.slice(0, -1)) * secondsPer[unit]
  })

/** `64MB`, in bytes. */
export const size = z
  .string({ error: 'a size such as 64MB or 512KiB' })
  .regex(/^(?:0|[1-9][0-9]{0,5})(?:B|[KMG]i?B)$/, { error: 'a size such as 64MB or 512KiB' })
  .transform(text => {
    const unit = text.replace(/^[0-9]+/, '') as keyof typeof bytesPer
    return Number.parseInt(text, 10) * bytesPer[unit]
  })

export const resourceNameText = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, { error: 'a name of letters, digits, ".", "_" and "-", at most 63' })

/** One or several of something, as a list. */
export function oneOrMany<Item extends z.ZodType>(item: Item) {
  return z
    .union([item, z.array(item).min(1, { error: 'at least one; an empty list matches nothing' })])
    .transform(value => (Array.isArray(value) ? value : [value]) as z.output<Item>[])
}

const namePattern = z
  .string()
  .min(1, { error: 'a name, or a pattern with *' })
  .max(200, { error: 'at most 200 characters' })
  .transform((text): Glob => glob(text))

/** Names of users, groups, agents and the like, with `*`. */
export const globs = oneOrMany(namePattern)

/** Text that is somewhere else: at least one `${…}` in it. */
export const secretTemplate = z
  .string({ error: 'a reference such as ${env:DATABASE_URL}' })
  .max(4096, { error: 'at most 4096 characters' })
  .regex(/\$\{/, { error: 'a reference such as ${env:NAME} or ${file:PATH}; a secret is never in this file' })
  .transform((text, context): SecretTemplate => {
    const result = parseSecretTemplate(text)
    if (result.kind === 'ok') return result.template
    context.addIssue({ code: 'custom', message: result.message, input: text })
    return z.NEVER
  })

/** Text that may be here or somewhere else. */
export const plainOrTemplate = z
  .string()
  .min(1, { error: 'text that is not empty' })
  .max(4096, { error: 'at most 4096 characters' })
  .transform((text, context): SecretTemplate => {
    const result = parseSecretTemplate(text)
    if (result.kind === 'ok') return result.template
    context.addIssue({ code: 'custom', message: result.message, input: text })
    return z.NEVER
  })

/** A certificate authority's certificate: PEM itself, or where it is. */
export const certificateText = z
  .string()
  .max(1 << 20, { error: 'at most 1 MiB' })
  .regex(/\$\{|-----BEGIN CERTIFICATE-----/, { error: 'a PEM certificate, or a reference such as ${file:./ca.pem}' })
  .transform((text, context): SecretTemplate => {
    const result = parseSecretTemplate(text)
    if (result.kind === 'ok') return result.template
    context.addIssue({ code: 'custom', message: result.message, input: text })
    return z.NEVER
  })

export function isPlain(template: SecretTemplate): boolean {
  return referencesOf(template).length === 0
}

export type Address =
  | { readonly kind: 'host'; readonly host: string; readonly port: number | null }
  | { readonly kind: 'unix'; readonly path: string }

/** `host`, `host:port`, `[v6]:port` or an absolute path; or what is wrong with it. */
export function parseAddress(text: string): Address | string {
  if (text.startsWith('/')) return text.includes('\0') ? 'a path' : { kind: 'unix', path: text }
  if (text.includes('://')) return 'host:port, without a scheme'
  if (text.includes('${')) return 'host:port; ${…} is read in credentials only'
  if (net.isIPv6(text)) return `brackets around an IPv6 address: [${text}]:port`
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([0-9]*))?$/.exec(text)
  if (match === null) return 'host:port, [IPv6]:port or the absolute path of a socket'
  const [, v6, name, portText] = match
  let port: number | null = null
  if (portText !== undefined) {
    port = Number(portText)
    if (portText === '' || portText.length > 5 || port < 1 || port > 65_535) return 'a port from 1 to 65535'
  }
  if (v6 !== undefined)
    return net.isIPv6(v6) && !v6.includes('%') ? { kind: 'host', host: v6, port } : 'an IPv6 address in the brackets'
  const host = name ?? ''
  if (!/^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\.?$/i.test(host))
    return 'a host name or IP address, then :port'
  return { kind: 'host', host, port }
}

/** As `ServedResource.address` has it. */
export function formatAddress(address: Address, defaultPort: number | undefined): string {
  if (address.kind === 'unix') return address.path
  const host = address.host.includes(':') ? `[${address.host}]` : address.host
  const port = address.port ?? defaultPort
  return port === undefined ? host : `${host}:${port}`
}

/** On this machine by its own name, whatever a resolver says: only then is leaving TLS off safe without being asked. */
export function isLoopback(address: Address): boolean {
  return address.kind === 'unix' || isLoopbackHost(address.host)
}

export const addressText = z
  .string({ error: 'host:port, [IPv6]:port or the absolute path of a socket' })
  .min(1, { error: 'host:port, [IPv6]:port or the absolute path of a socket' })
  .transform((text, context): Address => {
    const address = parseAddress(text)
    if (typeof address !== 'string') return address
    context.addIssue({ code: 'custom', message: address, input: text, params: { expected: true } })
    return z.NEVER
  })

const weekdays = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
const dayText = z.union([
  z.enum(weekdays),
  z.string().regex(/^(?:mon|tue|wed|thu|fri|sat|sun)-(?:mon|tue|wed|thu|fri|sat|sun)$/, {
    error: 'days such as mon, or a range such as mon-fri',
  }),
])

/** Days as numbers, Monday 0. */
export const days = oneOrMany(dayText).transform(texts => {
  const set = new Set<number>()
  for (const text of texts) {
    const [from = '', to = from] = text.split('-')
    const last = weekdays.indexOf(to as (typeof weekdays)[number])
    for (let day = weekdays.indexOf(from as (typeof weekdays)[number]); ; day = (day + 1) % 7) {
      set.add(day)
      if (day === last) break
    }
  }
  return set
})

/** `09:00-18:00`, in minutes of a day; the end is not in it, and may be before the start (over midnight). */
export const hours = oneOrMany(
  z
    .string()
    .regex(/^(?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)$/, {
      error: 'hours such as 09:00-18:00',
    })
    .transform(text => {
      const minutes = (clock: string) => Number(clock.slice(0, 2)) * 60 + Number(clock.slice(3, 5))
      return { from: minutes(text.slice(0, 5)), to: minutes(text.slice(6)) } as const
    }),
)

export const timeZone = z.string().refine(
  text => {
    try {
      new Intl.DateTimeFormat('en', { timeZone: text })
      return true
    } catch {
      return false
    }
  },
  { error: 'a time zone such as Europe/Berlin or UTC', params: { expected: true } },
)

/** `table.column` or `schema.table.column`, `*` within a part. */
export const columnPattern = z
  .string()
  .regex(/^[^.\s]+(?:\.[^.\s]+){1,2}$/, { error: 'table.column or schema.table.column; for any table: *.column' })
