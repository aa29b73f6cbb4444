import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { AgentgateError, errorCodes } from './errors.ts'
import { Secret } from './secret.ts'

test('docs/errors.md lists every code with its exit code, and no other', () => {
  const text = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8')
  const listed = [...text.matchAll(/^\| `([A-Z_]+)` \| (\d+) \|/gm)].map(([, code, exit]) => [code, Number(exit)])
  expect(Object.fromEntries(listed)).toEqual(errorCodes)
})

test('an error keeps its own exit code where one is given', () => {
  expect(new AgentgateError('DENIED', 'no').exitCode).toBe(4)
  expect(new AgentgateError('DENIED', 'no', { exitCode: 124 }).exitCode).toBe(124)
})

test('a secret shows in no string, JSON or inspection', () => {
  const secret = new Secret('hunter2')
  for (const shown of [String(secret), JSON.stringify({ secret }), inspect({ deep: { secret } }), [secret].join()]) {
    expect(shown).not.toContain('hunter2')
    expect(shown).toContain('[secret]')
  }
  expect(secret.reveal()).toBe('hunter2')
  expect(secret.equals('hunter2')).toBe(true)
  expect(secret.equals('hunter')).toBe(false)
})
