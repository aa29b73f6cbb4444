import os from 'node:os'
import fs from 'node:fs'
import path from 'node:path'
import type { Environment } from '../../config/paths.ts'
import type { SyncPlace } from '../../policy/sync-place.ts'
import { FolderTarget } from './folder-target.ts'
import type { AwsCredentials } from './sigv4.ts'
import { SyncFailed, type SyncTarget } from './target.ts'

/** A target that can be written to; credentials are looked for when they are needed. */
export async function openTarget(place: SyncPlace, env: Environment): Promise<SyncTarget> {
  if (place.to.startsWith('file://'))
    return new FolderTarget(place.to.slice('file://'.length).replace(/(?<=.)\/+$/, ''))
  const { S3Target } = await import('./s3-target.ts')
  const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]+)\/?(.*?)\/?$/.exec(place.to) ?? []
  const region = place.region ?? env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'] ?? 'us-east-1'
  return new S3Target({ bucket, prefix, region, endpoint: place.endpoint ?? null }, () => credentialsOf(env))
}

/** From the environment, else from a profile of ~/.aws/credentials. @throws SyncFailed where there are none */
function credentialsOf(env: Environment): AwsCredentials {
  const accessKeyId = env['AWS_ACCESS_KEY_ID']
  const secretAccessKey = env['AWS_SECRET_ACCESS_KEY']
  if (accessKeyId && secretAccessKey)
    return { accessKeyId, secretAccessKey, sessionToken: env['AWS_SESSION_TOKEN'] || undefined }
  const found = fromProfile(env)
  if (found === undefined)
    throw new SyncFailed('refused', 'there are no AWS credentials (AWS_ACCESS_KEY_ID, or ~/.aws/credentials)')
  return found
}

function fromProfile(env: Environment): AwsCredentials | undefined {
  const file = env['AWS_SHARED_CREDENTIALS_FILE'] ?? path.join(env['HOME'] ?? os.homedir(), '.aws', 'credentials')
  let text: string
  try {
    text = fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
  const wanted = env['AWS_PROFILE'] ?? 'default'
  const values = new Map<string, string>()
  let section = ''
  for (const line of text.split('\n')) {
    const title = /^\s*\[([^\]]+)\]/.exec(line)?.[1]
    if (title !== undefined) section = title.trim()
    const [, name, value] = /^\s*(aws_[a-z_]+)\s*=\s*(\S+)/.exec(line) ?? []
    if (section === wanted && name !== undefined && value !== undefined) values.set(name, value)
  }
  const accessKeyId = values.get('aws_access_key_id')
  const secretAccessKey = values.get('aws_secret_access_key')
  if (accessKeyId === undefined || secretAccessKey === undefined) return undefined
  return { accessKeyId, secretAccessKey, sessionToken: values.get('aws_session_token') }
}
