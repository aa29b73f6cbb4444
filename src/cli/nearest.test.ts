import { describe, expect, it } from 'vitest'
import { nearest } from './nearest.ts'

describe('nearest', () => {
  it.each([
    ['conect', ['connect', 'exec'], 'connect'],
    ['db-prd', ['db-prod', 'db-stage'], 'db-prod'],
    ['udpate', ['select', 'update'], 'update'],
    ['STATUS', ['status'], 'status'],
    ['x', ['connect'], undefined],
    ['psql', ['connect', 'exec'], undefined],
  ] as const)('%s of %j is %s', (word, candidates, expected) => {
    expect(nearest(word, candidates)).toBe(expected)
  })

  it('takes the closest of several', () => {
    expect(nearest('db-prod2', ['db-prod', 'db-prod1'])).toBe('db-prod')
  })
})
