import { randomBytes } from 'node:crypto'
import { linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasErrno } from '../errors.ts'

/** Nobody holds it for so long: what is older was left by a process whose number somebody else has by now. */
const staleMs = 60_000
const lookEveryMs = 50

/** One process at a time, by a file that names its holder; what a dead one left is taken over by one of those who wait. */
export async function oneAtATime<Result>(lock: string, work: () => Promise<Result>): Promise<Result> {
  const own = `${process.pid} ${randomBytes(8).toString('hex')}`
  while (!taken(lock, own)) {
    const holder = read(lock)
    if (holder !== undefined && isLeft(lock, holder)) takeAway(lock, holder)
    else await sleep(lookEveryMs)
  }
  try {
    return await work()
  } finally {
    if (read(lock) === own) rmSync(lock, { force: true })
  }
}

function taken(lock: string, own: string): boolean {
  try {
    writeFileSync(lock, own, { flag: 'wx', mode: 0o600 })
    return true
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return false
    throw error
  }
}

/** By its name: of several who do this only one has it, and one that took another's new one by mistake gives it back. */
function takeAway(lock: string, holder: string): void {
  const aside = `${lock}.${randomBytes(6).toString('hex')}`
  try {
    renameSync(lock, aside)
  } catch {
    return // somebody else was first
  }
  try {
    if (read(aside) !== holder) linkSync(aside, lock)
  } catch {
    // There is a newer one already.
  } finally {
    rmSync(aside, { force: true })
  }
}

function isLeft(lock: string, holder: string): boolean {
  const pid = Number(holder.split(' ')[0])
  // It may be about to be written.
  if (Number.isInteger(pid) && pid > 0 && !isAlive(pid)) return true
  try {
    return Date.now() - statSync(lock).mtimeMs > staleMs
  } catch {
    return false // gone meanwhile: the next try takes it
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !hasErrno(error, 'ESRCH')
  }
}

function read(lock: string): string | undefined {
  try {
    return readFileSync(lock, 'utf8')
  } catch {
    return undefined
  }
}
