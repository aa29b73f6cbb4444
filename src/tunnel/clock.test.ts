import { expect, test } from 'vitest'
import { Deadline } from './clock.ts'

function clocks() {
  const now = { wall: 1_000_000, monotonic: 500 }
  return { now, clock: { wall: () => now.wall, monotonic: () => now.monotonic } }
}

test.each([
  ['time goes by', 61_000, 61_000],
  ['the machine sleeps: the monotonic clock stands still', 61_000, 1_000],
  ['someone sets the wall clock back', -3_600_000, 61_000],
])('a deadline passes when %s', (_, wall, monotonic) => {
  const { now, clock } = clocks()
  const deadline = new Deadline(clock, 60)
  expect(deadline.passed).toBe(false)
  now.wall += wall
  now.monotonic += monotonic
  expect(deadline.passed).toBe(true)
  expect(deadline.leftMs).toBe(0)
})
