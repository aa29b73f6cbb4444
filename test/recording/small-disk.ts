import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

/** A file system of its own that is soon full; undefined where this user cannot have one. */
export function smallDisk(folder: string, size: string): SmallDisk | undefined {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  const ballast = path.join(folder, 'ballast')
  return {
    fill: (but = 0) => {
      const descriptor = fs.openSync(ballast, 'a')
      try {
        // To the last byte: what comes after has no room at all.
        for (const piece of [65_536, 4096, 1])
          try {
            for (;;) fs.writeSync(descriptor, Buffer.alloc(piece))
          } catch (error) {
            if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
          }
        if (but > 0) fs.ftruncateSync(descriptor, fs.fstatSync(descriptor).size - but)
      } finally {
        fs.closeSync(descriptor)
      }
    },
    empty: () => fs.rmSync(ballast, { force: true }),
    grow: to => void execFileSync('mount', ['-o', `remount,size=${to}`, folder]),
    [Symbol.dispose]: () => void execFileSync('umount', ['-l', folder]),
  }
}

export interface SmallDisk extends Disposable {
  /** Leaves so many bytes. */
  fill(but?: number): void
  empty(): void
  grow(to: string): void
}
