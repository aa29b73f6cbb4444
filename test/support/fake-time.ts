import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Need } from './needs.ts'

/** What LD_PRELOAD takes to give a process another clock (faketime(1)). */
export const fakeTime = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib']
  .map(folder => path.join(folder, 'faketime', 'libfaketime.so.1'))
  .find(existsSync)

export const fakeClock: Need = {
  name: 'libfaketime',
  missing: fakeTime === undefined ? 'apt-get install faketime' : undefined,
}
