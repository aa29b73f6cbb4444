import { describe, expect, it } from 'vitest'
import type { Mount } from './mount.ts'
import { seatbeltProfile } from './seatbelt-profile.ts'

const profile = (mounts: readonly Mount[], more: Partial<Parameters<typeof seatbeltProfile>[0]> = {}) =>
  seatbeltProfile({ mounts, unchangeable: [], ports: [], ...more })
const lines = (text: string) => text.split('\n')

/** Reads a profile as sandbox-exec's Scheme does: nested lists of words and strings. Throws where it does not close. */
function parse(text: string): unknown[] {
  const tokens = text.match(/#?"(?:[^"\\]|\\[^])*"|[()]|[^\s()"]+/g) ?? []
  const stack: unknown[][] = [[]]
  for (const token of tokens)
    if (token === '(') stack.push([])
    else if (token === ')') {
      const done = stack.pop()
      const above = stack.at(-1)
      if (done === undefined || above === undefined) throw new Error('closes what is not open')
      above.push(done)
    } else stack.at(-1)?.push(token.startsWith('"') ? { text: token.slice(1, -1).replace(/\\(.)/g, '$1') } : token)
  if (stack.length !== 1) throw new Error('never closed')
  return stack[0] ?? []
}

describe('a profile for sandbox-exec', () => {
  it('denies whatever it does not name', () => {
    const text = profile([])
    expect(lines(text).slice(0, 2)).toEqual(['(version 1)', '(deny default)'])
    expect(text).not.toMatch(/allow default|allow network\*|allow file\*|allow mach\*|\(remote ip "\*/)
  })

  it('opens loopback to the tunnels’ ports, after denying the network, and nothing else of it', () => {
    const text = profile([], { ports: [15432, 13128] })
    const network = lines(text).filter(line => line.includes('network'))
    expect(network).toEqual([
      '(deny network*)',
      '(allow network-outbound (remote ip "localhost:15432"))',
      '(allow network-outbound (remote ip "localhost:13128"))',
    ])
  })

  it('leads to no keychain', () => {
    const text = profile([])
    const allowed = lines(text).filter(line => line.startsWith('(allow mach-lookup'))
    expect(allowed.join()).not.toMatch(/Security|secd|tccd|pasteboard|launchservices/)
    for (const name of ['com.apple.SecurityServer', 'com.apple.securityd', 'com.apple.secd'])
      expect(text).toMatch(new RegExp(`^\\(deny mach-lookup .*"${name}"`, 'm'))
  })

  it('opens no terminal by its name but its own', () => {
    const opening = lines(profile([])).filter(line => /file-(read|write)/.test(line) && line.startsWith('(allow'))
    expect(opening.join('\n')).not.toContain('ttys')
  })

  it('keeps the order of what lies over what', () => {
    const text = profile([
      { kind: 'writable', path: '/w' },
      { kind: 'read-only', path: '/w/.git/hooks' },
      { kind: 'hidden-file', path: '/w/.env' },
    ])
    const at = (rule: string) => {
      expect(text).toContain(rule)
      return text.indexOf(rule)
    }
    expect(at('(allow file-read* file-write* (subpath "/w"))')).toBeLessThan(
      at('(deny file-write* (subpath "/w/.git/hooks"))'),
    )
    expect(at('(deny file-write* (subpath "/w/.git/hooks"))')).toBeLessThan(
      at('(deny file-read* file-write* (subpath "/w/.env"))'),
    )
  })

  it('lets nothing that is protected be moved, nor made where it is missing', () => {
    const text = profile([{ kind: 'writable', path: '/w' }], { unchangeable: ['/w/.claude'] })
    expect(text).toContain('(deny file-write-unlink (literal "/w/.claude"))')
    expect(text).toContain('(deny file-write-unlink (literal "/w"))')
    expect(text.indexOf('(deny file-write* (subpath "/w/.claude"))')).toBeGreaterThan(
      text.indexOf('(allow file-read* file-write* (subpath "/w"))'),
    )
  })

  it('lets the way to a place be looked at, not listed', () => {
    const text = profile([{ kind: 'writable', path: '/Users/maria/work/shop' }])
    for (const place of ['/', '/Users', '/Users/maria', '/Users/maria/work'])
      expect(text).toContain(`(allow file-read-metadata (literal "${place}"))`)
    expect(text).not.toMatch(/allow file-read\* \((subpath|literal) "\/Users\/maria"/)
  })

  it.each([
    '/w/a "quoted" name',
    '/w/back\\slash',
    '/w/end\\',
    '/w/(allow default)',
    '/w/")) (allow default) (deny file-read* (literal "',
    '/w/; comment',
    '/w/é and 日本',
    "/w/#t 'x `y ,z",
  ])('writes the path %s as text, whatever stands in it', name => {
    const rules = parse(profile([{ kind: 'writable', path: name }]))
    expect(rules).toContainEqual(['allow', 'file-read*', 'file-write*', ['subpath', { text: name }]])
    expect(rules).not.toContainEqual(['allow', 'default'])
    // The same number of rules as for a harmless name in the same folder.
    expect(rules.length).toBe(parse(profile([{ kind: 'writable', path: '/w/plain' }])).length)
  })

  it.each(['/w/line\nbreak', '/w/\u0000', '/w/\u001b[0m'])('refuses a path with a control character', name => {
    expect(() => profile([{ kind: 'writable', path: name }])).toThrow(/control character/)
  })
})
