import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Redactor } from '../redactor.ts'
import { createScanner, detectorNames, type DetectorName } from './scanner.ts'

const all = createScanner(detectorNames)

/** What is found, as `detector:text`. */
function found(text: string, scanner = all): string[] {
  const bytes = Buffer.from(text)
  return scanner.find(bytes).map(({ start, end, detector }) => `${detector}:${bytes.toString('utf8', start, end)}`)
}

// Put together here, so that nobody's scanner takes this file for a leak.
const join = (...parts: string[]) => parts.join('')
const alnum36 = 'aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5'
const jwt = join(
  'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.',
  'eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0.',
  'dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U',
)
const pem = generateKeyPairSync('rsa', { modulusLength: 1024 })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString()
  .trim()

describe('finds', () => {
  const cases: Record<DetectorName, string[]> = {
    email: [
      'ann@example.com',
      'first.last+tag@mail.example.co.uk',
      'müller@beispiel.de',
      'a@b.io',
      'x_1%2@sub.xn--bcher-kva.example',
      'bob%40example.com',
    ],
    phone: [
      '+1 415 555 2671',
      '+14155552671',
      '+44 20 7946 0958',
      '+44 (0)20 7946 0958',
      '+49-30-901820',
      '+33 1 23 45 67 89',
      '+91 98765 43210',
      '(415) 555-2671',
      '415-555-2671',
      '415.555.2671',
      '1-415-555-2671',
      '020 7946 0958',
      '07700 900123',
      '01 23 45 67 89',
    ],
    'card-number': [
      '4111111111111111',
      '4111 1111 1111 1111',
      '4111-1111-1111-1111',
      '5555555555554444',
      '378282246310005',
      '3782 822463 10005',
      '30569309025904',
      '3056 930902 5904',
      '6011111111111117',
      '3530111333300000',
      '6200000000000005',
      '2223003122003222',
      '6304000000000000',
    ],
    iban: [
      'DE89370400440532013000',
      'DE89 3704 0044 0532 0130 00',
      'GB82 WEST 1234 5698 7654 32',
      'NO9386011117947',
      'MT84MALT011000012345MTLCAST001S',
      'FR14 2004 1010 0505 0001 3M02 606',
      'gb82west12345698765432',
    ],
    'national-id': [
      '078-05-1120',
      '900-70-1234', // ITIN
      '529.982.247-25', // CPF
      '756.9217.0769.85', // AHV
      '7569217076985',
      '130-692-544', // SIN
      '2341 2341 2346', // Aadhaar
      '811228-9874', // personnummer
      '19811228-9874',
      '900101-1234567', // RRN
      '12345678Z', // DNI
      '12345678-Z',
      'X1234567L', // NIE
      'AB123456C', // NINO
      'RSSMRA85T10A562S', // codice fiscale
      '11010519491231002X', // China
      '255081416802538',
      '2 55 08 14 168 025 38', // NIR
      '01010750160', // Norway
    ],
    'api-key': [
      join('AKIA', 'IOSFODNN7EXAMPLE'),
      join('ghp_', alnum36),
      join('github_pat_', '11ABCDEFG0', alnum36, '_', alnum36),
      join('glpat-', 'aBcDeF1234567890-_xY'),
      join('xoxb-', '123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx'),
      join('sk_live_', '4eC39HqLyjWDarjtT1zdp7dc'),
      join('AIza', 'SyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe'),
      join('sk-', 'proj-', alnum36, 'T3BlbkFJ', alnum36),
      join('sk-ant-', 'api03-', alnum36, '-', alnum36, 'AA'),
      join('npm_', alnum36),
      join('pypi-', 'AgEIcHlwaS5vcmc', alnum36, alnum36),
      join('SK', '0123456789abcdef0123456789abcdef'),
      join('SG.', 'aBcDeFgHiJkLmNoPqRsTuV', '.', alnum36, '1234567'),
      join('hf_', alnum36),
      join('shpat_', '0123456789abcdef0123456789abcdef'),
      join('dop_v1_', '0123456789abcdef'.repeat(4)),
    ],
    'private-key': [pem, pem.replaceAll('\n', '\\n'), pem.replaceAll('PRIVATE KEY', 'EC PRIVATE KEY')],
    jwt: [jwt, jwt.slice(0, jwt.lastIndexOf('.') + 1)],
    'high-entropy': [
      'kY7xQ2mN9vB4tR8wZ3cF6hJ1',
      'wJalrXUtnFEMI/K7MDENG+bPxRfiCYzzzKEY9q',
      'q8f3k2m9x7v4b1n6c5z0l8j7h3g2d9s4a1',
    ],
  }
  for (const [detector, texts] of Object.entries(cases))
    it.each(texts)(`${detector}: %s`, text => {
      const expected = [`${detector}:${text}`]
      expect(found(text)).toEqual(expected)
      expect(found(`see "${text}", please`)).toEqual(expected)
      expect(found(`{"a":1,"b":"${text}"}`)).toEqual(expected)
      expect(found(`<td>${text}</td>`)).toEqual(expected)
      expect(found(`x\n${text}\ny`)).toEqual(expected)
      expect(found(`${text},${text}`)).toEqual([...expected, ...expected])
      expect(found(text, createScanner([detector]))).toEqual(expected)
    })

  it.each([
    ['phone: 5552671', 'phone:5552671'],
    ['"mobile_phone":"4155552671"', 'phone:4155552671'],
    ['Tel. 030/1234567', 'phone:030/1234567'],
    ['ssn: 078051120', 'national-id:078051120'],
    ['{"social_security_number": "078051120"}', 'national-id:078051120'],
    ['BSN 111222333', 'national-id:111222333'],
    ['password=hunter2Secret99', 'high-entropy:hunter2Secret99'],
    ['"client_secret": "0a1b2c3d4e5f60718293"', 'high-entropy:0a1b2c3d4e5f60718293'],
    ['Authorization: Bearer 6f1c1a9e-1d0b-4a0e-9f3e-0123456789ab', 'high-entropy:6f1c1a9e-1d0b-4a0e-9f3e-0123456789ab'],
    [
      `aws_secret_access_key = ${join('wJalrXUtnFEMI/K7MDENG', '/bPxRfiCYEXAMPLEKEY')}`,
      `api-key:${join('wJalrXUtnFEMI/K7MDENG', '/bPxRfiCYEXAMPLEKEY')}`,
    ],
    ['postgres://app:pass@db.internal/x', 'email:pass@db.internal'],
  ])('what a word names: %s', (text, expected) => expect(found(text)).toEqual([expected]))

  it('only what is asked for', () => {
    const text = `ann@example.com 4111111111111111 ${jwt}`
    expect(found(text, createScanner([]))).toEqual([])
    expect(found(text, createScanner(['email']))).toEqual(['email:ann@example.com'])
    expect(() => createScanner(['e-mial'])).toThrow('unknown detector "e-mial"')
  })

  it('an unfinished private key as far as it goes', () => {
    expect(found(pem.slice(0, 300))).toEqual([`private-key:${pem.slice(0, 300)}`])
  })
})

describe('leaves alone', () => {
  it.each([
    'The quick brown fox jumps over the lazy dog, 12 times at 3.50 each.',
    '6f1c1a9e-1d0b-4a0e-9f3e-0123456789ab', // UUID
    '550e8400-e29b-41d4-a716-446655440000',
    '00000000-0000-0000-0000-000000000000',
    '2026-11-21T12:34:56.789Z',
    '2026-11-21 12:34:56.789123+00',
    '21.11.2026 12:34',
    '11/21/2026',
    '1700000000 1700000000000 1700000000000000', // epochs
    'commit 4edcd4dff834cd6e98c73d78c5c7ac471adb9aa8',
    'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    'd41d8cd98f00b204e9800998ecf8427e',
    'order 1002-3344-5566, invoice 2026-000123, 4111-1111',
    'order 123456789 of 987654321',
    'ORD-2026-1234567 SKU-AB123456C-7 TX_00012345',
    '$1,234,567.89 and 1.234.567,89 EUR and 0.4111111111111111',
    '4111111111111112 4111 1111 1111 1112', // Luhn fails
    '1234567890123456 9999999999999999',
    '1541815603606036480', // an id of X
    '1.2.3.4 192.168.100.200:5432 10.0.0.0/8 fe80::1ff:fe23:4567:890a',
    'v18.20.3, node@20.19.0, react@^18.2.0, icon@2x.png, @types/node',
    'git@github.com:team/repository.git',
    'lat 52.520008, lon 13.404954',
    'GB82WEST12345698765433 DE00370400440532013000', // checks fail
    'select id, email, total from orders join customers on customers.id = orders.customer_id',
    'SELECT getElementsByTagNameNS2 FROM AbstractSingletonProxyFactoryBean3Configuration',
    '/usr/lib/x86_64-linux-gnu/libcrypto.so.3 /Users/Maria/Projects2/agentGate/src/Main3.ts',
    'https://example.com/articles/2026/11/21/why-10-things-about-postgres-18-matter?page=2&sort=asc',
    'my-app-7d9f8b6c5d-x2x9z us-east-1 i-0abcd1234efgh5678 ami-0abc123def456',
    'eyJ is how a token begins; eyJhbGciOiJub25l.x',
    '-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ2v3x\n-----END CERTIFICATE-----',
    'a line that says -----BEGIN PRIVATE KEY----- and nothing more',
    '-----------------------------------------',
    'sk-button sk-learn npm_config_registry ghp_ AKIA xoxb- key-value SG.txt',
    'npm_package_dependencies_typescript_eslint_parser_options',
    'tel +1, +12 or +1234 points, +0200, a+4155552671',
    '10 20 30 40 50 60 70 80 90 100',
    '12 345 678 901 and 1 000 000 000',
    'ISBN 978-3-16-148410-0, EAN 4006381333931',
    'IMEI 490154203237518 is no card',
    'rgb(255, 255, 255) #ff00aa 0xdeadbeefcafebabe',
    'token count: 1234, password reset sent, secret santa: 2026',
    'author: Maria, auth: none, passwords: 12',
    'x = y + z; a-b-c_d/e; foo@bar; @decorator; user @ host',
    'Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore',
    'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    '(2024) (415) 555 f(4155552671)',
  ])('%s', text => expect(found(text)).toEqual([]))

  it('what is longer than any secret, such as an image in base64', () => {
    const image = Buffer.from(Array.from({ length: 3000 }, (_, index) => (index * 7919) % 251)).toString('base64')
    expect(found(`data:image/png;base64,${image}`)).toEqual([])
  })
})

describe('in pieces', () => {
  const snippets = [
    'ann@example.com',
    'bob%40example.com',
    '4111 1111 1111 1111',
    '+44 (0)20 7946 0958',
    '(415) 555-2671',
    '078-05-1120',
    '12345678-Z',
    'DE89 3704 0044 0532 0130 00',
    join('ghp_', alnum36),
    jwt,
    pem,
    'password=hunter2Secret99',
    'kY7xQ2mN9vB4tR8wZ3cF6hJ1',
    'kY7xQ2mN9vB4tR8wZ3cF6hJ1==',
    '-----BEGIN PRIVATE KEY-----',
    '-----END ',
    'a'.repeat(70),
    'Zb9/'.repeat(80),
    '4'.repeat(30),
    ' phone: ',
    'token ',
    '5552671',
    ...'0 1 4 9 a Z @ . - _ + / = ( ) % : " \n é , ;'.split(' '),
    ' ',
  ]
  const text = fc.array(fc.constantFrom(...snippets), { maxLength: 24 }).map(parts => Buffer.from(parts.join('')))
  const mark = (bytes: Buffer) => Buffer.from(`<${bytes.length}>`)

  function whole(bytes: Buffer): string {
    let out = ''
    let at = 0
    for (const { start, end, detector } of all.find(bytes)) {
      expect(start).toBeGreaterThanOrEqual(at)
      out += bytes.toString('latin1', at, start) + detector + mark(bytes.subarray(start, end)).toString()
      at = end
    }
    return out + bytes.toString('latin1', at)
  }

  it('finds the same wherever the text is cut', () => {
    fc.assert(
      fc.property(text, fc.array(fc.nat(400), { minLength: 1, maxLength: 20 }), (bytes, sizes) => {
        const redactor = new Redactor(all, ({ start, end, detector }, from) =>
          Buffer.concat([Buffer.from(detector), mark(from.subarray(start, end))]),
        )
        let out = ''
        let at = 0
        for (let turn = 0; at < bytes.length; turn++) {
          const size = Math.max(sizes[turn % sizes.length]!, turn > 200 ? 1000 : 0)
          out += redactor.push(bytes.subarray(at, at + size)).toString('latin1')
          at += size
        }
        out += redactor.end().toString('latin1')
        expect(out).toBe(whole(bytes))
      }),
      { numRuns: process.env['SLOW'] ? 50_000 : 1500 },
    )
  })

  it('holds back a word, not a text', () => {
    const redactor = new Redactor(all, () => Buffer.from('x'))
    let given = 0
    const words = Buffer.from('some words that go on and on, 42 of them. ')
    for (let count = 0; count < 100; count++) given += redactor.push(words).length
    expect(words.length * 100 - given).toBeLessThan(16)
  })

  it('holds back no more than a private key could be long', () => {
    for (const beginning of ['-----BEGIN PRIVATE KEY-----\n', 'eyJ', '4111 ', 'a@', 'ghp_']) {
      const redactor = new Redactor(all, () => Buffer.from('x'))
      let given = redactor.push(Buffer.from(beginning)).length
      let taken = beginning.length
      for (let count = 0; count < 200; count++) {
        const chunk = Buffer.from('A1b2'.repeat(256))
        taken += chunk.length
        given += redactor.push(chunk).length
        expect(taken - given, beginning).toBeLessThan(40_000)
      }
    }
  })
})

describe('takes linear time for', () => {
  it.each([
    'a@',
    '@',
    'a.',
    '4',
    '4 ',
    '4-',
    '+1',
    '(4',
    '-',
    '-----BEGIN ',
    '-----BEGIN PRIVATE KEY-----',
    'eyJ',
    'eyJhbGciOiJIUzI1NiJ9.',
    'ghp_',
    'sk-',
    'SG.',
    'A1',
    'DE89 ',
    'DE89',
    'password=',
    'a1_',
    'Zb9/',
    'phone 4155',
    '%40',
    'é',
    '1 22 33 44 555 666 77 ',
  ])('%s, again and again', pattern => {
    const small = Buffer.from(pattern.repeat(Math.ceil(20_000 / pattern.length)))
    const large = Buffer.from(pattern.repeat(Math.ceil(320_000 / pattern.length)))
    // Processor time, as tests share the machine.
    const time = (bytes: Buffer) => {
      let best = Infinity
      for (let turn = 0; turn < 3; turn++) {
        const before = process.cpuUsage()
        all.find(bytes)
        best = Math.min(best, process.cpuUsage(before).user)
      }
      return best
    }
    time(small)
    // 16 times the bytes; quadratic would be 256 times the time.
    expect(time(large)).toBeLessThan(Math.max(time(small), 1000) * 100)
  })
})
