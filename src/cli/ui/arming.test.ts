import { describe, expect, it } from 'vitest'
import { Arming } from './arming.ts'

function clock() {
  const time = { now: 1000 }
  return { time, arming: new Arming(() => time.now) }
}

describe('Arming', () => {
  it('accepts nothing before the question has been drawn', () => {
    const { time, arming } = clock()
    arming.ask()
    time.now += 60_000
    expect(arming.accept()).toBe(false)
  })

  it('accepts after a quiet while on screen', () => {
    const { time, arming } = clock()
    arming.ask()()
    time.now += 499
    expect(arming.armed).toBe(false)
    time.now += 1
    expect(arming.accept()).toBe(true)
  })

  it('starts anew with every key that comes too early', () => {
    const { time, arming } = clock()
    arming.ask()()
    for (let index = 0; index < 20; index++) {
      time.now += 300 // someone is typing something else
      expect(arming.accept()).toBe(false)
    }
    time.now += 500
    expect(arming.accept()).toBe(true)
  })

  it('does not take an earlier question’s drawing for this one’s', () => {
    const { time, arming } = clock()
    const first = arming.ask()
    arming.ask()
    first()
    time.now += 10_000
    expect(arming.accept()).toBe(false)
  })

  it('is disturbed by what cannot be an answer', () => {
    const { time, arming } = clock()
    arming.ask()()
    time.now += 400
    arming.disturb()
    time.now += 400
    expect(arming.accept()).toBe(false)
  })
})
