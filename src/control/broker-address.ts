import { AgentgateError } from '../errors.ts'

/** Where a broker is, and by whose word: made by `parseBrokerAddress`. */
export interface BrokerAddress {
  /** `https://host:port`, or `unix:/path/of/control.sock`. */
  readonly address: string
  /** Certificates that may vouch for it, PEM, instead of the system's. */
  readonly ca?: string | undefined
}

const example = 'it is https://broker.example.com:8443, or unix:/path/of/control.sock'

/**
 * The one way to write an address: what is bound to it is compared by it.
 * @throws AgentgateError USAGE
 */
export function parseBrokerAddress(text: string): string {
  if (/^unix:\/./.test(text)) return text
  if (!URL.canParse(text)) throw notOne(example)
  const { protocol, origin, username, password, pathname, search, hash } = new URL(text)
  if (protocol === 'http:')
    throw notOne(`over the network a broker speaks TLS only: ${text.replace(/^http:/i, 'https:')}`)
  if (protocol !== 'https:') throw notOne(example)
  // What stands before an @ is no host, however much it looks like one.
  if (username !== '' || password !== '') throw notOne('it names no user and no password')
  if (pathname !== '/' || search !== '' || hash !== '') throw notOne(`only host and port: ${origin}`)
  return origin

  function notOne(hint: string): AgentgateError {
    // A password may stand in it.
    const shown = text.includes('@') ? 'that' : text
    return new AgentgateError('USAGE', `${shown} is no address of a broker`, { hint })
  }
}
