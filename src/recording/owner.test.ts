import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/recording/sample.ts'
import { until } from '../../test/support/processes.ts'
import { claim, heartbeat, isNew, ownerAlive, ownerName, release } from './owner.ts'

const minute = 60_000

function owned(folder: string, change: Record<string, unknown> = {}): void {
  const file = path.join(folder, ownerName)
  if (!fs.existsSync(file)) claim(folder)
  const owner = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>
  fs.writeFileSync(file, JSON.stringify({ ...owner, ...change }))
}

/** How long after its last sign of life an owner counts as gone; undefined: not within a month. */
function goneAfter(folder: string): string {
  const now = Date.now()
  const at = (milliseconds: number) => ownerAlive(folder, now + milliseconds)
  if (!at(0)) return 'at once'
  if (!at(3 * minute)) return 'minutes'
  if (!at(20 * minute)) return 'a quarter of an hour'
  return at(30 * 24 * 60 * minute) ? 'never' : 'a day'
}

/** The number of a process that has ended. */
async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ['-e', ''])
  const { pid } = child
  await new Promise(resolve => child.on('close', resolve))
  return pid ?? 0
}

describe.runIf(process.platform === 'linux')('whether a session is still being recorded', () => {
  it('this process: as long as it lives', () => {
    using folder = temporaryFolder()
    claim(folder.path)
    expect(goneAfter(folder.path)).toBe('never')
  })

  it('a process that has ended: not at all', async () => {
    using folder = temporaryFolder()
    owned(folder.path, { pid: await deadPid() })
    expect(goneAfter(folder.path)).toBe('at once')
  })

  it('a process that was killed and that nobody has waited for: not at all', async () => {
    using folder = temporaryFolder()
    // sleep, which the shell becomes, never waits for the child that the shell had.
    const parent = spawn('sh', ['-c', 'sleep 600 & echo $!; exec sleep 600'], { stdio: ['ignore', 'pipe', 'ignore'] })
    const [text] = (await once(parent.stdout, 'data')) as [Buffer]
    const pid = Number(text.toString())
    const stat = () => fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')
    owned(folder.path, { pid, started: Number(stat()[21]) })
    expect(goneAfter(folder.path)).toBe('never')
    process.kill(pid, 'SIGKILL')
    await until('a zombie', () => stat()[2] === 'Z')
    expect(goneAfter(folder.path)).toBe('at once')
    parent.kill()
  })

  it('a number that another process has now: not at all', () => {
    using folder = temporaryFolder()
    owned(folder.path, { started: 1 })
    expect(goneAfter(folder.path)).toBe('at once')
  })

  it('the machine was restarted since: minutes, as its clock may have moved', () => {
    using folder = temporaryFolder()
    owned(folder.path, { boot: 'another' })
    expect(goneAfter(folder.path)).toBe('minutes')
  })

  it('another container of this machine, whose processes cannot be seen', () => {
    using folder = temporaryFolder()
    owned(folder.path, { namespace: 'pid:[1]', machine: 'another' })
    expect(goneAfter(folder.path)).toBe('a quarter of an hour')
  })

  it('another machine on a shared disk: a day, as it may sleep over night', () => {
    using folder = temporaryFolder()
    owned(folder.path, { boot: 'another', machine: 'another' })
    expect(goneAfter(folder.path)).toBe('a day')
  })

  it.each(['', '{', '{"pid":0}', 'null'])('an owner that says %j, as one that is just being written', text => {
    using folder = temporaryFolder()
    fs.writeFileSync(path.join(folder.path, ownerName), text)
    expect(goneAfter(folder.path)).toBe('minutes')
  })

  it('nobody says so: not, but it may just begin', () => {
    using folder = temporaryFolder()
    claim(folder.path)
    release(folder.path)
    expect(goneAfter(folder.path)).toBe('at once')
    expect(isNew(folder.path, Date.now())).toBe(true)
    expect(isNew(folder.path, Date.now() + 2 * minute)).toBe(false)
  })

  it('a heartbeat is a sign of life', () => {
    using folder = temporaryFolder()
    owned(folder.path, { boot: 'another', machine: 'another' })
    const file = path.join(folder.path, ownerName)
    const old = new Date(Date.now() - 48 * 60 * minute)
    fs.utimesSync(file, old, old)
    expect(ownerAlive(folder.path, Date.now())).toBe(false)
    heartbeat(folder.path)
    expect(ownerAlive(folder.path, Date.now())).toBe(true)
  })
})
