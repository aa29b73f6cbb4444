import { expect, it } from 'vitest'
import { RateLimit } from './rate-limit.ts'

it('gives so many at once, and more as time passes, to each by itself', () => {
  let now = 0
  const limit = new RateLimit(2, 3, () => now)
  expect([1, 2, 3, 4].map(() => limit.take('maria'))).toEqual([undefined, undefined, undefined, 1])
  expect(limit.take('john')).toBeUndefined()
  expect(limit.has('maria')).toBe(false)
  now += 500
  expect(limit.take('maria')).toBeUndefined()
  expect(limit.take('maria')).toBe(1)
  now += 3_600_000
  expect([1, 2, 3, 4].map(() => limit.take('maria'))).toEqual([undefined, undefined, undefined, 1])
})
