import { AgentgateError } from '../../errors.ts'
import { createScanner, type Finding, type Scanner } from '../../masking/detectors/scanner.ts'
import { findingText } from '../../masking/finding-text.ts'
import type { Hasher } from '../../masking/hasher.ts'
import { FieldMasker, NotJson } from '../../masking/json-fields.ts'
import { JsonRedactor, redactJson } from '../../masking/json-redactor.ts'
import { Redactor, replaceFindings, type Replace } from '../../masking/redactor.ts'
import type { Mask, MaskStrategy } from '../../policy/action.ts'
import { LineFieldMasker } from './line-fields.ts'

/** An answer that masks apply to and that cannot be masked: nothing of it may pass. */
export class Unmaskable extends AgentgateError {
  constructor(why: string, hint?: string) {
    super('DENIED', `the answer cannot be masked: ${why}`, { hint })
  }
}

/** What an answer's body goes through, chunk by chunk. */
export interface BodyFilter {
  /** Nothing comes out before `end`, so a failure can still be told. */
  readonly buffers: boolean
  /** @throws Unmaskable */
  push(chunk: Buffer): Buffer
  end(): Buffer
  /** Names of the fields and detectors that hid something. */
  readonly masked: readonly string[]
}

/** What the headers say of a body. */
export interface BodyKind {
  /** In lower case; empty where it is not said. */
  readonly mediaType: string
  readonly charset: string
  /** `identity` where it is not said. */
  readonly encoding: string
}

/** JSON with fields to hide is held until it is whole; what is longer is refused. */
const maxJsonBytes = 8 * 1024 * 1024

/** Pictures and the like hold no text that a client would read as such. All else is looked through. */
const opaqueTypes =
  /^(?:image\/(?!svg)|audio\/|video\/|font\/|application\/(?:pdf|wasm|zip|gzip|zstd|x-tar|x-7z-compressed|x-bzip2?|vnd\.rar|vnd\.openxmlformats|java-archive|protobuf|x-protobuf|grpc))/

const empty = Buffer.alloc(0)

/** The masks that hold for one subject and resource, prepared for bodies and for what is shown of requests. */
export class BodyMask {
  readonly #scanner: Scanner | null
  readonly #replace: Replace
  readonly #fields: readonly { readonly path: string; readonly with: MaskStrategy }[]
  readonly #hasher: Hasher | null

  constructor(masks: readonly Mask[], hasher: Hasher | null) {
    // The first mask that names a detector says how it shows.
    const strategies = new Map<string, MaskStrategy>()
    for (const mask of masks) for (const name of mask.detect) if (!strategies.has(name)) strategies.set(name, mask.with)
    this.#scanner = strategies.size === 0 ? null : createScanner([...strategies.keys()])
    this.#replace = (finding: Finding, bytes) =>
      findingText(strategies.get(finding.detector) ?? { kind: 'redact' }, finding, bytes, hasher)
    this.#fields = masks.flatMap(mask => mask.fields.map(path => ({ path, with: mask.with })))
    this.#hasher = hasher
  }

  get hidesAnything(): boolean {
    return this.#scanner !== null || this.#fields.length > 0
  }

  /** What a body has to go through; null: nothing. @throws Unmaskable */
  filter(kind: BodyKind): BodyFilter | null {
    if (!this.hidesAnything || opaqueTypes.test(kind.mediaType)) return null
    if (kind.encoding !== 'identity')
      throw new Unmaskable(`it is encoded as ${kind.encoding}`, 'the target was asked for no encoding and sent one')
    if (!/^(?:|utf-?8|us-ascii|iso-8859-\d+|windows-125\d)$/.test(kind.charset))
      throw new Unmaskable(`its characters are encoded as ${kind.charset}`)
    const format = formatOf(kind.mediaType)
    const redactor =
      this.#scanner === null
        ? null
        : format === 'text'
          ? new Redactor(this.#scanner, this.#replace)
          : new JsonRedactor(this.#scanner, this.#replace)
    if (this.#fields.length === 0) return redactor === null ? null : new RedactingFilter(redactor)
    const fields = new FieldMasker(this.#fields, this.#hasher)
    if (format === 'lines' || format === 'events')
      return new FieldFilter(new LineFieldMasker(fields, format), fields, redactor)
    return new FieldFilter(new WholeFieldMasker(fields, format === 'json'), fields, redactor)
  }

  /** Hides what masks hide in a text of a media type: in what is shown of a request. */
  text(text: string, mediaType: string): string {
    if (!this.hidesAnything || text === '') return text
    const format = formatOf(mediaType)
    let bytes: Buffer = Buffer.from(text)
    if (this.#fields.length > 0 && format !== 'text') {
      try {
        bytes = new FieldMasker(this.#fields, this.#hasher).mask(bytes)
      } catch (error) {
        if (error instanceof NotJson) return '[masked]'
        throw error
      }
    }
    if (this.#scanner === null) return bytes.toString()
    if (format !== 'text') return (redactJson(this.#scanner, this.#replace, bytes, 0, bytes.length) ?? bytes).toString()
    return replaceFindings(bytes, 0, bytes.length, this.#scanner.find(bytes), this.#replace).toString()
  }
}

function formatOf(mediaType: string): 'text' | 'json' | 'lines' | 'events' {
  if (mediaType === 'text/event-stream') return 'events'
  if (/^application\/(?:x-)?(?:ndjson|jsonl|json-?lines|json-seq|stream\+json)$/.test(mediaType)) return 'lines'
  return /[/+]json$/.test(mediaType) ? 'json' : 'text'
}

class RedactingFilter implements BodyFilter {
  readonly buffers = false
  readonly #redactor: Redactor | JsonRedactor

  constructor(redactor: Redactor | JsonRedactor) {
    this.#redactor = redactor
  }

  get masked(): readonly string[] {
    return [...this.#redactor.found]
  }

  push(chunk: Buffer): Buffer {
    return this.#redactor.push(chunk)
  }

  end(): Buffer {
    return this.#redactor.end()
  }
}

/** First the fields, so that a detector does not turn a value into something else before, then the detectors. */
class FieldFilter implements BodyFilter {
  readonly buffers: boolean
  readonly #stage: WholeFieldMasker | LineFieldMasker
  readonly #fields: FieldMasker
  readonly #redactor: Redactor | JsonRedactor | null

  constructor(
    stage: WholeFieldMasker | LineFieldMasker,
    fields: FieldMasker,
    redactor: Redactor | JsonRedactor | null,
  ) {
    this.buffers = stage instanceof WholeFieldMasker
    this.#stage = stage
    this.#fields = fields
    this.#redactor = redactor
  }

  get masked(): readonly string[] {
    return [...this.#fields.hidden, ...(this.#redactor?.found ?? [])]
  }

  push(chunk: Buffer): Buffer {
    const bytes = this.#guard(() => this.#stage.push(chunk))
    return bytes.length === 0 ? bytes : (this.#redactor?.push(bytes) ?? bytes)
  }

  end(): Buffer {
    const bytes = this.#guard(() => this.#stage.end())
    return this.#redactor === null ? bytes : Buffer.concat([this.#redactor.push(bytes), this.#redactor.end()])
  }

  #guard(work: () => Buffer): Buffer {
    try {
      return work()
    } catch (error) {
      if (error instanceof NotJson) throw new Unmaskable('it is not the JSON that it says it is')
      throw error
    }
  }
}

class WholeFieldMasker {
  readonly #fields: FieldMasker
  readonly #isJson: boolean
  readonly #chunks: Buffer[] = []
  #length = 0

  constructor(fields: FieldMasker, isJson: boolean) {
    this.#fields = fields
    this.#isJson = isJson
  }

  push(chunk: Buffer): Buffer {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    if (this.#length > maxJsonBytes)
      throw new Unmaskable(`it is longer than ${maxJsonBytes >> 20} MB`, 'ask for less at a time, such as a page')
    return empty
  }

  end(): Buffer {
    const bytes = Buffer.concat(this.#chunks)
    if (bytes.length === 0) return bytes
    try {
      return this.#fields.mask(bytes)
    } catch (error) {
      // Text that only looks like JSON has no fields; what says it is JSON has to be.
      if (error instanceof NotJson && !this.#isJson && !/^\s*[{[]/.test(bytes.toString('latin1', 0, 64))) return bytes
      throw error
    }
  }
}
