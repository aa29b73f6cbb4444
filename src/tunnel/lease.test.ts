import { expect, it } from 'vitest'
import type { Clock } from './clock.ts'
import { Lease } from './lease.ts'

class FakeClock implements Clock {
  wallMs = Date.parse('2026-11-21T12:00:00Z')
  steadyMs = 0
  wall(): number {
    return this.wallMs
  }
  monotonic(): number {
    return this.steadyMs
  }
  /** Time as it passes. */
  pass(seconds: number): void {
    this.wallMs += seconds * 1000
    this.steadyMs += seconds * 1000
  }
  /** Sleep, or somebody who sets the clock. */
  jump(seconds: number): void {
    this.wallMs += seconds * 1000
  }
}

function led(seconds: number) {
  const clock = new FakeClock()
  const lease = new Lease(clock, seconds)
  lease.sync(seconds)
  return { clock, lease }
}

it('ends by its own clocks where no broker says otherwise', () => {
  const clock = new FakeClock()
  const lease = new Lease(clock, 60)
  clock.jump(61)
  expect(lease.refusal()).toMatchObject({ code: 'EXPIRED' })
})

it('lets nothing start after a jump until the broker has said what is left', () => {
  const { clock, lease } = led(3600)
  clock.jump(2 * 3600)
  expect(lease.refusal()).toMatchObject({ code: 'BROKER_UNREACHABLE' })
  lease.sync(3599)
  expect(lease.refusal()).toBeUndefined()
  clock.pass(3600)
  expect(lease.refusal()).toMatchObject({ code: 'EXPIRED' })
})

it('is over once the broker says so, whatever the clocks here say', () => {
  const { clock, lease } = led(3600)
  clock.jump(-5 * 3600)
  expect(lease.refusal()).toBeUndefined()
  lease.sync(0)
  expect(lease.refusal()).toMatchObject({ code: 'EXPIRED' })
  lease.sync(3600)
  expect(lease.refusal()).toMatchObject({ code: 'EXPIRED' }) // what is over stays so
})

it('is over where the broker says nothing after a sleep', () => {
  const { clock, lease } = led(600)
  clock.jump(1000)
  expect(lease.refusal()).toMatchObject({ code: 'BROKER_UNREACHABLE' })
  clock.pass(11)
  expect(lease.refusal()).toMatchObject({ code: 'EXPIRED' })
})

it('runs out by the steady clock though the other was set back', () => {
  const { clock, lease } = led(60)
  clock.jump(-3600)
  clock.pass(60)
  expect(lease.refusal()).toMatchObject({ code: 'EXPIRED' })
})
