import fs from 'node:fs/promises'
import path from 'node:path'
import { parseJson } from '../bounded-json.ts'
import { readRegular } from '../regular-file.ts'
import { receiptSchema, type Receipt } from './receipt.ts'

export const receiptsName = 'receipts.jsonl'
/** A receipt each five seconds for a month. */
const maxReceiptsBytes = 256 * 1024 * 1024
const maxLineBytes = 4096

/** What a recording's folder, or a place of receipts, says that a witness has seen. */
export interface FoundReceipts {
  readonly receipts: readonly Receipt[]
  /** Lines that are none; the last one may have been cut by a crash and is not among them. */
  readonly damaged: number
}

/** Copies in a bucket have their content's digest in their name. */
const copyPattern = /^receipts(-[0-9a-f]{16})?\.jsonl$/
const maxCopies = 100

export async function readReceipts(folder: string): Promise<FoundReceipts> {
  const receipts: Receipt[] = []
  let damaged = 0
  const names = (await fs.readdir(folder).catch(() => [])).filter(isReceiptsName)
  for (const name of names.slice(0, maxCopies)) {
    const content = await readRegular(path.join(folder, name), maxReceiptsBytes)
    if (content.kind === 'none') continue
    const found = content.kind === 'read' ? parseReceipts(content.bytes) : { receipts: [], damaged: 1 }
    for (const receipt of found.receipts) receipts.push(receipt)
    damaged += found.damaged
  }
  return { receipts, damaged }
}

export function isReceiptsName(name: string): boolean {
  return copyPattern.test(name)
}

/** JSON lines, of whatever origin. */
export function parseReceipts(bytes: Buffer): FoundReceipts {
  const receipts: Receipt[] = []
  let damaged = 0
  for (let from = 0; from < bytes.length;) {
    const end = bytes.indexOf(10, from)
    if (end < 0) break // half a line: the process died as it wrote
    const line = bytes.subarray(from, end)
    const parsed = receiptSchema.safeParse(line.length > maxLineBytes ? undefined : parseJson(line))
    if (parsed.success) receipts.push(parsed.data)
    else damaged += 1
    from = end + 1
  }
  return { receipts, damaged }
}

/** In one write, so that a crash cuts the last line at most. */
export async function appendReceipt(folder: string, receipt: Receipt): Promise<void> {
  await fs.appendFile(path.join(folder, receiptsName), `${JSON.stringify(receipt)}\n`, { mode: 0o600 })
}
