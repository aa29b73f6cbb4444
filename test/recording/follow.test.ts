import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { ownerName } from '../../src/recording/owner.ts'
import type { CaughtUp, ReadItem } from '../../src/recording/read-item.ts'
import { followRecording } from '../../src/recording/reader.ts'
import { recordStatement, sampleRecorder, temporaryFolder } from './sample.ts'

const never = () => new AbortController().signal

/** What it says in short: the text of actions, else the kind of the event or item. */
function word(item: ReadItem | CaughtUp): string {
  if (item.kind !== 'event') return item.kind
  const { event } = item.placed
  return event.kind === 'action' ? event.view.text : event.kind
}

describe('following a recording', () => {
  it('has what is there, then what comes, over any number of files, up to the end of the session', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { segmentBytes: 2000 } })
    recordStatement(recorder, 'select 0', Buffer.from('x'))
    recorder.commit()
    const seen: string[] = []
    let count = 0
    let closed: Promise<void> | undefined
    for await (const item of followRecording(recorder.path, never())) {
      seen.push(word(item))
      if (item.kind === 'caught-up' || (item.kind === 'event' && item.placed.event.kind === 'outcome' && count > 0)) {
        count += 1
        if (count === 30) closed = recorder.close('done', 0)
        if (count < 30) {
          recordStatement(recorder, `select ${count}`, Buffer.alloc(500))
          recorder.commit()
        }
      }
    }
    await closed
    expect(seen.filter(text => text.startsWith('select'))).toEqual(Array.from({ length: 30 }, (_, n) => `select ${n}`))
    expect(seen.slice(0, 4)).toEqual(['session-start', 'select 0', 'result', 'outcome'])
    expect(seen.filter(text => text === 'caught-up')).toHaveLength(1)
    expect(seen.slice(-3)).toEqual(['session-end', 'file', 'end'])
    expect(seen).not.toContain('problem')
    expect(seen.filter(text => text === 'file').length).toBeGreaterThan(3)
  })

  it('holds up nobody, however slow it is, and still gets everything', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { segmentBytes: 4000 } })
    const following = followRecording(recorder.path, never())
    expect(word((await following.next()).value as ReadItem)).toBe('session-start')
    for (let count = 0; count < 200; count++) {
      recordStatement(recorder, `select ${count}`, Buffer.alloc(300))
      recorder.commit()
    }
    await recorder.close('done', 0)
    let events = 1
    for await (const item of following) {
      expect(item.kind).not.toBe('problem')
      if (item.kind === 'event') events += 1
    }
    expect(events).toBe(1 + 200 * 3 + 1)
  })

  it('ends where the process that records is gone', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    const owner = path.join(recorder.path, ownerName)
    const text = fs.readFileSync(owner)
    const seen: string[] = []
    for await (const item of followRecording(recorder.path, never())) {
      seen.push(word(item))
      if (item.kind === 'caught-up') fs.rmSync(owner)
    }
    expect(seen).toEqual(['session-start', 'caught-up', 'file', 'end'])
    fs.writeFileSync(owner, text)
    await recorder.close('', 0)
  })

  it('ends when it is told to', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    const stop = new AbortController()
    const seen: string[] = []
    for await (const item of followRecording(recorder.path, stop.signal)) {
      seen.push(word(item))
      if (item.kind === 'caught-up') stop.abort()
    }
    expect(seen).toEqual(['session-start', 'caught-up', 'file', 'end'])
    await recorder.close('', 0)
  })

  it('reads a session that has ended to its end', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    await recorder.close('', 0)
    const seen: string[] = []
    for await (const item of followRecording(recorder.path, never())) seen.push(word(item))
    expect(seen).toEqual(['session-start', 'session-end', 'file', 'caught-up', 'end'])
  })
})
