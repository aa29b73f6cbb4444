import { AgentgateError } from '../../errors.ts'
import type { Mask } from '../../policy/action.ts'

/** A response that masks apply to and that cannot be masked: nothing of it may pass. */
export class Unmaskable extends AgentgateError {
  constructor(why: string, hint?: string) {
    super('DENIED', `the answer cannot be masked: ${why}`, { hint })
  }
}

/** What a response body goes through, chunk by chunk. */
export interface BodyFilter {
  /** Nothing comes out before `end`, so a failure can still be told. */
  readonly buffers: boolean
  push(chunk: Buffer): Buffer
  end(): Buffer
  /** What was hidden: names of fields and detectors. */
  readonly masked: readonly string[]
}

export interface MediaType {
  readonly type: string
  readonly charset: string
}

export function hasBodyMasks(masks: readonly Mask[]): boolean {
  return masks.some(mask => mask.detect.length > 0 || mask.fields.length > 0)
}

/** @throws Unmaskable */
export function bodyFilter(masks: readonly Mask[]): BodyFilter | null {
  if (!hasBodyMasks(masks)) return null
  throw new Unmaskable('masks for http are being written')
}

/** Hides in a text of a media type what masks hide in bodies. */
export function textMask(masks: readonly Mask[]): (text: string, mediaType: string) => string {
  return hasBodyMasks(masks) ? () => '[masked]' : text => text
}
