import type { Environment } from '../../config/paths.ts'
import type { credentialChain } from './aws-chain.ts'
import type { AwsCredentials } from './sigv4.ts'
import { SyncFailed } from './target.ts'

/** A command of a profile, or a login server: both can hang. */
const deadlineMilliseconds = 30_000

/** Asked for each request; `renew`: what it gave last is not taken any more. @throws SyncFailed where there are none */
export type AwsCredentialSource = (renew: boolean) => Promise<AwsCredentials>

/**
 * Keys from the environment, else whatever the AWS SDK's chain finds: profiles (keys, roles, SSO, commands), web identity
 * tokens, metadata of ECS and EC2. The SDK's code is loaded only for the latter, and reads the environment of this process.
 */
export function awsCredentials(env: Environment, region: string): AwsCredentialSource {
  const accessKeyId = env['AWS_ACCESS_KEY_ID']
  const secretAccessKey = env['AWS_SECRET_ACCESS_KEY']
  if (accessKeyId && secretAccessKey) {
    const fixed = { accessKeyId, secretAccessKey, sessionToken: env['AWS_SESSION_TOKEN'] || undefined }
    return async () => await Promise.resolve(fixed)
  }
  let chain: ReturnType<typeof loadChain> | undefined
  return async renew => {
    try {
      const provider = await (chain ??= loadChain(region))
      const found = await inTime(provider(renew ? { forceRefresh: true } : undefined))
      return {
        accessKeyId: found.accessKeyId,
        secretAccessKey: found.secretAccessKey,
        sessionToken: found.sessionToken,
      }
    } catch (error) {
      throw error instanceof SyncFailed ? error : noCredentials(error)
    }
  }
}

async function loadChain(region: string): Promise<ReturnType<typeof credentialChain>> {
  return (await import('./aws-chain.ts')).credentialChain(region)
}

async function inTime<T>(asked: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new SyncFailed('unreachable', 'AWS credentials were not to be had in 30 s')),
      deadlineMilliseconds,
    )
  })
  try {
    return await Promise.race([asked, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The library's text may hold what a command printed: only what kind of trouble it was is said. */
function noCredentials(error: unknown): SyncFailed {
  const { name, code } = named(error)
  if (code !== undefined) return new SyncFailed('unreachable', `AWS credentials cannot be fetched (${code})`)
  if (name === undefined || name === 'CredentialsProviderError')
    return new SyncFailed(
      'refused',
      'there are no AWS credentials (AWS_ACCESS_KEY_ID, a profile in ~/.aws, a web identity token, or ECS or EC2 metadata)',
    )
  return new SyncFailed('refused', `AWS credentials cannot be fetched (${name})`)
}

function named(error: unknown): { readonly name: string | undefined; readonly code: string | undefined } {
  if (!(error instanceof Error)) return { name: undefined, code: undefined }
  const code =
    'code' in error && typeof error.code === 'string' && /^E[A-Z]{2,20}$/.test(error.code) ? error.code : undefined
  return { name: /^[A-Za-z]{1,64}$/.test(error.name) && error.name !== 'Error' ? error.name : undefined, code }
}
