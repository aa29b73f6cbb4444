import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { hasErrno } from '../../errors.ts'

const prefix = 'x_'

/** A folder for one child; those that dead processes left are removed. */
export function makeScratch(root: string): string {
  for (const name of readdirSync(root)) {
    const pid = new RegExp(`^${prefix}(\\d+)_`).exec(name)?.[1]
    if (pid !== undefined && !runs(Number(pid))) rmSync(path.join(root, name), { recursive: true, force: true })
  }
  return mkdtempSync(path.join(root, `${prefix}${process.pid}_`))
}

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return !hasErrno(error, 'ESRCH')
  }
}
