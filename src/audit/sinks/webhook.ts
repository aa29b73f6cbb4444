import { createHmac } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'
import { z } from 'zod'
import type { Secret } from '../../secret.ts'
import { SinkFailed, type Sink } from './sink.ts'
import { tlsFailure } from './tls-failure.ts'
import { bodyOf, type Template } from './webhook-body.ts'

export interface WebhookOptions {
  readonly url: string
  readonly template: Template
  /** The answer names each event's own fate (Elasticsearch's bulk API). */
  readonly bulk: boolean
  readonly headers: Readonly<Record<string, Secret>>
  readonly key: Secret | undefined
  readonly ca: string | undefined
  readonly limits: Sink['limits']
}

const patienceMilliseconds = 30_000
const maxAnswerBytes = 4 << 20
const maxRetryAfterMilliseconds = 5 * 60_000

/** Batches as POST requests; only an answer of 2xx counts as arrived. Redirects are not followed. */
export function webhookSink(options: WebhookOptions): Sink {
  const secure = options.url.startsWith('https:')
  const agent = secure
    ? new https.Agent({
        keepAlive: true,
        maxSockets: 1,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.2',
        ...(options.ca === undefined ? {} : { ca: options.ca }),
      })
    : new http.Agent({ keepAlive: true, maxSockets: 1 })
  const { origin, pathname } = new URL(options.url)
  // What stands behind the path may be somebody's key.
  const place = `${origin}${pathname}`
  return {
    place,
    limits: options.limits,
    close: () => agent.destroy(),
    send: async (events, signal) => {
      const body = bodyOf(events, options.template)
      const answer = await post(options, agent, place, body, signal)
      judge(place, answer)
      if (options.bulk) judgeItems(place, answer.body)
    },
  }
}

interface Answer {
  readonly status: number
  readonly retryAfter: string | undefined
  readonly body: string
}

async function post(
  options: WebhookOptions,
  agent: http.Agent,
  place: string,
  body: Buffer,
  signal: AbortSignal,
): Promise<Answer> {
  const headers: Record<string, string> = {
    'user-agent': 'agentgate',
    'content-type': options.template.type,
    'content-length': String(body.length),
  }
  for (const [name, value] of Object.entries(options.headers)) headers[name.toLowerCase()] = value.reveal()
  if (options.key !== undefined) Object.assign(headers, signature(options.key, body, Date.now()))
  const patience = AbortSignal.timeout(patienceMilliseconds)
  return await new Promise<Answer>((resolve, reject) => {
    const request = (options.url.startsWith('https:') ? https : http).request(options.url, {
      method: 'POST',
      headers,
      agent,
      signal: AbortSignal.any([signal, patience]),
    })
    const failed = (error: NodeJS.ErrnoException) =>
      reject(
        patience.aborted
          ? new SinkFailed('unreachable', `${place} does not answer`)
          : signal.aborted
            ? new SinkFailed('unreachable', `${place}: stopped`)
            : tlsFailure(place, error),
      )
    request.on('error', failed)
    request.on('response', response => {
      const chunks: Buffer[] = []
      let size = 0
      response.on('error', failed)
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size <= maxAnswerBytes) chunks.push(chunk)
      })
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          retryAfter: response.headers['retry-after'],
          body: Buffer.concat(chunks).toString('utf8'),
        }),
      )
      response.on('close', () => {
        if (!response.complete) reject(new SinkFailed('unreachable', `${place} cut its answer`))
      })
    })
    request.end(body)
  })
}

/**
 * `agentgate-timestamp` and `agentgate-signature: v1=…`: HMAC-SHA256 over `v1.TIMESTAMP.BODY`, so that an old request that
 * is played again is told by its time.
 */
export function signature(key: Secret, body: Buffer, now: number): Record<string, string> {
  const timestamp = String(Math.floor(now / 1000))
  const digest = createHmac('sha256', key.reveal()).update(`v1.${timestamp}.`).update(body).digest('hex')
  return { 'agentgate-timestamp': timestamp, 'agentgate-signature': `v1=${digest}` }
}

function judge(place: string, { status, retryAfter }: Answer): void {
  if (status >= 200 && status < 300) return
  const text = `${place} answers ${status}`
  if (status === 408 || status === 425 || status === 429 || status >= 500)
    throw new SinkFailed('unreachable', text, retryMilliseconds(retryAfter))
  // 400, 413 and 422 are about the body; 401, 403, 404 and the like are about us.
  throw new SinkFailed(status === 400 || status === 413 || status === 422 ? 'unacceptable' : 'refused', text)
}

function retryMilliseconds(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const seconds = /^\d{1,6}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(seconds) ? Math.min(Math.max(0, seconds), maxRetryAfterMilliseconds) : undefined
}

const bulkAnswer = z.object({
  errors: z.boolean(),
  items: z.array(z.record(z.string(), z.object({ status: z.number() }))).optional(),
})

/** Elasticsearch answers 200 also where it took nothing; 409 is an event that it has already. */
function judgeItems(place: string, body: string): void {
  let answer: z.output<typeof bulkAnswer>
  try {
    answer = bulkAnswer.parse(JSON.parse(body))
  } catch {
    throw new SinkFailed('refused', `${place} does not answer as Elasticsearch's bulk API does`)
  }
  if (!answer.errors) return
  const statuses = (answer.items ?? []).flatMap(item => Object.values(item).map(({ status }) => status))
  const bad = statuses.filter(status => status >= 300 && status !== 409)
  const [first] = bad
  if (first === undefined) return
  const text = `${place} took ${statuses.length - bad.length} of ${statuses.length} events (${first})`
  if (bad.some(status => status === 429 || status >= 500)) throw new SinkFailed('unreachable', text)
  throw new SinkFailed(bad.every(status => status === 400) ? 'unacceptable' : 'refused', text)
}
