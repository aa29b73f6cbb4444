import { once } from 'node:events'

/** Writes and, where whoever reads is slow, waits: a recording may be larger than memory. */
export async function write(stream: NodeJS.WritableStream, text: string | Buffer): Promise<void> {
  if (!stream.write(text)) await once(stream, 'drain')
}
