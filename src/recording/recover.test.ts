import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { readAll, recordStatement, sampleRecorder, temporaryFolder } from '../../test/recording/sample.ts'
import { newSessionId } from '../ids.ts'
import { readManifest } from './manifest.ts'
import { recover } from './recover.ts'
import { newSessionKey } from './session-key.ts'
import { verifyRecording } from './verify.ts'

const later = Date.now() + 3_600_000

/** What is on disk of a session that is running, as a crash would leave it, in a recordings folder of its own. */
function crashed(from: string, to: string): string {
  const copy = path.join(to, path.basename(from))
  fs.cpSync(from, copy, { recursive: true })
  fs.rmSync(path.join(copy, 'owner.json'), { force: true })
  return copy
}

describe('recover', () => {
  it('seals a crashed session and says where it broke off', async () => {
    using folder = temporaryFolder()
    using other = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    recordStatement(recorder, 'select 1', Buffer.from('x'))
    recorder.commit()
    const copy = crashed(recorder.path, other.path)
    fs.appendFileSync(path.join(copy, '000001.journal'), Buffer.from('0000010000', 'hex'))
    const session = path.basename(copy)
    expect(await recover(other.path, later)).toEqual([{ kind: 'recovered', session, events: 4, torn: 5 }])
    expect(fs.readdirSync(copy).sort()).toEqual(['000001.segment', 'manifest.json'])
    expect(await verifyRecording(copy, later)).toMatchObject({ result: 'unfinished', events: 4, problems: [] })
    expect(await readManifest(copy)).toMatchObject({ manifest: { state: 'recovered', torn: 5, end: null } })
    await recorder.close('', 0)
  })

  it('leaves a live session alone', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    expect(await recover(folder.path, later)).toEqual([])
    await recorder.close('', 0)
    expect(await verifyRecording(recorder.path, later)).toMatchObject({ result: 'whole' })
  })

  it('leaves what is damaged as it is', async () => {
    using folder = temporaryFolder()
    using other = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    for (let count = 0; count < 3; count++) recordStatement(recorder, `select ${count}`, Buffer.from('x'))
    recorder.commit()
    const copy = crashed(recorder.path, other.path)
    await recorder.close('', 0)
    const journal = path.join(copy, '000001.journal')
    const bytes = fs.readFileSync(journal)
    bytes[bytes.indexOf('select 1')] = 0x53
    fs.writeFileSync(journal, bytes)
    expect(await recover(other.path, later)).toMatchObject([{ kind: 'damaged' }])
    expect(fs.readFileSync(journal)).toEqual(bytes)
    expect((await readAll(copy)).events.length).toBeGreaterThan(3)
    expect(await verifyRecording(copy, later)).toMatchObject({ result: 'altered', problems: [{ place: 'journal' }] })
  })

  it('does not pass a signed session that it had to finish as whole', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { key: newSessionKey() })
    recordStatement(recorder, 'select 1', Buffer.from('x'))
    await recorder.close('', 0)
    fs.rmSync(path.join(recorder.path, 'manifest.json'))
    expect(await recover(folder.path, later)).toMatchObject([{ kind: 'recovered' }])
    expect(await verifyRecording(recorder.path, later)).toMatchObject({ result: 'unfinished', ended: true })
  })

  it('keeps a segment that was made just before the crash', async () => {
    using folder = temporaryFolder()
    using other = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    recordStatement(recorder, 'select 1', Buffer.from('x'))
    recorder.commit()
    const copy = crashed(recorder.path, other.path)
    await recorder.close('', 0)
    const journal = fs.readFileSync(path.join(copy, '000001.journal'))
    await recover(other.path, later)
    const segment = path.join(copy, '000001.segment')
    const before = fs.statSync(segment).ino
    fs.rmSync(path.join(copy, 'manifest.json'))
    fs.writeFileSync(path.join(copy, '000001.journal'), journal)
    expect(await recover(other.path, later)).toMatchObject([{ kind: 'recovered' }])
    expect(fs.statSync(segment).ino).toBe(before)
  })

  it('removes the folder of a session that had recorded nothing yet', async () => {
    using folder = temporaryFolder()
    const session = newSessionId()
    fs.mkdirSync(path.join(folder.path, session))
    fs.writeFileSync(path.join(folder.path, session, '000001.journal'), 'agentgate-jour')
    expect(await recover(folder.path, later)).toEqual([{ kind: 'empty', session }])
    expect(fs.readdirSync(folder.path)).toEqual([])
  })

  it('touches nothing that is not a session', async () => {
    using folder = temporaryFolder()
    fs.mkdirSync(path.join(folder.path, 'notes'))
    fs.writeFileSync(path.join(folder.path, 'notes', '000001.journal'), 'mine')
    expect(await recover(folder.path, later)).toEqual([])
    expect(await recover(path.join(folder.path, 'nowhere'), later)).toEqual([])
  })
})
