import os from 'node:os'
import type { webhookFormats } from '../../policy/audit-settings.ts'
import type { Queued } from '../outbox-reader.ts'

/** How events become a body. What stands in `{{…}}` is replaced by JSON, so that no event can break out of it. */
export interface Template {
  readonly event: string
  readonly start: string
  readonly between: string
  readonly end: string
  readonly type: string
}

export function templateOf(format: (typeof webhookFormats)[number], index: string): Template {
  switch (format) {
    case 'json':
      return { event: '{{event}}', start: '[', between: ',', end: ']', type: 'application/json' }
    case 'json-lines':
      return { event: '{{event}}', start: '', between: '\n', end: '\n', type: 'application/x-ndjson' }
    case 'splunk-hec':
      // Splunk's "Format events for HTTP Event Collector": events one after the other, time in seconds.
      return {
        event: '{"time":{{time}},"host":{{host}},"source":"agentgate","sourcetype":"ocsf:json","event":{{event}}}',
        start: '',
        between: '\n',
        end: '',
        type: 'application/json',
      }
    case 'datadog':
      // Datadog's "Send logs" (v2): an array; ddsource, service and hostname are its own words.
      return {
        event:
          '{"ddsource":"agentgate","service":"agentgate","hostname":{{host}},"timestamp":{{time-ms}},"message":{{message}},"ocsf":{{event}}}',
        start: '[',
        between: ',',
        end: ']',
        type: 'application/json',
      }
    case 'elastic-bulk':
      // Elasticsearch's bulk API: create with an id of ours, so that a second try makes no second document.
      return {
        event: `{"create":{"_index":${JSON.stringify(index)},"_id":{{uid}}}}\n{"@timestamp":{{iso}},"message":{{message}},"ocsf":{{event}}}`,
        start: '',
        between: '\n',
        end: '\n',
        type: 'application/x-ndjson',
      }
    default:
      return format satisfies never
  }
}

export function bodyOf(events: readonly Queued[], template: Template): Buffer {
  const pieces = events.map(queued => filled(template.event, queued))
  return Buffer.from(`${template.start}${pieces.join(template.between)}${template.end}`)
}

function filled(template: string, { uid, at, kind, event }: Queued): string {
  return template.replace(/\{\{([a-z-]+)\}\}/g, (whole, name: string) => {
    switch (name) {
      case 'event':
        return JSON.stringify(event)
      case 'uid':
        return JSON.stringify(uid)
      case 'kind':
        return JSON.stringify(kind)
      case 'time':
        return (at / 1000).toFixed(3)
      case 'time-ms':
        return String(at)
      case 'iso':
        return JSON.stringify(new Date(at).toISOString())
      case 'message':
        return JSON.stringify(event['message'] ?? '')
      case 'host':
        return JSON.stringify(os.hostname())
      default:
        return whole
    }
  })
}
