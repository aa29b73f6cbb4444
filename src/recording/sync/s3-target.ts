import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { AwsCredentialSource } from './aws-credentials.ts'
import { signed, type AwsCredentials } from './sigv4.ts'
import { SyncFailed, type SyncTarget } from './target.ts'

export interface S3Place {
  readonly bucket: string
  /** Without slashes at its ends; empty for none. */
  readonly prefix: string
  readonly region: string
  /** Of what speaks S3 but is not AWS; null: AWS. */
  readonly endpoint: string | null
  /** Object Lock for each object, from its upload on; null: what the bucket does by itself. */
  readonly lock: { readonly mode: 'governance' | 'compliance'; readonly seconds: number } | null
  /** `x-amz-server-side-encryption` and its key; null: what the bucket does by itself. */
  readonly encryption: { readonly algorithm: string; readonly key: string | null } | null
}

/** Nobody is slower than this to say something while alive. */
const idleMilliseconds = 60_000
/** Retention begins when a session has ended, and a lock when a part is uploaded. */
const lockMarginMilliseconds = 24 * 3_600_000
const pieceBytes = 256 * 1024
const maxErrorBytes = 16 * 1024
/** A thousand keys of 1,024 bytes each, escaped. */
const maxListBytes = 16 * 1024 * 1024
const emptySha256 = createHash('sha256').digest('hex')

interface Body {
  readonly bytes: Buffer
  readonly sha256: string
}

/** A bucket of S3 or what speaks its protocol, by five requests of it. */
export class S3Target implements SyncTarget {
  readonly name: string
  readonly #place: S3Place
  readonly #credentials: AwsCredentialSource
  readonly #origin: URL
  readonly #base: string
  readonly #bucketPath: string

  /** `credentials` is asked for each request, as they may be renewed meanwhile. */
  constructor(place: S3Place, credentials: AwsCredentialSource) {
    const { bucket, prefix, region, endpoint } = place
    this.#place = place
    this.#credentials = credentials
    this.name = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`
    const start = prefix === '' ? '' : `/${prefix}`
    // A bucket with a dot in its name has no certificate of its own (S3 user guide, "Virtual hosting of general purpose buckets").
    const own = endpoint === null && !bucket.includes('.')
    this.#origin = new URL(endpoint ?? `https://${own ? `${bucket}.` : ''}s3.${region}.amazonaws.com`)
    const root = `${this.#origin.pathname.replace(/\/$/, '')}${own ? '' : `/${bucket}`}`
    this.#base = `${root}${start}`
    this.#bucketPath = own ? '/' : root
  }

  async put(key: string, bytes: Buffer, sha256: string, signal: AbortSignal): Promise<'stored' | 'there'> {
    const headers = {
      'content-length': String(bytes.length),
      'content-type': 'application/octet-stream',
      'if-none-match': '*',
      // Checked by the server before it says that it has it.
      'x-amz-checksum-sha256': Buffer.from(sha256, 'hex').toString('base64'),
      ...this.#protection(),
    }
    const response = await this.#request('PUT', key, headers, { bytes, sha256 }, signal)
    const text = await textOf(response)
    if (response.statusCode === 200) return 'stored'
    if (response.statusCode === 412) return 'there'
    throw this.#refusedProtection(response.statusCode ?? 0, text)
  }

  #protection(): Record<string, string> {
    const { lock, encryption } = this.#place
    return {
      ...(lock === null
        ? {}
        : {
            'x-amz-object-lock-mode': lock.mode.toUpperCase(),
            'x-amz-object-lock-retain-until-date': new Date(
              Date.now() + lock.seconds * 1000 + lockMarginMilliseconds,
            ).toISOString(),
          }),
      ...(encryption === null ? {} : { 'x-amz-server-side-encryption': encryption.algorithm }),
      ...(encryption?.key ? { 'x-amz-server-side-encryption-aws-kms-key-id': encryption.key } : {}),
    }
  }

  #refusedProtection(status: number, text: string): SyncFailed {
    const failed = failureOf(status, text)
    const asked = this.#asked()
    if (asked === '' || failed.kind !== 'refused' || (status !== 400 && status !== 403)) return failed
    return new SyncFailed('refused', `${failed.message}; it was asked for ${asked}: does the bucket have that?`)
  }

  #asked(): string {
    const { lock, encryption } = this.#place
    const said = [lock === null ? [] : ['object-lock'], encryption === null ? [] : ['encryption']].flat()
    return said.join(' and ')
  }

  /** What was asked for with each object is what it has: a server may let by what it does not know. */
  #checkProtection(key: string, headers: http.IncomingHttpHeaders): void {
    const { lock, encryption } = this.#place
    if (lock !== null && headers['x-amz-object-lock-mode'] !== lock.mode.toUpperCase())
      throw new SyncFailed(
        'refused',
        `${this.name} does not say that ${key} is locked: is Object Lock on, and may this key s3:GetObjectRetention?`,
      )
    if (encryption !== null && headers['x-amz-server-side-encryption'] !== encryption.algorithm)
      throw new SyncFailed('refused', `${this.name} has ${key} without the encryption that it was asked for`)
  }

  async sha256Of(key: string, signal: AbortSignal): Promise<string | null> {
    const head = await this.#request('HEAD', key, { 'x-amz-checksum-mode': 'ENABLED' }, null, signal)
    await textOf(head)
    if (head.statusCode === 404) return null
    if (head.statusCode !== 200) throw failureOf(head.statusCode ?? 0, '')
    this.#checkProtection(key, head.headers)
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

  async remove(key: string, signal: AbortSignal): Promise<void> {
    const versions = await this.#versionsOf(key, signal)
    for (const version of versions.length === 0 ? [null] : versions) {
      const query = version === null ? '' : `versionId=${encoded(version)}`
      const response = await this.#request('DELETE', key, {}, null, signal, query)
      const text = await textOf(response)
      if (response.statusCode !== 204 && response.statusCode !== 200 && response.statusCode !== 404)
        throw failureOf(response.statusCode ?? 0, text)
    }
    if ((await this.sha256Of(key, signal)) !== null)
      throw new SyncFailed('refused', `the bucket has ${key} still, though it said that it was deleted`)
  }

  /** Ids of all that a bucket with versions keeps under a key; none where it keeps no versions. */
  async #versionsOf(key: string, signal: AbortSignal): Promise<readonly string[]> {
    const own = this.#place.prefix === '' ? '' : `${this.#place.prefix}/`
    const query = `prefix=${encoded(`${own}${key}`)}&versions=`
    const response = await this.#request('GET', null, {}, null, signal, query)
    const text = await textOf(response, maxListBytes)
    // What has no versions need not know the request; who may not list them is told.
    if (response.statusCode === 501 || response.statusCode === 400) return []
    if (response.statusCode !== 200) throw failureOf(response.statusCode ?? 0, text)
    const found: string[] = []
    for (const [, block = ''] of text.matchAll(/<(?:Version|DeleteMarker)>([\s\S]*?)<\/(?:Version|DeleteMarker)>/g)) {
      const name = decodeXml(/<Key>([^<]*)<\/Key>/.exec(block)?.[1] ?? '')
      const version = decodeXml(/<VersionId>([^<]*)<\/VersionId>/.exec(block)?.[1] ?? '')
      if (name === `${own}${key}` && version !== '') found.push(version)
    }
    return found.every(version => version === 'null') ? [] : found
  }

  async *names(prefix: string, signal: AbortSignal): AsyncGenerator<string, void, void> {
    const own = this.#place.prefix === '' ? '' : `${this.#place.prefix}/`
    const full = `${own}${prefix}`
    let token: string | undefined
    do {
      // In the order of their names, as the signature wants them (ListObjectsV2).
      const query = [
        ...(token === undefined ? [] : [`continuation-token=${encoded(token)}`]),
        `delimiter=${encoded('/')}`,
        'list-type=2',
        `prefix=${encoded(full)}`,
      ].join('&')
      const response = await this.#request('GET', null, {}, null, signal, query)
      const text = await textOf(response, maxListBytes)
      if (response.statusCode !== 200) throw failureOf(response.statusCode ?? 0, text)
      for (const [, name = ''] of text.matchAll(/<(?:Key|Prefix)>([^<]*)<\/(?:Key|Prefix)>/g)) {
        const key = decodeXml(name)
        if (key.startsWith(full) && key.length > full.length) yield key.slice(full.length)
      }
      const next = /<NextContinuationToken>([^<]*)<\/NextContinuationToken>/.exec(text)?.[1]
      token = /<IsTruncated>true</.test(text) && next !== undefined ? decodeXml(next) : undefined
    } while (token !== undefined)
  }

  async read(key: string, signal: AbortSignal): Promise<AsyncIterable<Buffer> | null> {
    const response = await this.#request('GET', key, {}, null, signal)
    if (response.statusCode === 200) return chunksOf(response)
    const text = await textOf(response)
    if (response.statusCode === 404 && !text.includes('NoSuchBucket')) return null
    throw failureOf(response.statusCode ?? 0, text)
  }

  /** Asks again, once, where what it signed with may have run out in between. @param key null: the bucket itself */
  async #request(
    method: string,
    key: string | null,
    headers: Readonly<Record<string, string>>,
    body: Body | null,
    signal: AbortSignal,
    query = '',
  ): Promise<http.IncomingMessage> {
    const credentials = await this.#credentials(false)
    const response = await this.#send(method, key, headers, body, signal, query, credentials)
    if (credentials.sessionToken === undefined || ![400, 401, 403].includes(response.statusCode ?? 0)) return response
    const renewed = await this.#credentials(true).catch(() => credentials)
    if (renewed.sessionToken === credentials.sessionToken) return response
    response.resume()
    return await this.#send(method, key, headers, body, signal, query, renewed)
  }

  #send(
    method: string,
    key: string | null,
    headers: Readonly<Record<string, string>>,
    body: Body | null,
    signal: AbortSignal,
    query: string,
    credentials: AwsCredentials,
  ): Promise<http.IncomingMessage> {
    const path = key === null ? this.#bucketPath : `${this.#base}/${key}`
    const request = { method, host: this.#origin.host, path, query, headers, sha256: body?.sha256 ?? emptySha256 }
    const plain = this.#origin.protocol === 'http:'
    return new Promise((resolve, reject) => {
      const options = {
        method,
        path: query === '' ? path : `${path}?${query}`,
        host: this.#origin.hostname.replace(/^\[|\]$/g, ''),
        port: this.#origin.port === '' ? undefined : this.#origin.port,
        headers: signed(request, credentials, this.#place.region, new Date()),
        signal,
        timeout: idleMilliseconds,
      }
      // Whatever the environment says (NODE_TLS_REJECT_UNAUTHORIZED).
      const sent = plain ? http.request(options) : https.request({ ...options, rejectUnauthorized: true })
      sent.on('timeout', () => sent.destroy(new SyncFailed('unreachable', 'the bucket does not answer')))
      sent.on('error', error => reject(signal.aborted ? error : cutOff(error)))
      sent.on('response', resolve)
      void send(sent, body?.bytes ?? null)
    })
  }
}

/** In pieces, as the thread that encrypts them is the one that serves clients. */
async function send(sent: http.ClientRequest, bytes: Buffer | null): Promise<void> {
  try {
    for (let from = 0; bytes !== null && from < bytes.length; from += pieceBytes)
      if (!sent.write(bytes.subarray(from, from + pieceBytes))) await once(sent, 'drain')
    sent.end()
  } catch {
    // The request's own 'error' tells.
  }
}

/** What a server says of an error is read up to a limit, and only its code is used. */
async function textOf(response: http.IncomingMessage, maxBytes = maxErrorBytes): Promise<string> {
  let text = ''
  response.setEncoding('utf8')
  try {
    for await (const chunk of response) if (text.length < maxBytes) text += String(chunk)
  } catch (error) {
    throw cutOff(error)
  }
  return text
}

async function* chunksOf(response: http.IncomingMessage): AsyncGenerator<Buffer, void, void> {
  try {
    for await (const chunk of response) yield chunk as Buffer
  } catch (error) {
    throw cutOff(error)
  }
}

/** RFC 3986, as the signature wants it: encodeURIComponent leaves more. */
function encoded(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, each => `%${each.charCodeAt(0).toString(16).toUpperCase()}`)
}

function decodeXml(text: string): string {
  const named: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
  return text.replace(/&(#\d{1,7}|#x[0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);/g, (all: string, what: string) => {
    if (!what.startsWith('#')) return named[what] ?? all
    const code = what.startsWith('#x') ? parseInt(what.slice(2), 16) : Number(what.slice(1))
    return code <= 0x10ffff ? String.fromCodePoint(code) : all
  })
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
