import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Pacer } from './pacer.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** How long a wait takes, with things done to it meanwhile. */
async function waited(pacer: Pacer, milliseconds: number, meanwhile: Record<number, () => void> = {}): Promise<number> {
  const state = { done: false }
  void pacer.wait(milliseconds).then(() => (state.done = true))
  for (let passed = 0; passed <= 100_000; passed += 10) {
    meanwhile[passed]?.()
    await vi.advanceTimersByTimeAsync(0)
    if (state.done) return passed
    await vi.advanceTimersByTimeAsync(10)
  }
  return Infinity
}

describe('pacer', () => {
  it.each([
    ['as it happened', 1, 2000, 500, 500],
    ['four times as fast', 4, 2000, 2000, 500],
    ['at half the speed', 0.5, 2000, 500, 1000],
    ['no longer than the longest idle time', 1, 2000, 60_000, 2000],
    ['the longest idle time is what one waits, at any speed', 4, 2000, 60_000, 2000],
    ['not at all where the clock went back', 1, 2000, -500, 0],
  ])('%s', async (_, speed, maxIdle, recorded, expected) => {
    expect(await waited(new Pacer(speed, maxIdle), recorded)).toBe(expected)
  })

  it('a pause holds the rest of the wait', async () => {
    const pacer = new Pacer(1, 10_000)
    const toggle = () => {
      pacer.togglePause()
    }
    expect(await waited(pacer, 1000, { 400: toggle, 3400: toggle })).toBe(4000)
  })

  it('a pause between events holds the next', async () => {
    const pacer = new Pacer(1, 10_000)
    pacer.togglePause()
    expect(await waited(pacer, 0, { 700: () => pacer.togglePause() })).toBe(700)
  })

  it('the speed changes in the middle of a wait', async () => {
    const pacer = new Pacer(1, 10_000)
    expect(await waited(pacer, 1000, { 500: () => pacer.changeSpeed(2) })).toBe(750)
  })

  it('skipping goes to the next event, also in a pause', async () => {
    const pacer = new Pacer(1, 100_000)
    expect(await waited(pacer, 60_000, { 100: () => pacer.skip() })).toBe(100)
    pacer.togglePause()
    expect(await waited(pacer, 60_000, { 100: () => pacer.skip() })).toBe(100)
  })

  it('once stopped nothing waits', async () => {
    const pacer = new Pacer(1, 100_000)
    expect(await waited(pacer, 60_000, { 100: () => pacer.stop() })).toBe(100)
    expect(await waited(pacer, 60_000)).toBe(0)
  })
})
