import { promisify } from 'node:util'
import zlib from 'node:zlib'
import { decompress as zstdInJavaScript } from 'fzstd'
import type { Codec } from './format.ts'

/** In Node.js since 22.15 and 23.8; the types here are those of 20. */
interface Zstd {
  readonly zstdCompress: (bytes: Uint8Array, options: object, done: (error: Error | null, out: Buffer) => void) => void
  readonly zstdCompressSync: (bytes: Uint8Array, options: object) => Buffer
  readonly zstdDecompressSync: (bytes: Uint8Array, options: object) => Buffer
  readonly createZstdDecompress: (options: object) => zlib.BrotliDecompress
  readonly constants: { readonly ZSTD_c_compressionLevel: number; readonly ZSTD_d_windowLogMax: number }
}
const zstd = 'zstdCompressSync' in zlib ? (zlib as unknown as Zstd) : undefined

/** One call a megabyte instead of one for every 16 kB. */
const chunkSize = 1024 * 1024
/** What a reader allows for a window, whatever the file asks: 2^27 covers a segment of the greatest size. */
const windowBits = 27

const brotliOptions = {
  chunkSize,
  params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1, [zlib.constants.BROTLI_PARAM_LGWIN]: 20 },
}
const zstdOptions = zstd && { chunkSize, params: { [zstd.constants.ZSTD_c_compressionLevel]: 1 } }

/** What this Node.js writes: both are read by every one. */
export const ownCodec: Codec = zstd ? 'zstd' : 'brotli'

/** Compresses on this thread: for a worker, whose low priority then holds. */
export function compressHere(raw: Buffer): Buffer {
  return zstd && zstdOptions ? zstd.zstdCompressSync(raw, zstdOptions) : zlib.brotliCompressSync(raw, brotliOptions)
}

/** Compresses on Node's thread pool. */
export async function compressAside(raw: Buffer): Promise<Buffer> {
  return zstd && zstdOptions
    ? await promisify(zstd.zstdCompress)(raw, zstdOptions)
    : await promisify<Uint8Array, object, Buffer>(zlib.brotliCompress)(raw, brotliOptions)
}

/** Undoes a payload that claims to hold `raw` bytes, in no more memory than that. Throws whatever the codec throws. */
export function decompress(codec: Codec, payload: Buffer, raw: number): Buffer {
  // An output of exactly `raw` bytes is legal; one byte more is not.
  const options = { chunkSize, maxOutputLength: raw + 1 }
  if (codec === 'brotli') return zlib.brotliDecompressSync(payload, options)
  if (zstd)
    return zstd.zstdDecompressSync(payload, {
      ...options,
      params: { [zstd.constants.ZSTD_d_windowLogMax]: windowBits },
    })
  const out = Buffer.alloc(raw)
  zstdInJavaScript(payload, out)
  return out
}

/** What can be had of a payload that does not decompress to its end. */
export async function salvage(codec: Codec, payload: Buffer, raw: number): Promise<Buffer> {
  if (codec === 'zstd' && !zstd) {
    const out = Buffer.alloc(raw)
    try {
      zstdInJavaScript(payload, out)
    } catch {
      // What was written before the fault is there, and each record in it carries a check.
    }
    return out
  }
  const stream = codec === 'brotli' || !zstd ? zlib.createBrotliDecompress() : zstd.createZstdDecompress({})
  const pieces: Buffer[] = []
  let size = 0
  stream.end(payload)
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) {
      pieces.push(piece)
      size += piece.length
      if (size > raw) break
    }
  } catch {
    // As above.
  }
  return Buffer.concat(pieces).subarray(0, raw)
}
