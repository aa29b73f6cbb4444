import { createHash } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'
import { signed, type AwsCredentials } from './sigv4.ts'
import { SyncFailed, type SyncTarget } from './target.ts'

export interface S3Place {
  readonly bucket: string
  /** Without slashes at its ends; empty for none. */
  readonly prefix: string
  readonly region: string
  /** Of what speaks S3 but is not AWS; null: AWS. */
  readonly endpoint: string | null
}

/** Nobody is slower than this to say something while alive. */
const idleMilliseconds = 60_000
const maxErrorBytes = 16 * 1024
const emptySha256 = createHash('sha256').digest('hex')

/** A bucket of S3 or what speaks its protocol, by four requests of it. */
export class S3Target implements SyncTarget {
  readonly name: string
  readonly #place: S3Place
  readonly #credentials: () => AwsCredentials
  readonly #origin: URL
  readonly #base: string

  /** `credentials` is asked for each request, as they may be renewed meanwhile. */
  constructor(place: S3Place, credentials: () => AwsCredentials) {
    const { bucket, prefix, region, endpoint } = place
    this.#place = place
    this.#credentials = credentials
    this.name = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`
    const start = prefix === '' ? '' : `/${prefix}`
    // A bucket with a dot in its name has no certificate of its own (S3 user guide, "Virtual hosting of general purpose buckets").
    const own = endpoint === null && !bucket.includes('.')
    this.#origin = new URL(endpoint ?? `https://${own ? `${bucket}.` : ''}s3.${region}.amazonaws.com`)
    this.#base = `${this.#origin.pathname.replace(/\/$/, '')}${own ? '' : `/${bucket}`}${start}`
  }

  async put(key: string, bytes: Buffer, sha256: string, signal: AbortSignal): Promise<'stored' | 'there'> {
    const headers = {
      'content-length': String(bytes.length),
      'content-type': 'application/octet-stream',
      'if-none-match': '*',
      // Checked by the server before it says that it has it.
      'x-amz-checksum-sha256': Buffer.from(sha256, 'hex').toString('base64'),
    }
    const response = await this.#request('PUT', key, headers, { bytes, sha256 }, signal)
    const text = await textOf(response)
    if (response.statusCode === 200) return 'stored'
    if (response.statusCode === 412) return 'there'
    throw failureOf(response.statusCode ?? 0, text)
  }

  async sha256Of(key: string, signal: AbortSignal): Promise<string | null> {
    const head = await this.#request('HEAD', key, { 'x-amz-checksum-mode': 'ENABLED' }, null, signal)
    await textOf(head)
    if (head.statusCode === 404) return null
    if (head.statusCode !== 200) throw failureOf(head.statusCode ?? 0, '')
    const checksum = head.headers['x-amz-checksum-sha256']
    // Of what was uploaded in parts it is not that of the whole, and ends in their number.
    if (typeof checksum === 'string' && /^[A-Za-z0-9+/]{43}=$/.test(checksum))
      return Buffer.from(checksum, 'base64').toString('hex')
    const response = await this.#request('GET', key, {}, null, signal)
    if (response.statusCode === 404) return null
    if (response.statusCode !== 200) throw failureOf(response.statusCode ?? 0, await textOf(response))
    const digest = createHash('sha256')
    try {
      for await (const chunk of response) digest.update(chunk as Buffer)
    } catch (error) {
      throw cutOff(error)
    }
    return digest.digest('hex')
  }

  #request(
    method: string,
    key: string,
    headers: Readonly<Record<string, string>>,
    body: { readonly bytes: Buffer; readonly sha256: string } | null,
    signal: AbortSignal,
  ): Promise<http.IncomingMessage> {
    const path = `${this.#base}/${key}`
    const request = { method, host: this.#origin.host, path, headers, sha256: body?.sha256 ?? emptySha256 }
    const plain = this.#origin.protocol === 'http:'
    return new Promise((resolve, reject) => {
      const options = {
        method,
        path,
        host: this.#origin.hostname.replace(/^\[|\]$/g, ''),
        port: this.#origin.port === '' ? undefined : this.#origin.port,
        headers: signed(request, this.#credentials(), this.#place.region, new Date()),
        signal,
        timeout: idleMilliseconds,
      }
      // Whatever the environment says (NODE_TLS_REJECT_UNAUTHORIZED).
      const sent = plain ? http.request(options) : https.request({ ...options, rejectUnauthorized: true })
      sent.on('timeout', () => sent.destroy(new SyncFailed('unreachable', 'the bucket does not answer')))
      sent.on('error', error => reject(signal.aborted ? error : cutOff(error)))
      sent.on('response', resolve)
      sent.end(body?.bytes)
    })
  }
}

/** What a server says of an error is read up to a limit, and only its code is used. */
async function textOf(response: http.IncomingMessage): Promise<string> {
  let text = ''
  try {
    for await (const chunk of response) if (text.length < maxErrorBytes) text += String(chunk)
  } catch (error) {
    throw cutOff(error)
  }
  return text
}

function cutOff(error: unknown): SyncFailed {
  if (error instanceof SyncFailed) return error
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'no answer'
  return new SyncFailed('unreachable', `cannot reach the bucket (${code})`)
}

function failureOf(status: number, text: string): SyncFailed {
  const code = /<Code>([A-Za-z]{1,64})<\/Code>/.exec(text)?.[1]
  const said = code === undefined ? String(status) : `${status} ${code}`
  if (status === 429 || status >= 500 || status === 409)
    return new SyncFailed('unreachable', `the bucket cannot take it now (${said})`)
  if (status === 404) return new SyncFailed('refused', `there is no such bucket (${said})`)
  return new SyncFailed('refused', `the bucket refuses it (${said})`)
}
