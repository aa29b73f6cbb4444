import fs from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { recordStatement, sampleAction, sampleRecorder } from '../recording/sample.ts'
import { Place } from '../support/agentgate.ts'
import { until } from '../support/processes.ts'

let place: Place
let folder: string
beforeEach(() => {
  place = new Place('version: 1\n')
  folder = path.join(place.home, 'data', 'recordings')
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
})
afterEach(() => fs.rmSync(place.folder, { recursive: true, force: true }))

describe('agentgate sessions tail', () => {
  it('shows the last of what was, then what comes, what waits at once, and ends with the session', async () => {
    const recorder = sampleRecorder(folder)
    for (let count = 0; count < 15; count++) recordStatement(recorder, `select ${count}`, Buffer.from('x'))
    recorder.commit()
    const tail = place.start(['sessions', 'tail'])
    await tail.said(/select 14\n/)
    const held = { outcome: 'held', rule: { name: 'ask first', place: 'agentgate.yaml:9' } } as const
    recorder.append(sampleAction('delete 1', held))
    recorder.commit()
    await tail.said(/waiting\t.*delete 1\n/)
    recorder.append(sampleAction('delete 1', { outcome: 'rejected', rule: held.rule, message: 'no' }))
    recorder.commit()
    await tail.said(/rejected\t.*delete 1\n/)
    await recorder.close('done', 0)
    const { code, stdout, stderr } = await tail.finished()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const texts = stdout
      .trimEnd()
      .split('\n')
      .map(line => line.split('\t').at(-1))
    expect(texts).toEqual([...Array.from({ length: 10 }, (_, n) => `select ${n + 5}`), 'delete 1', 'delete 1'])
  })

  it('has every event as JSON, or only the new ones', async () => {
    const recorder = sampleRecorder(folder)
    recordStatement(recorder, 'select 1', Buffer.from('x'))
    recorder.commit()
    const id = path.basename(recorder.path)
    const all = place.start(['sessions', 'tail', id.slice(0, 8), '--json'])
    const fresh = place.start(['sessions', 'tail', id, '--json', '--last', '0'])
    await all.said(/"event":"outcome"/)
    await fresh.said(/"event":"session"/)
    // It says which session it is before it has read what was: what comes while it reads is not new to it.
    let notes = 0
    await until('a note', () => {
      recorder.append({ kind: 'note', connection: null, text: `later ${(notes += 1)}` })
      return fresh.stdout().includes('"note"')
    })
    await recorder.close('done', 0)
    const kinds = (stdout: string) =>
      stdout
        .trimEnd()
        .split('\n')
        .map(line => (JSON.parse(line) as { event: string }).event)
    expect(kinds((await all.finished()).stdout)).toEqual([
      'session',
      'session-start',
      'action',
      'result',
      'outcome',
      ...Array.from({ length: notes }, () => 'note'),
      'session-end',
    ])
    expect([...new Set(kinds((await fresh.finished()).stdout))]).toEqual(['session', 'note', 'session-end'])
  })

  it('says what to do where none is open, or several are', async () => {
    const none = await place.run(['sessions', 'tail'])
    expect(none).toMatchObject({ code: 2, stdout: '' })
    expect(none.stderr).toContain('error: no session is being recorded\n')
    const recorders = [sampleRecorder(folder), sampleRecorder(folder)]
    const several = await place.run(['sessions', 'tail'])
    expect(several.code).toBe(2)
    for (const recorder of recorders) {
      expect(several.stderr).toContain(path.basename(recorder.path))
      await recorder.close('', 0)
    }
  })
})
