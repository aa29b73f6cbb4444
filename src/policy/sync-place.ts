import { z } from 'zod'

/** Where copies go, as the policy says and as a session's folder remembers. No secrets. */
export const syncPlaceSchema = z.strictObject({
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
})

export type SyncPlace = z.output<typeof syncPlaceSchema>
