/**
 * Writes and, where whoever reads is slow, waits: a recording may be larger than memory. Does not listen for errors, as
 * the program ends by itself once nobody reads it any more, and only where nobody else listens (main.ts).
 */
export async function write(stream: NodeJS.WritableStream, text: string | Buffer): Promise<void> {
  if (stream.write(text)) return
  await new Promise<void>(resolve => {
    const go = () => {
      stream.off('drain', go)
      stream.off('close', go)
      resolve()
    }
    stream.on('drain', go)
    stream.on('close', go)
  })
}
