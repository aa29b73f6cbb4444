import os from 'node:os'
import v8 from 'node:v8'
import vm from 'node:vm'
import { parentPort } from 'node:worker_threads'
import { compressHere } from './compress.ts'
import { seal } from './seal.ts'
import type { SealReply, SealRequest } from './sealer.ts'

// Linux keeps a priority for each thread, and 0 is the calling one (setpriority(2), "C library/kernel differences"): sealing
// takes what those who serve clients leave. Elsewhere it would be the whole process.
if (process.platform === 'linux') {
  try {
    os.setPriority(0, os.constants.priority.PRIORITY_BELOW_NORMAL)
  } catch {
    // A container may forbid it; sealing works all the same.
  }
}

// Each journal is megabytes outside the heap, of which V8 lets 64 MB gather before it looks; this thread has time to look.
v8.setFlagsFromString('--expose-gc')
const collect = vm.runInNewContext('gc') as () => void

let last: Promise<void> = Promise.resolve()

parentPort?.on('message', (request: SealRequest) => {
  last = last.then(async () => {
    parentPort?.postMessage(await reply(request))
    collect()
  })
})

async function reply(request: SealRequest): Promise<SealReply> {
  try {
    return { id: request.id, sealed: await seal(request, compressHere) }
  } catch (error) {
    const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
    return { id: request.id, error: error instanceof Error ? error.message : 'unknown', code }
  }
}
