import { describe, expect, it } from 'vitest'
import { parseDuration, showCountdown, showDuration, showUntil } from './duration.ts'

describe('parseDuration', () => {
  it.each([
    ['90s', 90],
    ['30m', 1800],
    ['1h30m', 5400],
    ['2d', 172_800],
    ['0s', undefined],
    ['1', undefined],
    ['-1h', undefined],
    ['1h ', undefined],
    ['forever', undefined],
  ])('%s is %s', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds)
  })
})

describe('times as people read them', () => {
  it.each([
    [400, '0 s'],
    [41_000, '41 s'],
    [58 * 60_000 + 59_000, '58 min'],
    [65 * 60_000, '1 h 5 min'],
    [24 * 3_600_000, '1 d'],
    [26 * 3_600_000, '1 d 2 h'],
  ])('%d ms is %s', (milliseconds, shown) => {
    expect(showDuration(milliseconds)).toBe(shown)
  })

  it('counts down to nothing and never below', () => {
    expect(showCountdown(588_000)).toBe('9:48')
    expect(showCountdown(1)).toBe('0:01')
    expect(showCountdown(-5000)).toBe('0:00')
    expect(showCountdown(3_723_000)).toBe('1:02:03')
  })

  it('names the day where it is not today', () => {
    const now = new Date(2026, 10, 21, 23, 30)
    expect(showUntil(new Date(2026, 10, 21, 23, 59), now)).toBe('23:59')
    expect(showUntil(new Date(2026, 10, 22, 2, 10), now)).toBe('tomorrow 02:10')
    expect(showUntil(new Date(2026, 10, 24, 2, 10), now)).toBe('24 Nov 02:10')
  })
})
