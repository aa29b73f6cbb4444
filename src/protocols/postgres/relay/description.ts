import type { Mask } from '../../../policy/action.ts'
import type { MaskPlan } from '../masking/mask-plan.ts'
import { readRowDescription, type Field } from '../wire/backend-messages.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { headerBytes } from '../wire/frame-reader.ts'
import type { Catalogue } from './analyser.ts'

/** Of a column in RowDescription, what stands behind its name (PG 18 docs §54.7). */
const columnBytes = 18

/** What the server says of the columns of one statement's rows; read once as long as it says the same. */
export class Description {
  /** RowDescription as it came. */
  readonly bytes: Buffer
  readonly fields: readonly Field[]
  #plan: { readonly masks: readonly Mask[]; readonly catalogue: Catalogue; readonly plan: MaskPlan } | undefined
  #inOther: Description | undefined

  constructor(message: Buffer) {
    this.bytes = Buffer.from(message)
    this.fields = readRowDescription(new BodyReader().over(this.bytes, headerBytes, this.bytes.length))
  }

  /** The same columns in the formats that a Bind asks for: none is text, one is of all. */
  in(formats: readonly number[]): Description {
    if (this.#isIn(formats)) return this
    if (this.#inOther === undefined || !this.#inOther.#isIn(formats)) {
      const patched = Buffer.from(this.bytes)
      let at = headerBytes + 2
      this.fields.forEach((_, index) => {
        at = patched.indexOf(0, at) + 1 + columnBytes
        patched.writeUInt16BE(formatOf(formats, index), at - 2)
      })
      this.#inOther = new Description(patched)
    }
    return this.#inOther
  }

  /** What of these columns is hidden, planned once for the same masks and catalogue. */
  plan(masks: readonly Mask[], catalogue: Catalogue, make: () => MaskPlan): MaskPlan {
    const known = this.#plan
    if (known?.masks === masks && known.catalogue === catalogue) return known.plan
    const plan = make()
    this.#plan = { masks, catalogue, plan }
    return plan
  }

  #isIn(formats: readonly number[]): boolean {
    return this.fields.every(({ format }, index) => format === (formatOf(formats, index) === 1 ? 'binary' : 'text'))
  }
}

function formatOf(formats: readonly number[], index: number): number {
  return (formats.length === 1 ? formats[0] : formats[index]) ?? 0
}
