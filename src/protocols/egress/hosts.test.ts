import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseNetwork, refusedAddress } from './addresses.ts'
import { canonicalHost, parseHostPattern, patternFor, type HostPattern } from './hosts.ts'

const patterns = (...texts: readonly string[]) =>
  texts.map(text => {
    const parsed = parseHostPattern(text)
    if (typeof parsed === 'string') throw new Error(`${text}: ${parsed}`)
    return parsed
  })
const finds = (list: readonly HostPattern[], host: string, port = 443, usual = 443) =>
  patternFor(list, canonicalHost(host) ?? 'none', port, usual)?.written

describe('a list of hosts', () => {
  const list = patterns('registry.npmjs.org', '*.pythonhosted.org', 'Example.COM:8443', '127.0.0.1:4873', '[fd00::1]')

  it.each([
    ['registry.npmjs.org', 443, 'registry.npmjs.org'],
    ['REGISTRY.npmjs.org.', 443, 'registry.npmjs.org'],
    ['registry.npmjs.org', 80, undefined],
    ['evilregistry.npmjs.org', 443, undefined],
    ['x.registry.npmjs.org', 443, undefined],
    ['registry.npmjs.org.evil.com', 443, undefined],
    ['files.pythonhosted.org', 443, '*.pythonhosted.org'],
    ['a.b.pythonhosted.org', 443, '*.pythonhosted.org'],
    ['pythonhosted.org', 443, undefined],
    ['evilpythonhosted.org', 443, undefined],
    ['example.com', 8443, 'Example.COM:8443'],
    ['example.com', 443, undefined],
    ['127.0.0.1', 4873, '127.0.0.1:4873'],
    ['0x7f.1', 4873, '127.0.0.1:4873'],
    ['2130706433', 4873, '127.0.0.1:4873'],
    ['[fd00:0::1]', 443, '[fd00::1]'],
    ['registry.npmjs.org@evil.com', 443, undefined],
    ['registry.npmjs.org/', 443, undefined],
    ['registry.npmjs.org\u0000.evil.com', 443, undefined],
    ['reg\u0456stry.npmjs.org', 443, undefined],
  ])('for %s port %i says %s', (host, port, expected) => expect(finds(list, host, port)).toBe(expected))

  it('means port 80 for plain requests', () => {
    expect(finds(list, 'registry.npmjs.org', 80, 80)).toBe('registry.npmjs.org')
    expect(finds(list, 'registry.npmjs.org', 443, 80)).toBeUndefined()
  })

  it.each([
    '*',
    '*.com',
    '*.1.2.3.4',
    'a.*.com',
    'https://a.com',
    'a.com/x',
    'a.com:0',
    'a.com:99999',
    '',
    'a b',
    'u@a.com',
  ])('refuses %s', text => expect(parseHostPattern(text)).toBeTypeOf('string'))

  it('never takes a host for another one', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), text => {
        const host = canonicalHost(text)
        if (host !== undefined && finds(list, text) === 'registry.npmjs.org') expect(host).toBe('registry.npmjs.org')
      }),
    )
  })
})

describe('addresses', () => {
  const opened = (...texts: readonly string[]) => texts.map(text => parseNetwork(text)!)

  it.each([
    '127.0.0.1',
    '127.1.2.3',
    '0.0.0.0',
    '10.1.2.3',
    '172.31.0.1',
    '192.168.1.1',
    '100.64.0.1',
    '169.254.169.254',
    '168.63.129.16',
    '100.100.100.200',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    '::ffff:10.0.0.1',
    '::ffff:7f00:1',
    '::7f00:1',
    '64:ff9b::a9fe:a9fe',
    '2002:7f00:1::',
    'fc00::1',
    'fd00:ec2::254',
    'fe80::1',
    'ff02::1',
  ])('refuses %s', address => expect(refusedAddress(address, [])).toBeTypeOf('string'))

  it.each(['1.1.1.1', '104.16.1.35', '172.32.0.1', '2606:4700::1111', '2001:4860:4860::8888'])('lets %s be', address =>
    expect(refusedAddress(address, [])).toBeUndefined(),
  )

  it('lets private ones be that the policy names, and no more', () => {
    expect(refusedAddress('10.20.1.1', opened('10.20.0.0/16'))).toBeUndefined()
    expect(refusedAddress('10.21.1.1', opened('10.20.0.0/16'))).toBeTypeOf('string')
    expect(refusedAddress('::ffff:10.20.1.1', opened('10.20.0.0/16'))).toBeUndefined()
    expect(refusedAddress('fd12::1', opened('fd00::/8'))).toBeUndefined()
  })

  it('opens a cloud’s metadata only by its own address', () => {
    expect(refusedAddress('169.254.169.254', opened('169.254.0.0/16'))).toMatch(/identities/)
    expect(refusedAddress('169.254.169.254', opened('169.254.169.254'))).toBeUndefined()
    expect(refusedAddress('fd00:ec2::254', opened('fd00::/8'))).toMatch(/identities/)
  })
})
