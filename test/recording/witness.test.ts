import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '../../src/broker/open-store.ts'
import type { Store } from '../../src/broker/store.ts'
import { Witness } from '../../src/broker/witness/witness.ts'
import { fileName } from '../../src/recording/format.ts'
import type { Recorder } from '../../src/recording/recorder.ts'
import { newSessionKey, type SessionKey } from '../../src/recording/session-key.ts'
import { verificationText } from '../../src/recording/verification-text.ts'
import { verifyRecording, type Verification } from '../../src/recording/verify.ts'
import { signHead, signReceipt, type Certificate, type Receipt } from '../../src/recording/witness/receipt.ts'
import { noTrust, type Trust } from '../../src/recording/witness/witness-check.ts'
import { witnessed } from '../../src/recording/witness/witnessed-recorder.ts'
import { recordStatement, sampleRecorder, sampleStart, temporaryFolder } from './sample.ts'

// A witness on a store of its own, whose clock the tests move; recordings of several segments that it countersigned.

let folder: ReturnType<typeof temporaryFolder>
let store: Store
let witness: Witness
let clock = Date.now()
let original: Seen
let other: Seen

interface Seen {
  readonly path: string
  readonly key: SessionKey
  readonly certificate: Certificate
  readonly receipts: readonly Receipt[]
}

/** Shows the witness where the chain is. */
async function show(recorder: Recorder, key: SessionKey, final = false): Promise<Receipt> {
  recorder.commit()
  const session = path.basename(recorder.path)
  const head = { session, ...recorder.head(), final }
  return await witness.countersign({ ...head, signature: signHead(head, key) })
}

async function record(): Promise<Seen> {
  const key = newSessionKey()
  const start = sampleStart()
  const { session } = start
  const certificate = await witness.certify({
    session,
    recordingKey: key.publicKey,
    principal: 'maria',
    actor: 'claude',
    host: 'laptop',
  })
  const recorder = sampleRecorder(folder.path, { start, key, certificate, limits: { segmentBytes: 1200 } })
  const receipts: Receipt[] = []
  for (let count = 1; count <= 4; count++) {
    recordStatement(recorder, `select ${count}`, Buffer.from(`row ${count}`))
    clock += 1000
    receipts.push(await show(recorder, key))
  }
  await recorder.close('done', 0)
  const head = { session, ...recorder.head(), final: true }
  receipts.push(await witness.countersign({ ...head, signature: signHead(head, key) }))
  put(recorder.path, receipts)
  return { path: recorder.path, key, certificate, receipts }
}

function put(at: string, receipts: readonly object[]): void {
  fs.writeFileSync(path.join(at, 'receipts.jsonl'), receipts.map(each => `${JSON.stringify(each)}\n`).join(''))
}

beforeAll(async () => {
  folder = temporaryFolder()
  store = await openStore({ file: path.join(folder.path, 'broker.db') })
  witness = await Witness.open(store.receipts, null, () => clock)
  original = await record()
  other = await record()
})
afterAll(async () => {
  await witness.close()
  await store.close()
  folder[Symbol.dispose]()
})

const trust = (more: Partial<Trust> = {}): Trust => ({
  keys: [witness.publicKey],
  receipts: original.receipts,
  required: true,
  ...more,
})

/** A copy of the recording, changed, as an auditor with the broker's key sees it. */
async function after(change: (at: string) => void, believing = trust()): Promise<Verification> {
  const at = path.join(folder.path, 'copy', path.basename(original.path))
  fs.rmSync(path.dirname(at), { recursive: true, force: true })
  fs.cpSync(original.path, at, { recursive: true })
  change(at)
  return await verifyRecording(at, Date.now() + 3_600_000, believing)
}

const text = (verification: Verification) => verificationText(verification, at => new Date(at).toISOString())
const problems = (verification: Verification) => verification.problems.map(problem => problem.text).join('; ')
const lastSegment = (at: string) =>
  fs
    .readdirSync(at)
    .filter(name => name.endsWith('.segment'))
    .sort()
    .at(-1) ?? ''

/** The same session recorded anew by whoever has its key: whole by itself. */
async function replaced(
  at: string,
  statements: readonly string[],
  key = original.key,
  more: object = {},
): Promise<void> {
  fs.rmSync(at, { recursive: true })
  const start = { ...sampleStart(original.certificate.session as never), ...more }
  const recorder = sampleRecorder(path.dirname(at), { start, key, certificate: original.certificate })
  for (const each of statements) recordStatement(recorder, each, Buffer.from('row'))
  await recorder.close('done', 0)
}

describe('what a witness has seen', () => {
  it('is said, to its end', async () => {
    const verification = await after(() => undefined)
    expect(verification).toMatchObject({
      result: 'whole',
      witness: { trusted: true, complete: true, unproven: null, late: [], receipts: 5, principal: 'maria' },
    })
    expect(text(verification)).toMatch(/, witnessed by broker \S{8} to its end, /)
  })

  it('counts from the recording’s own folder, or from elsewhere', async () => {
    expect(await after(() => undefined, trust({ receipts: [] }))).toMatchObject({ witness: { receipts: 5 } })
    expect(await after(at => fs.rmSync(path.join(at, 'receipts.jsonl')))).toMatchObject({ witness: { receipts: 5 } })
  })

  it('leaves seconds that it did not see, and they are named', async () => {
    const early = original.receipts.slice(0, 2)
    const verification = await after(at => put(at, early), trust({ receipts: [] }))
    expect(verification).toMatchObject({ result: 'whole', witness: { complete: false, receipts: 2 } })
    expect(verification.witness?.unproven?.events).toBe(verification.events - (early[1]?.sequence ?? 0))
    expect(text(verification)).toMatch(/\d+ events in the last \d+ s before the end not witnessed, from /)
  })

  it('does not need to be trusted to be shown, but that is said', async () => {
    const verification = await after(() => undefined, noTrust)
    expect(verification).toMatchObject({ result: 'whole', witness: { trusted: false } })
    expect(text(verification)).toContain('whose key is not known here')
  })

  it('names what it saw only long after', async () => {
    const { session } = original.certificate
    const latest = original.receipts.at(-1)!
    const late = { session, sequence: latest.sequence, head: latest.head, final: true, at: latest.at + 600_000 }
    const key = newSessionKey()
    const receipt = signReceipt(late, key)
    const verification = await after(
      at => put(at, [receipt]),
      trust({ receipts: [], required: false, keys: [witness.publicKey, key.publicKey] }),
    )
    expect(verification.witness?.late).toHaveLength(1)
    expect(text(verification)).toContain('witnessed only afterwards from ')
  })
})

describe('a witnessed recording, altered by its own recorder and the bucket’s owner', () => {
  it('a cut tail, with a new manifest and without the later receipts that lie beside it', async () => {
    const verification = await after(at => {
      fs.rmSync(path.join(at, lastSegment(at)))
      fs.rmSync(path.join(at, 'manifest.json'))
      put(at, original.receipts.slice(0, 2))
    })
    expect(verification.result).toBe('altered')
    expect(problems(verification)).toMatch(/ends at event \d+, but the broker saw \d+: the end was cut off/)
  })

  it('a session recorded anew with its own key, shorter, as long, and longer', async () => {
    for (const count of [1, 4, 9]) {
      const verification = await after(() => undefined)
      expect(verification.result).toBe('whole')
      const at = path.join(folder.path, 'copy', path.basename(original.path))
      await replaced(
        at,
        Array.from({ length: count }, (_, index) => `select ${index + 1}`),
      )
      const forged = await verifyRecording(at, Date.now() + 3_600_000, trust())
      expect(forged.result).toBe('altered')
      expect(problems(forged)).toMatch(/is not what the broker saw|the end was cut off/)
    }
  })

  it('says between which events', async () => {
    const at = path.join(folder.path, 'copy', path.basename(original.path))
    await replaced(at, ['select 1', 'select 2', 'select 3', 'select 4'])
    const [first] = (await verifyRecording(at, Date.now() + 3_600_000, trust())).problems
    expect(first).toMatchObject({ place: 'witness', sequence: original.receipts[0]!.sequence })
    expect(first?.text).toContain('between the beginning and here')
  })

  it('a dropped middle, re-ordered segments, another session’s segment', async () => {
    const second = fileName('segment', 2)
    const dropped = await after(at => fs.rmSync(path.join(at, second)))
    const swapped = await after(at => {
      fs.renameSync(path.join(at, second), path.join(at, 'x'))
      fs.renameSync(path.join(at, fileName('segment', 3)), path.join(at, second))
      fs.renameSync(path.join(at, 'x'), path.join(at, fileName('segment', 3)))
    })
    const foreign = await after(at => fs.copyFileSync(path.join(other.path, second), path.join(at, second)))
    for (const verification of [dropped, swapped, foreign]) {
      expect(verification.result).toBe('altered')
      expect(verification.problems[0]).toMatchObject({ number: 2 })
    }
  })

  it('an invented session: no certificate, one of another session, of another person, forged', async () => {
    const { certificate } = original
    const invent = async (given: Certificate | undefined, key = original.key, more: object = {}) => {
      const start = { ...sampleStart(certificate.session as never), ...more }
      const root = path.join(folder.path, 'invented')
      fs.rmSync(root, { recursive: true, force: true })
      const recorder = sampleRecorder(root, { start, key, certificate: given })
      recordStatement(recorder, 'select 1', Buffer.from('row'))
      await recorder.close('done', 0)
      return await verifyRecording(recorder.path, Date.now(), trust({ receipts: [] }))
    }
    const eve = newSessionKey()
    const john = { ...sampleStart().subject, principal: { name: 'john', groups: [], source: 'os-user' } }
    for (const [verification, why] of [
      [await invent(undefined), 'has no certificate of this broker'],
      [await invent(other.certificate), 'has a certificate for the session'],
      [await invent(certificate, eve), 'has a certificate for another recording key'],
      [await invent(certificate, original.key, { subject: john }), 'has a certificate for another principal, maria'],
      [await invent({ ...certificate, principal: 'john' }), 'has a certificate that no broker signed'],
      [await invent({ ...certificate, key: eve.publicKey }), 'has a certificate that no broker signed'],
    ] as const) {
      expect(verification.result).toBe('altered')
      expect(problems(verification)).toContain(why)
    }
  })

  it('receipts that are replayed, of another session, forged, or of another broker', async () => {
    const eve = newSessionKey()
    const [first, second] = original.receipts as [Receipt, Receipt]
    const { key: _, signature: __, ...content } = second
    for (const [receipts, why] of [
      [[...original.receipts, ...other.receipts], 'has a receipt of another session'],
      [[{ ...second, sequence: second.sequence + 1 }], 'that no broker signed'],
      [[{ ...second, head: first.head }], 'that no broker signed'],
      [[{ ...second, at: second.at - 60_000 }], 'that no broker signed'],
      [[{ ...second, final: true }], 'that no broker signed'],
      [[{ ...second, key: eve.publicKey }], 'that no broker signed'],
      [[signReceipt(content, eve)], 'signed with a key that is not the broker’s'],
      [[{ nothing: true }], '1 of the receipts cannot be read'],
    ] as const) {
      const verification = await after(at => put(at, receipts), trust({ receipts: [] }))
      expect(verification.result).toBe('altered')
      expect(problems(verification)).toContain(why)
    }
    // An old receipt for a recording cut to where it was: whoever asks the broker sees more.
    const old = await after(at => put(at, [first]), trust({ receipts: [] }))
    expect(old).toMatchObject({ result: 'whole', witness: { complete: false } })
    expect(old.witness?.unproven).not.toBeNull()
  })

  it('a broker’s clock that went back, and events after the end that it saw', async () => {
    const { session } = original.certificate
    const key = newSessionKey()
    const believing = trust({ receipts: [], required: false, keys: [witness.publicKey, key.publicKey] })
    const signed = original.receipts.map((receipt, index) => {
      const { sequence, head, final } = receipt
      return signReceipt({ session, sequence, head, final, at: receipt.at - index * 60_000 }, key)
    })
    expect(problems(await after(at => put(at, signed), believing))).toContain('receipts that go back in time')
    const { sequence, head, at: when } = original.receipts[1]!
    const early = signReceipt({ session, sequence, head, final: true, at: when }, key)
    expect(problems(await after(at => put(at, [early]), believing))).toContain('which the broker saw as its end')
  })

  it('its tombstone, where it tells of less than was seen', async () => {
    const verification = await after(at => {
      const manifest = JSON.parse(fs.readFileSync(path.join(at, 'manifest.json'), 'utf8')) as { head: string }
      for (const name of fs.readdirSync(at)) fs.rmSync(path.join(at, name))
      const tombstone = {
        ...{ format: 'agentgate-tombstone', version: 1, session: path.basename(at), deletedAt: 1, by: 'eve' },
        ...{ reason: 'retention', startedAt: 1, endedAt: 2, events: 3, head: manifest.head, manifest: '00'.repeat(32) },
      }
      fs.writeFileSync(path.join(at, 'tombstone.json'), JSON.stringify(tombstone))
    })
    expect(verification.result).toBe('altered')
    expect(problems(verification)).toContain('another recording than the broker saw')
  })
})

describe('the witness', () => {
  const point = async (session: string, key: SessionKey, sequence: number, head = 'aa'.repeat(32), final = false) => {
    const content = { session, sequence, head, final }
    return await witness.countersign({ ...content, signature: signHead(content, key) })
  }
  let count = 0
  const certified = async () => {
    const key = newSessionKey()
    const session = `s_WITNESS${String(count++).padStart(3, '0')}`
    await witness.certify({ session, recordingKey: key.publicKey, principal: 'maria', actor: null, host: 'x' })
    return { session, key }
  }

  it('gives the same receipt for the same, and none for less, another, or more after the end', async () => {
    const { session, key } = await certified()
    const receipt = await point(session, key, 5)
    expect(await point(session, key, 5)).toEqual(receipt)
    await expect(point(session, key, 5, 'bb'.repeat(32))).rejects.toThrow('another chain')
    await expect(point(session, key, 4)).rejects.toThrow('another chain')
    await point(session, key, 6, 'aa'.repeat(32), true)
    await expect(point(session, key, 7)).rejects.toThrow('another chain')
  })

  it('wants the session’s own signature, and a session that it certified', async () => {
    const { session, key } = await certified()
    await expect(point(session, newSessionKey(), 5)).rejects.toThrow('not signed with the session’s recording key')
    await expect(point('s_NOBODY0000', key, 5)).rejects.toThrow('certified no recording')
    await expect(
      witness.certify({ session, recordingKey: newSessionKey().publicKey, principal: 'eve', actor: null, host: 'x' }),
    ).rejects.toThrow()
  })

  it('never gives an earlier time than before, whatever its clock says', async () => {
    const { session, key } = await certified()
    const first = await point(session, key, 5)
    clock -= 3_600_000
    try {
      expect((await point(session, key, 6)).at).toBeGreaterThanOrEqual(first.at)
    } finally {
      clock += 3_600_000
    }
  })

  it('writes what a thousand sessions show it in few transactions', async () => {
    const sessions = await Promise.all(Array.from({ length: 1000 }, async () => await certified()))
    let transactions = 0
    const real = store.receipts.advance.bind(store.receipts)
    store.receipts.advance = async steps => {
      transactions += 1
      return await real(steps)
    }
    const receipts = await Promise.all(sessions.map(async ({ session, key }) => await point(session, key, 1)))
    expect(new Set(receipts.map(({ session }) => session)).size).toBe(1000)
    expect(transactions).toBeLessThan(50)
  })

  it('takes one of two that show different chains of a session at once, on two brokers of one store', async () => {
    const { session, key } = await certified()
    const second = await Witness.open(store.receipts, null, () => clock)
    const ask = async (at: Witness, head: string) => {
      const content = { session, sequence: 9, head, final: false }
      return await at.countersign({ ...content, signature: signHead(content, key) })
    }
    expect(second.publicKey).toBe(witness.publicKey)
    const answers = await Promise.allSettled([ask(witness, 'aa'.repeat(32)), ask(second, 'bb'.repeat(32))])
    expect(answers.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    await second.close()
  })
})

describe('a recorder with a witness', () => {
  it('is witnessed to its end, and goes on where the witness is away', async () => {
    const key = newSessionKey()
    const start = sampleStart()
    const { session } = start
    const certificate = await witness.certify({
      session,
      recordingKey: key.publicKey,
      principal: 'maria',
      actor: 'claude',
      host: 'laptop',
    })
    const warnings: string[] = []
    let away = true
    const recorder = witnessed(sampleRecorder(folder.path, { start, key, certificate }), {
      session,
      key,
      brokerKey: witness.publicKey,
      countersign: async head => {
        if (away) throw new Error('away')
        return await witness.countersign(head)
      },
      onWarning: text => warnings.push(text),
    })
    recordStatement(recorder, 'select 1', Buffer.from('row'))
    away = false
    await recorder.close('done', 0)
    const believing = { keys: [witness.publicKey], receipts: [], required: true }
    expect(await verifyRecording(recorder.path, Date.now(), believing)).toMatchObject({
      result: 'whole',
      witness: { complete: true, unproven: null },
    })
    expect(warnings).toEqual([])
  })
})
