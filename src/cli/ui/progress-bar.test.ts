import { describe, expect, it } from 'vitest'
import { progressLine } from './progress-bar.ts'

describe('a progress bar', () => {
  it.each([
    [{ done: 0, total: 200e6 }, 2, 's_1  ░░░░░░░░░░░░░░░░░░░░  0.0 of 200 MB'],
    [{ done: 50e6, total: 200e6 }, 10, 's_1  █████░░░░░░░░░░░░░░░  50 of 200 MB  30 s left'],
    [{ done: 1e6, total: 200e6 }, 10, 's_1  ░░░░░░░░░░░░░░░░░░░░  1.0 of 200 MB  34 min left'],
    [{ done: 200e6, total: 200e6 }, 10, 's_1  ████████████████████  200 of 200 MB  0 s left'],
    [{ done: 0, total: 0 }, 10, 's_1  ████████████████████  0.0 of 0.0 MB'],
  ])('%j after %d s', (amount, seconds, line) => {
    expect(progressLine({ label: 's_1', ...amount }, seconds, 80)).toBe(line)
  })

  it('fits the terminal, and nothing in it acts on it', () => {
    const line = progressLine({ label: 'a\u001b[2J', done: 1, total: 2 }, 1, 20)
    expect(line).toHaveLength(19)
    expect(line).not.toContain('\u001b')
  })
})
