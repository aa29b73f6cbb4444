import net from 'node:net'
import { z } from 'zod'

/**
 * Networks that are nobody's on the internet, or somebody's at home: IANA's special-purpose registries (RFC 6890, RFC 8190),
 * with the prefixes that carry an IPv4 address inside (RFC 4291 §2.5.5.1, RFC 6052, RFC 3056, RFC 4380); mapped ones
 * (§2.5.5.2) are judged as what they stand for.
 */
const closedNetworks: readonly (readonly [string, number])[] = [
  ...([
    ['0.0.0.0', 8],
    ['10.0.0.0', 8],
    ['100.64.0.0', 10],
    ['127.0.0.0', 8],
    ['169.254.0.0', 16],
    ['172.16.0.0', 12],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
    ['192.88.99.0', 24],
    ['192.168.0.0', 16],
    ['198.18.0.0', 15],
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['224.0.0.0', 3],
  ] as const),
  ...([
    ['::', 96],
    ['64:ff9b::', 96],
    ['64:ff9b:1::', 48],
    ['100::', 64],
    ['2001::', 23],
    ['2001:db8::', 32],
    ['2002::', 16],
    ['3fff::', 20],
    ['5f00::', 16],
    ['fc00::', 7],
    ['fe80::', 10],
    ['fec0::', 10],
    ['ff00::', 8],
  ] as const),
]

/**
 * Where clouds hand a machine its identity. Azure's lies among public addresses; a network that holds one of these opens
 * none of them, only its own address does.
 */
const metadataAddresses = new Set([
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
])

const closed = listOf(closedNetworks)

/** `10.0.0.0/8`, or one address. */
export interface Network {
  readonly written: string
  readonly address: string
  readonly bits: number
}

export function parseNetwork(text: string): Network | undefined {
  const [address = '', bitsText, ...rest] = text.split('/')
  const family = net.isIP(address)
  const most = family === 4 ? 32 : 128
  const bits = bitsText === undefined ? most : /^\d{1,3}$/.test(bitsText) ? Number(bitsText) : -1
  if (family === 0 || address.includes('%') || rest.length > 0 || bits < 1 || bits > most) return undefined
  return { written: text, address, bits }
}

/** Why a connection to this address is refused; undefined where it is not. `opened` is what the policy names. */
export function refusedAddress(address: string, opened: readonly Network[]): string | undefined {
  const plain = withoutMapping(address)
  const type = net.isIPv4(plain) ? 'ipv4' : 'ipv6'
  if (opened.some(network => isSingle(network) && listOf([[network.address, network.bits]]).check(plain, type)))
    return undefined
  if (metadataAddresses.has(plain)) return 'it is where a cloud hands out identities'
  if (!closed.check(plain, type)) return undefined
  if (listOf(opened.map(({ address: from, bits }) => [from, bits] as const)).check(plain, type)) return undefined
  return 'it is not an address of the public internet'
}

function isSingle({ address, bits }: Network): boolean {
  return bits === (net.isIPv4(address) ? 32 : 128)
}

/** `::ffff:10.0.0.1`, also written `::ffff:a00:1`, is 10.0.0.1 by another name. */
function withoutMapping(address: string): string {
  const [, dotted, high, low] = /^::ffff:(?:([\d.]+)|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/i.exec(address) ?? []
  if (dotted !== undefined) return dotted
  if (high === undefined || low === undefined) return address.toLowerCase()
  const [first, second] = [parseInt(high, 16), parseInt(low, 16)]
  return [first >> 8, first & 255, second >> 8, second & 255].join('.')
}

function listOf(networks: readonly (readonly [string, number])[]): net.BlockList {
  const list = new net.BlockList()
  for (const [address, bits] of networks) list.addSubnet(address, bits, net.isIPv4(address) ? 'ipv4' : 'ipv6')
  return list
}

export const network = z.string().transform((text, context): Network => {
  const parsed = parseNetwork(text)
  if (parsed !== undefined) return parsed
  context.addIssue({ code: 'custom', message: 'an address, or a network such as 10.20.0.0/16', input: text })
  return z.NEVER
})
