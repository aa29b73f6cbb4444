import { z } from 'zod'
import { isSafeUrl } from '../config/loopback.ts'
import { detectorNames } from '../masking/detectors/scanner.ts'
import {
  addressText,
  certificateText,
  columnPattern,
  days,
  duration,
  globs,
  hours,
  oneOrMany,
  plainOrTemplate,
  resourceNameText,
  secretTemplate,
  size,
  timeZone,
} from './schema-text.ts'
import { maskUses, type MaskUse } from './action.ts'
import type { PolicyKind } from './kind.ts'
import type { PolicyKinds } from './policy.ts'
import { auditSchema } from './audit-settings.ts'
import { syncPlaceSchema } from './sync-place.ts'

// The shape of agentgate.yaml (DESIGN §4). Objects are strict: what people write and nobody reads is a mistake.

const certificateKey = z.strictObject({ certificate: plainOrTemplate, key: secretTemplate })

const staticCredential = z
  .strictObject({
    issuer: z.literal('static'),
    url: secretTemplate.optional().describe('A whole connection URL; user and password are taken from it.'),
    user: plainOrTemplate.optional(),
    password: secretTemplate.optional(),
    secret: secretTemplate.optional().describe('A key or token; for databases the same as password.'),
    certificate: certificateKey.optional().describe('A client certificate and its key, PEM.'),
  })
  .refine(value => value.url === undefined || (value.user ?? value.password ?? value.secret) === undefined, {
    error: 'url already says user and password; leave the others away',
  })
  .refine(value => value.password === undefined || value.secret === undefined, {
    error: 'password and secret are two words for one thing; give one',
  })
  .refine(value => (value.url ?? value.user ?? value.password ?? value.secret ?? value.certificate) !== undefined, {
    error: 'a static credential needs url, user, password, secret or certificate',
  })

const roleCredential = z.strictObject({
  issuer: z.literal('postgres-role'),
  admin: secretTemplate.describe('Connection URL of a role that may create roles.'),
  ttl: duration.optional().describe('How long a role lives that nobody renews; 15 minutes where not said.'),
  per: z
    .literal('principal')
    .optional()
    .describe('What runs, runs as a role that stays the same for a principal: for row-level security and statistics.'),
})

const noCredential = z.strictObject({ issuer: z.literal('none') })

export const credential = z.discriminatedUnion('issuer', [staticCredential, roleCredential, noCredential])

const tlsMode = z.enum(['verify-full', 'verify-ca', 'require', 'off'])
const tls = z.union([
  tlsMode,
  z.strictObject({ mode: tlsMode.optional(), name: z.string().min(1).optional(), ca: certificateText.optional() }),
])

const defaultEffect = z
  .enum(['allow', 'deny', 'read'])
  .describe('For what no rule matches. read: allow what only reads, deny what changes or is not known.')

export const generalResourceShape = {
  address: addressText
    .optional()
    .describe('host:port, [IPv6]:port or the absolute path of a unix socket. May be left to the credential’s URL.'),
  tls: tls.optional().describe('verify-full where not said, off for loopback.'),
  placement: z.enum(['local', 'gateway']).optional(),
  port: z.int().min(1).max(65_535).optional().describe('Local port of the tunnel; else one is chosen and remembered.'),
  default: z
    .union([defaultEffect, z.strictObject({ people: defaultEffect.optional(), agents: defaultEffect.optional() })])
    .optional(),
  credential: credential.optional(),
  agents: z.boolean().optional().describe('Solo, without access: whether your agents may use it, all scopes alike.'),
  limits: z
    .strictObject({ connections: z.int().min(1).max(10_000).optional(), ttl: duration.optional() })
    .optional()
    .describe('connections: open at once in a session. ttl: how long a session may last.'),
  retain: duration.optional().describe('How long recordings of it are kept, instead of recording.retain.'),
} as const

export const generalScopeShape = {
  agents: z.boolean().optional().describe('Solo, without access: whether your agents may use this scope.'),
  credential: credential.optional().describe('Instead of the resource’s.'),
} as const

export const generalScope = z.strictObject(generalScopeShape)

/** Conditions on who asks; masks know these only. */
const subjectShape = {
  user: globs.optional(),
  group: globs.optional(),
  actor: globs.optional().describe('An agent’s name; "*" is any agent. A person alone matches none.'),
  proven: z
    .boolean()
    .optional()
    .describe(
      'Whether the agent has shown a token of its own (act), or is only said to be it. A person alone matches neither.',
    ),
  confined: z.boolean().optional(),
  purpose: globs.optional().describe('present, missing, or a pattern.'),
  ticket: globs.optional().describe('present, missing, or a pattern.'),
} as const

/** Conditions that every kind of resource knows. */
export const generalWhenShape = {
  resource: globs.optional(),
  scope: globs.optional(),
  ...subjectShape,
  effect: oneOrMany(z.enum(['read', 'change', 'unknown']))
    .optional()
    .describe('What it would do to the target; unknown counts as change where a rule denies or asks.'),
  client: globs.optional().describe('The program at the other end of the socket.'),
  time: z
    .strictObject({ days: days.optional(), hours: hours.optional(), zone: timeZone.optional() })
    .refine(value => (value.days ?? value.hours) !== undefined, { error: 'time needs days or hours' })
    .optional(),
} as const

export const generalWhen = z.strictObject(generalWhenShape)
export const subjectWhen = z.strictObject(subjectShape)

const who = z
  .strictObject({
    user: globs.optional(),
    group: globs.optional(),
    actor: globs.optional().describe('Missing: a person acting alone. "*": any agent.'),
    proven: z
      .boolean()
      .optional()
      .describe('With actor: only one that has shown a token of its own (act), or only one that has not.'),
    claims: z.record(z.string().min(1), globs).optional(),
  })
  .refine(value => value.proven === undefined || value.actor !== undefined, { error: 'proven goes with actor' })
  .refine(value => (value.user ?? value.group ?? value.claims ?? value.actor) !== undefined, {
    error: 'who needs user, group, claims or actor',
  })

export const defaultApproval = { count: 1, notSelf: false, withinSeconds: 600 } as const
/** Of access on request: whoever could give it to themselves had better be given it, and nobody sits and waits. */
export const defaultRequestApproval = { count: 1, notSelf: true, withinSeconds: 86_400 } as const

const approvers = z.strictObject({
  group: oneOrMany(z.string().min(1)).optional(),
  count: z.int().min(1).max(10).optional(),
  'not-self': z.boolean().optional(),
  within: duration.optional(),
})

const accessEntry = z.strictObject({
  who: oneOrMany(who),
  resources: globs,
  scopes: globs,
  ttl: duration.optional().describe('How long a session, or what was given on request, may last; an hour.'),
  approvers: approvers
    .optional()
    .describe('Given only on request (agentgate request), once these have said yes; without group: administrators.'),
})

const results = z
  .strictObject({
    rows: z.int().min(0).optional(),
    bytes: size.optional(),
    keep: z.enum(['full', 'none']).optional().describe('Of record: what a recording keeps of each result.'),
  })
  .describe('Of limit: what one statement may give (rows, bytes). Of record: what a recording keeps of it (keep).')

const text = z.string().min(1, { error: 'text that is not empty' }).max(1000, { error: 'at most 1000 characters' })
const ruleName = z.string().min(1, { error: 'a name' }).max(120, { error: 'at most 120 characters' })

const constant = z.strictObject({ constant: z.string().max(200) })

/** With YAML's own null for the strategy of that name. */
const maskStrategy = z.union([z.enum(['redact', 'partial', 'hash', 'null']), z.null(), constant])

const mask = z
  .strictObject({
    name: ruleName,
    resource: globs.optional(),
    columns: oneOrMany(columnPattern).optional(),
    fields: oneOrMany(z.string().min(1).max(500)).optional().describe('JSON fields by path.'),
    detect: oneOrMany(z.enum(detectorNames)).optional(),
    with: maskStrategy,
    when: subjectWhen.optional(),
    unless: oneOrMany(subjectWhen).optional(),
    compare: z
      .union([z.literal('none').transform((): MaskUse[] => []), oneOrMany(z.enum(maskUses))])
      .optional()
      .describe(
        'What may be done with the columns though they are masked: equal, group, range, sort; equal and group where not said.',
      ),
    enforce: z.literal('grant').optional(),
  })
  .refine(value => (value.columns ?? value.fields ?? value.detect) !== undefined, {
    error: 'a mask needs columns, fields or detect',
  })
  .refine(value => value.detect === undefined || (value.columns ?? value.fields) === undefined, {
    error: 'a mask goes by columns and fields or by detect; write two masks',
  })
  .refine(value => value.enforce === undefined || value.columns !== undefined, {
    error: 'enforce: grant is about columns, and this mask names none',
    path: ['enforce'],
  })
  .refine(value => value.compare === undefined || value.columns !== undefined, {
    error: 'compare is about columns, and this mask names none',
    path: ['compare'],
  })

const recording = z
  .strictObject({
    bucket: z.string().min(1).optional(),
    retain: duration
      .optional()
      .describe('How long recordings are kept after a session’s end; for ever where not said.'),
    sync: syncPlaceSchema.optional(),
    local: z
      .strictObject({ 'keep-for': duration.optional(), 'keep-at-most': size.optional() })
      .optional()
      .describe('What stays here of recordings that were uploaded: for so long after their end, and so much of them.'),
    durability: z
      .enum(['local', 'bucket'])
      .optional()
      .describe('bucket: nothing is done before what is recorded of it is where sync says; for places without a disk.'),
    'encrypt-to': oneOrMany(z.string().regex(/^age1[a-z0-9]{20,4000}$/, { error: 'an age recipient: age1…' }))
      .optional()
      .describe('Who alone can read what was recorded: age recipients.'),
    spool: size.optional().describe('What recordings on this machine may come to; nothing is forwarded beyond it.'),
    fsync: z
      .enum(['none', 'segment', 'event'])
      .optional()
      .describe('When the disk is made to have it: never, each sealed part (where not said), or each event.'),
    results: z
      .strictObject({
        keep: size.optional().describe('Of one statement’s result; 64MB. A rule with then: record says otherwise.'),
        'per-session': size
          .optional()
          .describe('Of all results of a session; 1GB. Beyond it the first 64 KiB of each are kept.'),
        then: z.literal('digest').optional().describe('What is kept of the rest: count, bytes and digest.'),
      })
      .optional(),
  })
  .refine(({ sync, retain }) => sync?.['object-lock'] === undefined || retain !== undefined, {
    error: 'object-lock needs retain: until then each object is locked',
    path: ['sync', 'object-lock'],
  })
  .refine(({ sync, local, durability }) => sync !== undefined || (local === undefined && durability !== 'bucket'), {
    error: 'local and durability: bucket are about what sync copies elsewhere, and there is no sync',
  })

const places = oneOrMany(z.string().min(1, { error: 'a path' }).max(1000))

const exec = z
  .strictObject({
    read: places.optional().describe('Files and folders that a confined child sees too.'),
    write: places.optional().describe('What it may change besides its working folder, or protected in it.'),
    'pass-env': oneOrMany(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: 'the name of a variable' }))
      .optional()
      .describe('Variables of yours that it gets.'),
  })
  .describe('What exec opens to every child, as --read, --write and --pass-env do to one.')

const issuer = z.strictObject({
  issuer: z
    .url({ protocol: /^https?$/, error: 'an https:// URL' })
    .refine(isSafeUrl, { error: 'plain http:// is for loopback only: https:// elsewhere' }),
  audience: z.string().min(1),
  'client-id': z
    .string()
    .min(1)
    .optional()
    .describe('What agentgate login is registered as; the audience where not said.'),
  scopes: z
    .array(z.string().regex(/^[!#-[\]-~]+$/, { error: 'a scope, without spaces' }))
    .optional()
    .describe('Asked for at login; else those of openid, email, profile, groups, offline_access that are offered.'),
  claims: z
    .strictObject({ name: z.string().min(1).optional(), groups: z.string().min(1).optional() })
    .optional()
    .describe('Where the principal’s name and groups are; a path such as realm_access.roles will do.'),
  require: z
    .record(z.string().min(1), globs)
    .optional()
    .describe('Claims that must be so, or a token counts for nothing: { repository: acme/shop }.'),
})

/**
 * The file with every kind's words in it, as one schema: for a first check of the whole, and for the published JSON
 * Schema. What belongs to a kind is parsed again by that kind alone.
 */
export function policySchema(kinds: PolicyKinds) {
  const resources = [...kinds].map(([name, kind]) =>
    z.strictObject({
      kind: z.literal(name),
      ...generalResourceShape,
      ...kind.resourceSchema.shape,
      scopes: z.record(resourceNameText, scopeSchemaOf(kind)).optional(),
    }),
  )
  const when = z.strictObject({ ...whenShapeOf(kinds), ...generalWhenShape })
  const rule = z
    .strictObject({
      name: ruleName,
      when: oneOrMany(when).optional(),
      unless: oneOrMany(when).optional(),
      if: z.string().min(1).max(4096).optional().describe('A CEL expression over action, subject, resource and scope.'),
      then: z.enum(['allow', 'deny', 'approve', 'limit', 'record']),
      results: results.optional(),
      message: text.optional(),
      hint: text.optional(),
      approvers: approvers.optional(),
    })
    .refine(value => (value.when ?? value.if) !== undefined, { error: 'a rule needs when or if' })
    .refine(value => value.approvers === undefined || value.then === 'approve', {
      error: 'approvers belong to then: approve',
      path: ['approvers'],
    })
    .refine(value => (value.then === 'limit') === ((value.results?.rows ?? value.results?.bytes) !== undefined), {
      error: 'results: { rows: …, bytes: … } belongs to then: limit',
      path: ['results'],
    })
    .refine(value => (value.then === 'record') === (value.results?.keep !== undefined), {
      error: 'results: { keep: full } or { keep: none } belongs to then: record',
      path: ['results'],
    })
    .refine(value => !['allow', 'record'].includes(value.then) || (value.message ?? value.hint) === undefined, {
      error: 'nobody is shown the message of then: allow and then: record',
    })
  const [first, ...rest] = resources
  return z.strictObject({
    version: z.literal(1),
    issuers: z.array(issuer).optional(),
    resources: z
      .record(resourceNameText, first === undefined ? z.never() : z.discriminatedUnion('kind', [first, ...rest]))
      .optional(),
    access: z.array(accessEntry).optional(),
    rules: z.array(rule).optional(),
    masks: z.array(mask).optional(),
    recording: recording.optional(),
    audit: auditSchema.optional(),
    exec: exec.optional(),
    admins: z.strictObject({ policy: who.optional(), auditor: who.optional() }).optional(),
  })
}

/** A scope with nothing to say (`read:`) is null in YAML. */
function scopeSchemaOf(kind: PolicyKind): z.ZodType {
  const own = kind.scopeSchema
  return own instanceof z.ZodObject
    ? z.strictObject({ ...generalScopeShape, ...own.shape }).nullable()
    : z.looseObject(generalScopeShape).nullable()
}

/** Keys of `when` that some kind knows; where two kinds know the same word, either's values. */
function whenShapeOf(kinds: PolicyKinds): Record<string, z.ZodType> {
  const shape: Record<string, z.ZodType> = {}
  for (const kind of kinds.values())
    for (const [key, schema] of Object.entries(kind.whenSchema.shape)) {
      const before = shape[key]
      shape[key] = before === undefined ? (schema as z.ZodType) : z.union([before, schema as z.ZodType])
    }
  return shape
}

export type PolicyDocument = z.output<ReturnType<typeof policySchema>>
export type ParsedCredential = z.output<typeof credential>
export type ParsedWhen = z.output<typeof generalWhen>
export type ParsedSubjectWhen = z.output<typeof subjectWhen>
export type ParsedWho = z.output<typeof who>
export type ParsedApprovers = z.output<typeof approvers>
export type ParsedTls = z.output<typeof tls>
