import { constants } from 'node:fs'
import fs from 'node:fs/promises'
import type { FileSinkSettings } from '../../policy/audit-settings.ts'
import { systemWord } from '../../recording/failure.ts'
import type { Queued } from '../outbox-reader.ts'
import { SinkFailed, type Sink } from './sink.ts'

/** JSON lines at the end of a file, which is opened anew for each batch: whoever rotates it has only to rename it. */
export function fileSink({ file }: FileSinkSettings): Sink {
  return {
    place: file,
    limits: { events: 1000, bytes: 1 << 20 },
    close: () => undefined,
    send: async events => {
      try {
        await append(file, events)
      } catch (error) {
        if (error instanceof SinkFailed) throw error
        throw new SinkFailed('refused', `cannot write ${file}: ${systemWord(error)}`)
      }
    },
  }
}

async function append(file: string, events: readonly Queued[]): Promise<void> {
  // O_NONBLOCK: a FIFO without a reader is refused below and not waited for.
  const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const handle = await fs.open(file, flags, 0o600)
  try {
    const { size, mode } = await handle.stat()
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw new SinkFailed('refused', `${file} is not a file`)
    if ((mode & 0o022) !== 0)
      throw new SinkFailed('refused', `${file} can be written by other users: chmod go-w ${file}`)
    // A full disk may have taken half a line from us, or from another.
    const before = Buffer.alloc(1)
    if (size > 0) await handle.read(before, 0, 1, size - 1)
    const start = size > 0 && before[0] !== 10 ? '\n' : ''
    await handle.writeFile(`${start}${events.map(({ event }) => `${JSON.stringify(event)}\n`).join('')}`)
    await handle.datasync()
  } finally {
    await handle.close()
  }
}
