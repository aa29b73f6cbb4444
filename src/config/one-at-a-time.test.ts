import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { oneAtATime } from './one-at-a-time.ts'

let folder: string
let lock: string
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-test-lock-'))
  lock = path.join(folder, 'lock')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const many = async (count: number) => {
  let inside = 0
  let most = 0
  const work = async () => {
    most = Math.max(most, ++inside)
    for (let each = 0; each < 5; each++) await turn()
    inside -= 1
  }
  await Promise.all(Array.from({ length: count }, async () => await oneAtATime(lock, work)))
  return most
}

test('one at a time, and nothing is left', async () => {
  expect(await many(8)).toBe(1)
  expect(readdirSync(folder)).toEqual([])
})

test('what a dead process left is taken over at once, by one', async () => {
  const { pid } = spawnSync('true')
  writeFileSync(lock, `${pid} x`)
  expect(await many(8)).toBe(1)
  expect(readdirSync(folder)).toEqual([])
})

test('what is older than anybody works is taken over', async () => {
  writeFileSync(lock, `${process.pid} x`)
  const longAgo = new Date(Date.now() - 3_600_000)
  utimesSync(lock, longAgo, longAgo)
  expect(await many(3)).toBe(1)
})

test('what throws lets the next one in', async () => {
  await expect(oneAtATime(lock, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(existsSync(lock)).toBe(false)
})
