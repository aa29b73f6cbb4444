import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import type { Store } from '../../src/broker/store.ts'
import { Witness } from '../../src/broker/witness/witness.ts'
import { newSessionId } from '../../src/ids.ts'
import { newKeyPem, newSessionKey, type SessionKey } from '../../src/recording/session-key.ts'
import { receiptHolds, signHead, type Receipt } from '../../src/recording/witness/receipt.ts'
import { describeWith } from '../support/needs.ts'
import { engines, type Engine } from './store-engines.ts'

const at = '2026-11-21T16:00:00.000Z'
const head = (of: number) => of.toString(16).padStart(64, '0')
const all = { text: null, resource: null, who: null, since: null, until: null, denied: false, limit: 1000 } as const
const day = 86_400

function statement(sequence: number, text: string, more: object = {}) {
  return { sequence, at, resource: 'shop', decision: 'allowed', rule: null, text, ...more }
}

// What the witness and the index ask of a store, the same on both engines (test/broker/store.test.ts has the rest).
for (const engine of engines)
  describeWith(`the witness’s and the index’s part of the store on ${engine.name}`, engine.needs, () => {
    let place: Awaited<ReturnType<Engine['start']>>
    let store: Store
    beforeAll(async () => {
      place = await engine.start()
      store = await place.open()
    }, 60_000)
    afterAll(async () => {
      await store?.close()
      await place?.close()
    })

    const receiptOf = (session: string, sequence: number, more: Partial<Receipt> = {}): Receipt => ({
      ...{ session, sequence, head: head(sequence), at: Date.parse(at) + sequence, final: false, key: 'k' },
      signature: `of ${session} ${sequence}`,
      ...more,
    })
    const certified = async (): Promise<string> => {
      const session = newSessionId()
      await store.receipts.certified(session, 'maria', 'key', at)
      return session
    }
    const step = async (session: string, receipt: Receipt) => {
      const before = await store.receipts.witnessed(session)
      if (before === undefined) throw new Error('not certified')
      return { before, receipt }
    }

    it('keeps the first key for all brokers', async () => {
      const pem = newKeyPem()
      expect(await store.receipts.keyPem(pem)).toBe(pem)
      expect(await store.receipts.keyPem(newKeyPem())).toBe(pem)
    })

    it('advances a chain once: of two that saw the same state the second gets nothing', async () => {
      const session = await certified()
      const [one, other] = [receiptOf(session, 5), receiptOf(session, 5, { head: head(6), signature: 'other' })]
      const { before } = await step(session, one)
      expect(await store.receipts.advance([{ before, receipt: one }])).toEqual([one])
      expect(await store.receipts.advance([{ before, receipt: other }])).toEqual([])
      expect(await store.receipts.witnessed(session)).toMatchObject({ sequence: 5, head: head(5), final: 0 })
      expect(await store.receipts.receipts(session)).toEqual([one])
      expect(await store.receipts.receiptFor(one)).toEqual(one)
      expect(await store.receipts.receiptFor(other)).toBeUndefined()
    })

    it('goes nowhere behind the end, nor back in sequence or time', async () => {
      const session = await certified()
      const advance = async (receipt: Receipt) => await store.receipts.advance([await step(session, receipt)])
      expect(await advance(receiptOf(session, 5))).toHaveLength(1)
      expect(await advance(receiptOf(session, 4))).toEqual([])
      expect(await advance(receiptOf(session, 6, { at: Date.parse(at) - 1000 }))).toEqual([])
      expect(await advance(receiptOf(session, 7, { final: true }))).toHaveLength(1)
      expect(await advance(receiptOf(session, 8))).toEqual([])
      expect(await store.receipts.witnessed(session)).toMatchObject({ sequence: 7, final: 1 })
    })

    it('has the last of each minute waiting for the bucket, once the minute is over', async () => {
      const session = await certified()
      for (const sequence of [1, 2, 70_000])
        await store.receipts.advance([await step(session, receiptOf(session, sequence))])
      const mine = async (now: number) =>
        (await store.receipts.waiting(now, 10_000)).filter(each => each.session === session).map(each => each.sequence)
      expect(await mine(Date.parse(at) + 30_000)).toEqual([])
      expect(await mine(Date.parse(at) + 60_000)).toEqual([2])
      const waiting = (await store.receipts.waiting(Date.parse(at) + 180_000, 10_000)).filter(
        each => each.session === session,
      )
      expect(waiting.map(each => each.sequence)).toEqual([2, 70_000])
      for (const each of waiting) await store.receipts.markStored(each.slot, [each])
      expect(await mine(Date.parse(at) + 180_000)).toEqual([])
    })

    it('countersigns a thousand sessions in a few transactions, not a thousand', async () => {
      const witness = await Witness.open(store.receipts, null, () => Date.parse(at))
      const sessions: { session: string; key: SessionKey }[] = []
      for (let count = 0; count < 1000; count++) {
        const [session, key] = [newSessionId(), newSessionKey()]
        await store.receipts.certified(session, 'maria', key.publicKey, at)
        sessions.push({ session, key })
      }
      const written = vi.spyOn(store.receipts, 'advance')
      for (const sequence of [5, 9]) {
        const receipts = await Promise.all(
          sessions.map(async ({ session, key }) => {
            const point = { session, sequence, head: head(sequence), final: false }
            return await witness.countersign({ ...point, signature: signHead(point, key) })
          }),
        )
        expect(receipts.every(receipt => receiptHolds(receipt) && receipt.sequence === sequence)).toBe(true)
      }
      const steps = written.mock.calls.map(([batch]) => batch.length)
      expect(steps.reduce((sum, length) => sum + length, 0)).toBe(2000)
      // Two rounds; asking for a thousand states may take longer than one batch waits, on a busy machine too.
      expect(steps.length).toBeLessThan(100)
      written.mockRestore()
      await witness.close()
    }, 120_000)

    it('indexes a statement once, and finds it by text, resource, who, time and decision, newest first', async () => {
      const owner = { session: newSessionId(), principal: 'Index.Maria', actor: 'claude', retainSeconds: null }
      const statements = [
        statement(2, 'select 100%_ from "Payments"'),
        statement(3, 'drop table payments', {
          decision: 'denied',
          at: '2026-11-21T17:00:00.000Z',
          resource: 'shop-two',
        }),
      ]
      expect(await store.statements.add(owner, statements)).toBe(true)
      expect(await store.statements.add(owner, statements)).toBe(true)
      const found = async (search: object, principal?: string) =>
        (await store.statements.search({ ...all, who: 'Index*', ...search }, principal)).map(each => each.sequence)
      expect(await found({})).toEqual([3, 2])
      expect(await found({ text: 'PAYMENTS' })).toEqual([3, 2])
      expect(await found({ text: '100%_' })).toEqual([2])
      expect(await found({ text: '1_0%' })).toEqual([])
      expect(await found({ resource: 'shop-*' })).toEqual([3])
      expect(await found({ denied: true })).toEqual([3])
      expect(await found({ until: at })).toEqual([2])
      expect(await found({ limit: 1 })).toEqual([3])
      expect(await found({}, 'somebody else')).toEqual([])
    })

    it('forgets what is past its retention, and nothing else', async () => {
      const [short, long, ever] = [newSessionId(), newSessionId(), newSessionId()]
      const who = { principal: 'expiring', actor: null }
      await store.statements.add({ ...who, session: short, retainSeconds: day }, [statement(1, 'a')])
      await store.statements.add({ ...who, session: long, retainSeconds: 400 * day }, [statement(1, 'b')])
      await store.statements.add({ ...who, session: ever, retainSeconds: null }, [statement(1, 'c')])
      await store.statements.add({ ...who, session: ever, retainSeconds: Number.MAX_SAFE_INTEGER }, [statement(2, 'd')])
      const left = async () =>
        (await store.statements.search({ ...all, who: 'expiring' }, undefined)).map(row => row.text)
      await store.statements.expire('2026-11-22T15:59:59.999Z')
      expect([...(await left())].sort()).toEqual(['a', 'b', 'c', 'd'])
      expect(await store.statements.expire('2026-11-22T16:00:00.000Z')).toBe(1)
      expect([...(await left())].sort()).toEqual(['b', 'c', 'd'])
    })

    it('forgets an erased session, also what comes of it afterwards, and no other', async () => {
      const [one, other] = [newSessionId(), newSessionId()]
      const owner = (session: string) => ({ session, principal: 'erasing', actor: null, retainSeconds: null })
      await store.statements.add(owner(one), [statement(1, 'pancakes'), statement(2, 'syrup')])
      await store.statements.add(owner(other), [statement(1, 'waffles')])
      expect(await store.statements.erase(one, at)).toBe(2)
      expect(await store.statements.erase(one, at)).toBe(0)
      await store.statements.add(owner(one), [statement(3, 'late pancakes')])
      const left = async () =>
        (await store.statements.search({ ...all, who: 'erasing' }, undefined)).map(row => row.text)
      expect(await left()).toEqual(['waffles'])
      expect(await store.statements.expire(at)).toBe(1)
      expect(await left()).toEqual(['waffles'])
    })
  })
