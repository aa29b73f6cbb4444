import { z } from 'zod'

const asPolicySays = z.strictObject({
  to: z
    .string()
    // Nothing in it needs escaping in a URL.
    .regex(/^(?:s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:\/[A-Za-z0-9._-]+)*\/?|file:\/\/\/[^\0]*)$/, {
      error: 's3://bucket/prefix or file:///folder',
    })
    .describe('s3://bucket/prefix or file:///folder: each sealed part of a recording is copied there at once.'),
  region: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/, { error: 'a region such as eu-central-1' })
    .optional()
    .describe('Of the bucket; else AWS_REGION, else us-east-1.'),
  endpoint: z
    .string()
    .regex(/^(?:https:\/\/[^/@?#]+|http:\/\/(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?)\/?$/, {
      error: 'an https:// URL without path, or http:// on this machine',
    })
    .optional()
    .describe('Of a server that speaks S3 and is not AWS.'),
  'object-lock': z
    .enum(['governance', 'compliance'])
    .optional()
    .describe('Each object is locked in this mode until its retention is over; the bucket has Object Lock on.'),
  encryption: z
    .union([
      z.enum(['s3', 'kms']),
      z.strictObject({
        kms: z.string().regex(/^[A-Za-z0-9:/_-]{1,2048}$/, { error: 'a key’s id, alias/NAME or ARN' }),
      }),
    ])
    .optional()
    .describe('By the bucket: s3 (SSE-S3), kms (SSE-KMS with the bucket’s key), or { kms: KEY }.'),
})

/** Where copies go, as the policy says. No secrets. */
export const syncPlaceSchema = asPolicySays.refine(
  ({ to, 'object-lock': lock, encryption }) => to.startsWith('s3://') || (lock ?? encryption) === undefined,
  { error: 'object-lock and encryption are a bucket’s, and this is a folder' },
)

/** The same, as a session's folder remembers it, with how long its retention is. */
export const keptPlaceSchema = asPolicySays.extend({ retainSeconds: z.number().int().min(1).optional() })

/** What of recordings that are elsewhere, too, may stay here; null: whatever their retention says. */
export interface LocalCopies {
  readonly keepForSeconds: number | null
  readonly keepAtMostBytes: number | null
}

export type SyncPlace = z.output<typeof keptPlaceSchema>
