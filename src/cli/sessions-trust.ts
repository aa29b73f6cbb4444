import { readFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { readState, updateState } from '../config/private-file.ts'
import { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { readManifest } from '../recording/manifest.ts'
import { publicKeyOf } from '../recording/session-key.ts'
import type { Copies } from '../recording/sync/copies.ts'
import { receiptSchema, type Receipt } from '../recording/witness/receipt.ts'
import type { Trust } from '../recording/witness/witness-check.ts'
import { brokerClient, brokerHere } from './broker-client.ts'
import type { Io } from './command.ts'

/** Public keys by the address of the broker that showed them, the latest last. */
const knownKeys = z.record(z.string(), z.array(z.string()).max(100))
const before = 2 * 60_000
/** Receipts for what was cut off lie behind what is left. */
const after = 24 * 3_600_000

/** Remembers the key of a broker that has just granted a session: by it what it witnessed is verified later. */
export function rememberWitness(paths: Paths, broker: string, key: string): void {
  updateState(paths.witnessKeysFile, knownKeys, {}, known => {
    const keys = known[broker] ?? []
    const content = keys.includes(key) ? known : { ...known, [broker]: [...keys.slice(-99), key] }
    return { content, result: undefined }
  })
}

/** Whose receipts count, and where they are asked for. */
export class Witnesses {
  readonly #keys: readonly string[]
  readonly #required: boolean
  readonly #io: Io
  readonly #copies: Copies | null

  /** @param keyFile the broker's public key: nothing is then believed that it has not certified. @throws AgentgateError */
  constructor(keyFile: string | undefined, copies: Copies | null, io: Io) {
    this.#io = io
    this.#copies = copies
    this.#required = keyFile !== undefined
    this.#keys =
      keyFile === undefined
        ? Object.values(readState(new Paths(io.env).witnessKeysFile, knownKeys, {})).flat()
        : [keyIn(keyFile, io)]
  }

  /** What the broker that is named here, and the bucket, say of a session. What cannot be asked is said on stderr. */
  async trustFor(session: string, folder: string): Promise<Trust> {
    const receipts = [...(await this.#fromBroker(session)), ...(await this.#fromBucket(session, folder))]
    return { keys: this.#keys, receipts, required: this.#required }
  }

  /** Sessions of which a broker in `keys` gave receipts, all of them. */
  async all(): Promise<readonly Receipt[]> {
    const receipts = (await this.#copies?.receipts(null, 0, Infinity)) ?? []
    return receipts.filter(({ key }) => this.#keys.includes(key))
  }

  async #fromBroker(session: string): Promise<readonly Receipt[]> {
    const at = brokerHere(this.#io)
    if (at === undefined) return []
    try {
      const found = await (await brokerClient(at, this.#io)).receipts(session)
      return z.array(receiptSchema).parse(found)
    } catch (error) {
      if (!(error instanceof AgentgateError)) throw error
      if (error.code !== 'NO_SUCH_SESSION')
        this.#io.stderr.write(`warning: the broker was not asked what it has witnessed: ${error.message}\n`)
      return []
    }
  }

  async #fromBucket(session: string, folder: string): Promise<readonly Receipt[]> {
    if (this.#copies === null) return []
    const read = await readManifest(folder)
    const start = read.kind === 'read' ? read.manifest.start : null
    // The broker's clock, not the recorder's: that may say what it likes.
    const since = start?.certificate?.at ?? null
    if (read.kind !== 'read' || since === null) return await this.#copies.receipts(session, 0, Infinity)
    return await this.#copies.receipts(session, since - before, Math.max(read.manifest.lastAt, since) + after)
  }
}

function keyIn(file: string, io: Io): string {
  let text: string
  try {
    text = readFileSync(path.resolve(io.cwd, file), 'utf8')
  } catch (cause) {
    throw new AgentgateError('USAGE', `${file} cannot be read`, { hint: `agentgate broker key > ${file}`, cause })
  }
  const key = publicKeyOf(text)
  if (key === undefined)
    throw new AgentgateError('USAGE', `${file} holds no public key of a broker`, {
      hint: `agentgate broker key > ${file}`,
    })
  return key
}
