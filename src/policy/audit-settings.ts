import { z } from 'zod'
import { certificateText, oneOrMany, plainOrTemplate, secretTemplate, size } from './schema-text.ts'

// Where audit events go (docs/siem.md).

const defaultOutboxBytes = 256e6

const sinkName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9_-]{0,31}$/, { error: 'a short name in lower case, such as splunk' })
  .describe('What status, doctor and warnings call it.')
const absolute = z.string().regex(/^\/[^\0]*[^/\0]$/, { error: 'the absolute path of a file' })
const hostAndPort = z
  .string()
  .regex(/^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/, { error: 'host:port, such as siem.acme.internal:6514' })
const ca = certificateText.describe('Whom to trust instead of the well-known authorities: PEM, or a reference to it.')

const fileSink = z.strictObject({
  name: sinkName,
  file: absolute.describe('JSON lines are appended, 0600; whoever renames it gets a new one with the next events.'),
})

const syslogSink = z.strictObject({
  name: sinkName,
  syslog: hostAndPort.describe('A receiver of RFC 5425: syslog over TLS.'),
  ca: ca.optional(),
  certificate: z
    .strictObject({ certificate: plainOrTemplate, key: secretTemplate })
    .optional()
    .describe('Ours, PEM, where the receiver asks for one.'),
  'max-message': size
    .optional()
    .describe('Longer messages have their texts shortened, and say so; 8KB where not said.'),
})

export const webhookFormats = ['json', 'json-lines', 'splunk-hec', 'datadog', 'elastic-bulk'] as const

const webhookSink = z
  .strictObject({
    name: sinkName,
    webhook: z
      .string()
      .regex(/^(?:https:\/\/[^\s@]+|http:\/\/(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?(?:\/[^\s@]*)?)$/, {
        error: 'an https:// URL, or http:// on this machine',
      })
      .describe('Where batches are posted.'),
    format: z.enum(webhookFormats).optional().describe('What the body looks like; json, an array, where not said.'),
    template: z
      .strictObject({
        event: z.string().min(1).max(4096),
        start: z.string().max(100).optional(),
        between: z.string().max(100).optional(),
        end: z.string().max(100).optional(),
        type: z.string().max(100).optional(),
      })
      .optional()
      .describe(
        'A body of your own: {{event}}, {{uid}}, {{time}}, {{time-ms}}, {{iso}}, {{message}}, {{host}}, {{kind}}.',
      ),
    index: z
      .string()
      .regex(/^[a-z0-9][a-z0-9._-]{0,200}$/, { error: 'the name of an index or data stream' })
      .optional()
      .describe('For elastic-bulk; agentgate-audit where not said.'),
    headers: z
      .record(
        z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, { error: 'the name of a header' }),
        plainOrTemplate,
      )
      .optional()
      .describe('Such as Authorization: "Splunk ${env:HEC_TOKEN}".'),
    sign: secretTemplate.optional().describe('A key: each request is then signed with HMAC-SHA256.'),
    ca: ca.optional(),
    batch: z
      .strictObject({ events: z.int().min(1).max(10_000).optional(), size: size.optional() })
      .optional()
      .describe('At most so much in a request; 500 events, 1MB where not said.'),
  })
  .refine(value => value.format === undefined || value.template === undefined, {
    error: 'format is a template of ours; give one of the two',
  })
  .refine(value => value.index === undefined || value.format === 'elastic-bulk', {
    error: 'index belongs to format: elastic-bulk',
    path: ['index'],
  })

export const auditSchema = z
  .strictObject({
    to: oneOrMany(z.union([fileSink, syslogSink, webhookSink])).describe('Each gets every event.'),
    outbox: size.optional().describe('How much may wait on disk for all of them; 256MB where not said.'),
    decisions: z
      .enum(['all', 'refused'])
      .optional()
      .describe(
        'all: also what was simply allowed. refused: what was denied, asked about or rejected. all where not said.',
      ),
    text: z
      .enum(['whole', 'summary'])
      .optional()
      .describe('Of commands, as recorded: masked. summary where recordings are encrypted, else whole.'),
  })
  .refine(({ to }) => new Set(to.map(({ name }) => name)).size === to.length, {
    error: 'two places of the same name',
    path: ['to'],
  })

export type AuditSettings = z.output<typeof auditSchema>
export type SinkSettings = AuditSettings['to'][number]
export type FileSinkSettings = Extract<SinkSettings, { file: string }>
export type SyslogSinkSettings = Extract<SinkSettings, { syslog: string }>
export type WebhookSinkSettings = Extract<SinkSettings, { webhook: string }>

/** Of no policy: whoever a broker granted a session tells the broker, which knows the places and their secrets. */
export interface BrokerSinkSettings {
  readonly name: string
  readonly broker: string
  /** Whom to trust for its certificate, as PEM. */
  readonly ca?: string | undefined
}

/** Defaults filled in. */
export interface AuditPlan {
  readonly sinks: readonly (SinkSettings | BrokerSinkSettings)[]
  readonly outboxBytes: number
  readonly decisions: 'all' | 'refused'
  readonly text: 'whole' | 'summary'
}

/** The same, told to a broker. */
export function planForBroker(plan: AuditPlan, broker: BrokerSinkSettings): AuditPlan {
  return { ...plan, sinks: [broker] }
}

/** Where what the broker's policy says is not known, and not needed: of commands, which decide on nothing. */
export function brokerPlan(broker: BrokerSinkSettings): AuditPlan {
  return { sinks: [broker], outboxBytes: defaultOutboxBytes, decisions: 'all', text: 'summary' }
}

export function auditPlan(settings: AuditSettings | undefined, encrypted: boolean): AuditPlan | null {
  if (settings === undefined) return null
  return {
    sinks: settings.to,
    outboxBytes: settings.outbox ?? defaultOutboxBytes,
    decisions: settings.decisions ?? 'all',
    text: settings.text ?? (encrypted ? 'summary' : 'whole'),
  }
}
