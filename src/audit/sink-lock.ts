import fs from 'node:fs'
import path from 'node:path'
import { privateFolder } from '../config/private-file.ts'
import { hasErrno } from '../errors.ts'
import { claim, heartbeat, ownerAlive, release } from '../recording/owner.ts'

/**
 * Of the processes that could deliver to a sink, one does. Two would do no harm but send twice: the cursor is compared and
 * set.
 */
export class SinkLock {
  readonly #folder: string
  #held = false

  constructor(outbox: string, sink: string) {
    this.#folder = path.join(outbox, `lock-${sink}`)
  }

  acquire(): boolean {
    if (this.#held) {
      heartbeat(this.#folder)
      return true
    }
    privateFolder(this.#folder)
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        claim(this.#folder)
        this.#held = true
        return true
      } catch (error) {
        if (!hasErrno(error, 'EEXIST')) throw error
        if (ownerAlive(this.#folder, Date.now())) return false
        fs.rmSync(path.join(this.#folder, 'owner.json'), { force: true })
      }
    }
    return false
  }

  release(): void {
    if (this.#held) release(this.#folder)
    this.#held = false
  }
}
