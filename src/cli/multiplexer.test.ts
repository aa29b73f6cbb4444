import { spawn } from 'node:child_process'
import { copyFileSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { newFolder } from '../../test/support/folder.ts'
import { findMultiplexer } from './multiplexer.ts'

describe('findMultiplexer', () => {
  it.each([
    [{ TMUX: '/tmp/tmux-0/default,1,0' }, 'tmux'],
    [{ STY: '1234.pts-0.host' }, 'screen'],
    [{ ZELLIJ: '0' }, 'zellij'],
  ])('goes by %j', async (env, name) => {
    expect(await findMultiplexer(env)).toBe(name)
  })

  it.runIf(process.platform === 'linux')('finds one among the ancestors, whatever the environment says', async () => {
    // A shell by the name of tmux, and a process below it.
    const folder = newFolder('mux')
    const tmux = path.join(folder, 'tmux')
    copyFileSync('/bin/sh', tmux)
    const script = 'sh -c "echo \\$\\$; exec sleep 60" & wait'
    const child = spawn(tmux, ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'], detached: true })
    try {
      const [said] = (await once(child.stdout, 'data')) as [Buffer]
      expect(await findMultiplexer({}, Number(said.toString()))).toBe('tmux')
    } finally {
      if (child.pid !== undefined) process.kill(-child.pid)
      rmSync(folder, { recursive: true })
    }
  })

  it('takes what cannot be found out for one', async () => {
    expect(await findMultiplexer({}, 2 ** 30)).toBe(process.platform === 'linux' ? 'an unknown terminal' : undefined)
  })
})
