// Loaded only where it is needed. The names are imported here, statically, as bundled they are only there so.
import { defaultProvider } from '@aws-sdk/credential-provider-node'

export interface ChainCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
}

/** The AWS SDK's chain of credential providers. @param region of the token service, where the profile names none */
export function credentialChain(
  region: string,
): (options?: { readonly forceRefresh?: boolean }) => Promise<ChainCredentials> {
  const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }
  return defaultProvider({ logger: quiet, parentClientConfig: { region: async () => await Promise.resolve(region) } })
}
