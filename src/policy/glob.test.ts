import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { glob } from './glob.ts'
import { nearest } from './suggest.ts'

describe('glob', () => {
  it.each([
    ['db-*', 'db-prod', true],
    ['db-*', 'db-', true],
    ['db-*', 'xdb-prod', false],
    ['*', '', true],
    ['*', 'anything', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['*@example.com', 'maria@example.com', true],
    ['*@example.com', 'maria@example.com.evil', false],
    ['a*b*c', 'aXbYc', true],
    ['a*b*c', 'aXcYb', false],
    ['a.c', 'abc', false],
    ['DB', 'db', false],
  ])('%s against %s: %s', (pattern, name, expected) => {
    expect(glob(pattern).matches(name)).toBe(expected)
  })

  it('agrees with a regular expression', () => {
    const letters = fc.array(fc.constantFrom('a', 'b', '*'), { maxLength: 12 }).map(parts => parts.join(''))
    fc.assert(
      fc.property(letters, letters, (pattern, raw) => {
        const name = raw.replaceAll('*', 'c')
        const expected = new RegExp(`^${pattern.replace(/\*+/g, '.*')}$`).test(name)
        return glob(pattern).matches(name) === expected
      }),
    )
  })

  it('takes linear time where backtracking would not', () => {
    const started = performance.now()
    expect(glob('*a'.repeat(50)).matches(`${'a'.repeat(100_000)}b`)).toBe(false)
    expect(performance.now() - started).toBeLessThan(200)
  })
})

describe('nearest', () => {
  it.each([
    ['udpate', ['select', 'update', 'delete'], 'update'],
    ['db-prd', ['db-prod', 'db-stage'], 'db-prod'],
    ['not_self', ['not-self', 'within'], 'not-self'],
    ['x', ['read', 'write'], undefined],
    ['', ['read'], undefined],
  ])('%s is meant as %s', (word, candidates, expected) => {
    expect(nearest(word, candidates)).toBe(expected)
  })
})
