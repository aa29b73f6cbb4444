import type { Environment } from '../../config/paths.ts'
import { resolveSecret, type SecretTemplate } from '../../config/secret-reference.ts'
import type { BrokerSinkSettings, SinkSettings } from '../../policy/audit-settings.ts'
import type { Secret } from '../../secret.ts'
import type { Sink } from './sink.ts'

const defaultEvents = 500
const defaultBytes = 1e6
const defaultMessageBytes = 8000

/** A sink with what its settings refer to. @throws AgentgateError SECRET_UNRESOLVED */
export async function openSink(
  settings: SinkSettings | BrokerSinkSettings,
  env: Environment,
  folder: string,
): Promise<Sink> {
  const resolve = async (template: SecretTemplate): Promise<Secret> =>
    await resolveSecret(template, { env, folder, subject: `audit: ${settings.name}` })
  const optional = async (template: SecretTemplate | undefined): Promise<string | undefined> =>
    template === undefined ? undefined : (await resolve(template)).reveal()
  if ('broker' in settings) {
    const [{ brokerSink }, { showingClient }] = await Promise.all([
      import('./broker.ts'),
      import('../../identity/showing-client.ts'),
    ])
    const at = { address: settings.broker, ca: settings.ca }
    return brokerSink(settings.broker, async (events, signal) => {
      await (await showingClient(at, env)).sendAudit(events, signal)
    })
  }
  if ('file' in settings) {
    const { fileSink } = await import('./file.ts')
    return fileSink(settings)
  }
  if ('syslog' in settings) {
    const { syslogSink } = await import('./syslog.ts')
    const { syslog, certificate } = settings
    const colon = syslog.lastIndexOf(':')
    return syslogSink({
      host: syslog.slice(0, colon).replace(/^\[|\]$/g, ''),
      port: Number(syslog.slice(colon + 1)),
      ca: await optional(settings.ca),
      certificate:
        certificate === undefined
          ? undefined
          : {
              certificate: (await resolve(certificate.certificate)).reveal(),
              key: (await resolve(certificate.key)).reveal(),
            },
      maxMessageBytes: settings['max-message'] ?? defaultMessageBytes,
    })
  }
  const [{ webhookSink }, { templateOf }] = await Promise.all([import('./webhook.ts'), import('./webhook-body.ts')])
  const { webhook, template, headers, batch, sign } = settings
  const format = settings.format ?? 'json'
  const resolved: Record<string, Secret> = {}
  for (const [name, value] of Object.entries(headers ?? {})) resolved[name] = await resolve(value)
  return webhookSink({
    url: webhook,
    template:
      template === undefined
        ? templateOf(format, settings.index ?? 'agentgate-audit')
        : {
            event: template.event,
            start: template.start ?? '',
            between: template.between ?? '\n',
            end: template.end ?? '',
            type: template.type ?? 'application/json',
          },
    bulk: template === undefined && format === 'elastic-bulk',
    headers: resolved,
    key: sign === undefined ? undefined : await resolve(sign),
    ca: await optional(settings.ca),
    limits: { events: batch?.events ?? defaultEvents, bytes: batch?.size ?? defaultBytes },
  })
}
