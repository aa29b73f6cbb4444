import type { Environment } from '../../config/paths.ts'
import type { SyncPlace } from '../../policy/sync-place.ts'
import { FolderTarget } from './folder-target.ts'
import type { SyncTarget } from './target.ts'

/** A target that can be written to; credentials are looked for when they are needed. */
export async function openTarget(place: SyncPlace, env: Environment): Promise<SyncTarget> {
  if (place.to.startsWith('file://'))
    return new FolderTarget(place.to.slice('file://'.length).replace(/(?<=.)\/+$/, ''))
  const [{ S3Target }, { awsCredentials }] = await Promise.all([
    import('./s3-target.ts'),
    import('./aws-credentials.ts'),
  ])
  const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]+)\/?(.*?)\/?$/.exec(place.to) ?? []
  const region = place.region ?? env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'] ?? 'us-east-1'
  const lock = place['object-lock']
  return new S3Target(
    {
      bucket,
      prefix,
      region,
      endpoint: place.endpoint ?? null,
      lock: lock === undefined ? null : { mode: lock, seconds: place.retainSeconds ?? 0 },
      encryption: encryptionOf(place.encryption),
    },
    awsCredentials(env, region),
  )
}

function encryptionOf(
  asked: SyncPlace['encryption'],
): { readonly algorithm: string; readonly key: string | null } | null {
  if (asked === undefined) return null
  if (asked === 's3') return { algorithm: 'AES256', key: null }
  return { algorithm: 'aws:kms', key: asked === 'kms' ? null : asked.kms }
}
