import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, it } from 'vitest'
import { readPs } from './process-tree.ts'

it('reads what ps says of processes, where there is no /proc', async () => {
  const child = spawn('sleep', ['60'], { detached: true })
  await once(child, 'spawn')
  const all = readPs(execFileSync('ps', ['-axo', 'pid=,ppid=,pgid=,stat='], { encoding: 'utf8' }))
  expect(all.find(({ pid }) => pid === child.pid)).toMatchObject({
    parent: process.pid,
    session: child.pid,
    zombie: false,
  })
  child.kill('SIGKILL')
  await once(child, 'exit')
})
