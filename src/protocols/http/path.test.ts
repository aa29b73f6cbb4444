import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AmbiguousTarget, matchesPath, readTarget } from './path.ts'

describe('a target', () => {
  const same: [string, string, string][] = [
    ['/', '/', '/'],
    ['/v1/customers/42?expand=cards', '/v1/customers/42', '/v1/customers/42?expand=cards'],
    ['/v1/%63ustomers', '/v1/customers', '/v1/customers'],
    ['//v1///customers', '/v1/customers', '/v1/customers'],
    ['/v1/./x/../customers', '/v1/customers', '/v1/customers'],
    ['/v1/%2e%2e/admin', '/admin', '/admin'],
    ['/v1/.%2E/admin/', '/admin/', '/admin/'],
    ['/../../etc/passwd', '/etc/passwd', '/etc/passwd'],
    ['/..', '/', '/'],
    ['/a/b/..', '/a/', '/a/'],
    ['/caf%C3%A9', '/café', '/caf%C3%A9'],
    ['/a%20b', '/a b', '/a%20b'],
    ['/a;b=c/d', '/a;b=c/d', '/a;b=c/d'],
    ["/a!$&'()*+,=:@-._~", "/a!$&'()*+,=:@-._~", "/a!$&'()*+,=:@-._~"],
    ['/q?u=http://x/../y&%2f', '/q', '/q?u=http://x/../y&%2f'],
  ]
  it.each(same)('%s is %s', (text, path, sent) => {
    expect(readTarget(text)).toMatchObject({ path, sent })
  })

  it.each([
    'http://elsewhere/x',
    '*',
    '',
    'elsewhere:443',
    '/a%2fb',
    '/a%5Cb',
    '/a\\b',
    '/a%00',
    '/a%0d%0ab',
    '/a%7f',
    '/a%E2%80%AE',
    '/%252e%252e/admin',
    '/a%',
    '/a%zz',
    '/%ff',
    '/%c0%ae%c0%ae/',
    '/..;/admin',
    '/.;x/admin',
    '/a#b',
    '/a b',
    '/é',
    `/${'a'.repeat(20_000)}`,
  ])('refuses %s', text => {
    expect(() => readTarget(text)).toThrow(AmbiguousTarget)
  })

  it('is a fixed point: what is sent reads as itself', () => {
    const characters = fc.constantFrom(...'/.%2eE5fC;a?=&+ é'.split(''), '%2e', '..', '%20', '%C3%A9')
    fc.assert(
      fc.property(fc.array(characters, { maxLength: 12 }), parts => {
        let target
        try {
          target = readTarget(`/${parts.join('')}`)
        } catch (error) {
          expect(error).toBeInstanceOf(AmbiguousTarget)
          return
        }
        expect(readTarget(target.sent)).toEqual(target)
        expect(target.path.split('/')).not.toContain('..')
      }),
      { numRuns: 2000 },
    )
  })
})

describe('a glob', () => {
  const cases: [string, string, boolean][] = [
    ['/v1/customers', '/v1/customers', true],
    ['/v1/customers', '/v1/customers/', true],
    ['/v1/customers', '/v1/customers/4', false],
    ['/v1/customers/*', '/v1/customers/4', true],
    ['/v1/customers/*', '/v1/customers', false],
    ['/v1/customers/*', '/v1/customers/4/cards', false],
    ['/v1/customers/**', '/v1/customers', true],
    ['/v1/customers/**', '/v1/customers/4/cards', true],
    ['/**/cards', '/v1/customers/4/cards', true],
    ['/**/cards', '/v1/cards/4', false],
    ['/v*/x-*-y', '/v2/x-1-2-y', true],
    ['/v*/x-*-y', '/v2/x-y', false],
    ['/**', '/', true],
    ['/a*a', '/a', false],
    ['/**/a/**/b', '/a/c/a/d/b', true],
  ]
  it.each(cases)('%s on %s: %s', (glob, path, expected) => expect(matchesPath(glob, path)).toBe(expected))
})
