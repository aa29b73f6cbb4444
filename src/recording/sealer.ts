import fs from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { AgentgateError } from '../errors.ts'
import { compressAside } from './compress.ts'
import { seal, type Sealed, type SealJob } from './seal.ts'

/** Seals journals one after another, away from the thread that serves clients. */
export interface Sealer {
  seal(job: SealJob): Promise<Sealed>
  close(): Promise<void>
}

export interface SealRequest extends SealJob {
  readonly id: number
}

export type SealReply =
  | { readonly id: number; readonly sealed: Sealed }
  | { readonly id: number; readonly error: string; readonly code: string | undefined }

/** A worker where the bundle has one; in the sources (tests) Node's thread pool compresses. */
export function openSealer(): Sealer {
  const worker = workerFile()
  return worker === undefined ? new LocalSealer() : new WorkerSealer(worker)
}

/** Beside the bundle's entry, whose chunks are one folder further down. */
function workerFile(): URL | undefined {
  for (const place of ['./seal-worker.js', '../seal-worker.js']) {
    const url = new URL(place, import.meta.url)
    if (url.protocol === 'file:' && fs.existsSync(fileURLToPath(url))) return url
  }
  return undefined
}

export class LocalSealer implements Sealer {
  #last: Promise<unknown> = Promise.resolve()

  seal(job: SealJob): Promise<Sealed> {
    const sealed = this.#last.then(async () => await seal(job, compressAside))
    this.#last = sealed.catch(() => undefined) // whoever asked is told
    return sealed
  }

  async close(): Promise<void> {
    await this.#last
  }
}

interface Waiting {
  readonly resolve: (sealed: Sealed) => void
  readonly reject: (error: Error) => void
}

/** One thread that lives as long as there is something to seal, or until close. */
export class WorkerSealer implements Sealer {
  readonly #file: URL
  #worker: Worker | null = null
  readonly #waiting = new Map<number, Waiting>()
  #nextId = 1

  constructor(file: URL) {
    this.#file = file
  }

  seal(job: SealJob): Promise<Sealed> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++
      const worker = this.#running()
      this.#waiting.set(id, { resolve, reject })
      worker.ref() // the process must not end before what it was asked to seal is sealed
      worker.postMessage({ ...job, id } satisfies SealRequest)
    })
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
    this.#worker = null
  }

  #running(): Worker {
    if (this.#worker !== null) return this.#worker
    const worker = new Worker(this.#file, { name: 'agentgate-seal', env: {}, execArgv: [], stdin: false })
    this.#worker = worker
    worker.on('message', (reply: SealReply) => {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if (this.#waiting.size === 0) worker.unref()
      if ('sealed' in reply) waiting?.resolve(reply.sealed)
      else waiting?.reject(Object.assign(new Error(reply.error), { code: reply.code }))
    })
    const gone = (error: Error) => {
      if (this.#worker === worker) this.#worker = null
      for (const { reject } of this.#waiting.values()) reject(error)
      this.#waiting.clear()
    }
    worker.on('error', gone)
    worker.on('exit', () => gone(new AgentgateError('RECORDING_FAILED', 'the thread that seals recordings has ended')))
    return worker
  }
}
