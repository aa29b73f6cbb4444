import net from 'node:net'

/** A name or an address that means this machine, whatever a resolver says (RFC 6761 §6.3, RFC 1122 §3.2.1.3, RFC 4291 §2.5.3). */
export function isLoopbackHost(host: string): boolean {
  const plain = host.toLowerCase().replace(/\.$/, '')
  if (plain === 'localhost' || plain.endsWith('.localhost')) return true
  if (net.isIPv4(plain)) return loopback.check(plain, 'ipv4')
  return net.isIPv6(plain) && loopback.check(plain, 'ipv6')
}

/** What nobody on the way can read or answer for: https, or http that never leaves this machine. */
export function isSafeUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname } = new URL(text)
  return protocol === 'https:' || (protocol === 'http:' && isLoopbackHost(hostname.replace(/^\[|\]$/g, '')))
}

const loopback = new net.BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')
