/** How a target is reached. Nothing but `verify-full` and loopback is safe from a man in the middle. */
export interface TlsSettings {
  /** `verify-full` checks chain and name; `verify-ca` the chain; `require` encrypts only; `off` is for loopback. */
  readonly mode: 'verify-full' | 'verify-ca' | 'require' | 'off'
  /** The name to expect in the certificate, where it is not the address's host. */
  readonly name: string | undefined
  /** PEM of the authorities to trust instead of the system's. */
  readonly ca: string | undefined
}
