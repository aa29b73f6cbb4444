import { z } from 'zod'
import { canonicalJson } from '../canonical-json.ts'
import { atSchema } from '../event-schema.ts'
import { signatureHolds, type SessionKey } from '../session-key.ts'

const hex = z.string().regex(/^[0-9a-f]{64}$/)
const name = z.string().max(320)
const rawKey = z.string().regex(/^[A-Za-z0-9+/]{43}=$/)
const signature = z.string().regex(/^[A-Za-z0-9+/]{86}==$/)

/** A point of a session's chain, as its tunnel asks the witness to countersign it. */
export const headSchema = z.object({
  session: z.string().max(64),
  sequence: z.number().int().min(1),
  head: hex,
  /** The session has ended with this event: nothing comes after it. */
  final: z.boolean(),
})

/** That the witness was shown this point of the chain, and when by its own clock (milliseconds since 1970). */
export const receiptSchema = headSchema.extend({ at: atSchema, key: rawKey, signature })

/** Who a session was granted to, and the key that it records with. */
export const certificateSchema = z.object({
  session: z.string().max(64),
  recordingKey: rawKey,
  principal: name,
  actor: name.nullable(),
  host: z.string().max(255),
  at: atSchema,
  key: rawKey,
  signature,
})

export type Head = z.output<typeof headSchema>
export type Receipt = z.output<typeof receiptSchema>
export type Certificate = z.output<typeof certificateSchema>

/** What is signed says what it is, so that no signature for one thing is one for another. */
type Title = 'head' | 'receipt' | 'certificate'

function textOf(title: Title, content: object): Buffer {
  return Buffer.from(`agentgate ${title} 1\n${canonicalJson(content)}\n`)
}

/** By the session's key: whoever has only its token cannot show the witness a chain. */
export function signHead({ session, sequence, head, final }: Head, key: SessionKey): string {
  return key.sign(textOf('head', { session, sequence, head, final }))
}

export function headHolds({ session, sequence, head, final }: Head, recordingKey: string, signed: string): boolean {
  return signatureHolds(recordingKey, textOf('head', { session, sequence, head, final }), signed)
}

export function signReceipt(content: Head & { readonly at: number }, key: SessionKey): Receipt {
  const { session, sequence, head, final, at } = content
  const receipt = { session, sequence, head, final, at, key: key.publicKey }
  return { ...receipt, signature: key.sign(textOf('receipt', receipt)) }
}

/** Signed by the key that it names, which says nothing of whose key that is. */
export function receiptHolds(receipt: Receipt): boolean {
  const { signature: signed, ...content } = receiptSchema.parse(receipt)
  return signatureHolds(content.key, textOf('receipt', content), signed)
}

export function signCertificate(content: Omit<Certificate, 'key' | 'signature'>, key: SessionKey): Certificate {
  const certificate = { ...content, key: key.publicKey }
  return { ...certificate, signature: key.sign(textOf('certificate', certificate)) }
}

export function certificateHolds(certificate: Certificate): boolean {
  const { signature: signed, ...content } = certificateSchema.parse(certificate)
  return signatureHolds(content.key, textOf('certificate', content), signed)
}
