import fs from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { recover } from '../../src/recording/recover.ts'
import { prunable } from '../../src/recording/retention.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { recordStatement, sampleRecorder, sampleStart } from '../recording/sample.ts'
import { Place } from '../support/agentgate.ts'

const day = 86_400
let place: Place
let folder: string
beforeEach(() => {
  place = new Place('version: 1\n')
  folder = path.join(place.home, 'data', 'recordings')
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
})
afterEach(() => fs.rmSync(place.folder, { recursive: true, force: true }))

const sessions = async (...args: string[]) => await place.run(['sessions', ...args])
const rows = (stdout: string) =>
  stdout.split('\n').flatMap(line => (line === '' ? [] : [line.split('\t').slice(0, 2).join(' ')]))

/** A session that ended so many days ago, to be kept for so long. */
async function recorded(daysAgo: number, retainDays: number | null): Promise<string> {
  const time = vi.spyOn(Date, 'now').mockReturnValue(Date.now() - daysAgo * day * 1000)
  const retainSeconds = retainDays === null ? null : retainDays * day
  const recorder = sampleRecorder(folder, { key: newSessionKey(), start: { ...sampleStart(), retainSeconds } })
  recordStatement(recorder, 'select 1', Buffer.from('x'))
  recorder.commit()
  await recorder.close('done', 0)
  time.mockRestore()
  return path.basename(recorder.path)
}

const filesOf = (session: string) => fs.readdirSync(path.join(folder, session)).sort()

describe('retention', () => {
  it('deletes what is past it and nothing else, and leaves a tombstone that verify and list understand', async () => {
    const old = await recorded(31, 30)
    const young = await recorded(29, 30)
    const forever = await recorded(4000, null)
    const open = sampleRecorder(folder, { start: { ...sampleStart(), retainSeconds: 1 } })
    const before = filesOf(old)

    const dry = await sessions('prune', '--dry-run')
    expect(dry).toMatchObject({ code: 0, stderr: '' })
    expect(rows(dry.stdout)).toEqual([`${old} would be deleted`])
    expect(filesOf(old)).toEqual(before)

    expect(rows((await sessions('prune')).stdout)).toEqual([`${old} deleted`])
    expect(filesOf(old)).toEqual(['tombstone.json'])
    for (const kept of [young, forever]) expect(filesOf(kept)).toContain('000001.segment')
    expect(rows((await sessions('prune')).stdout)).toEqual([])
    await open.close('', 0)

    const verified = await sessions('verify', old)
    expect(verified.code).toBe(0)
    expect(verified.stdout).toMatch(/\tdeleted: on \d{4}-\d\d-\d\d by \S+ \(retention\); it had 5 events, head /)
    expect((await sessions('list')).stdout).toMatch(new RegExp(`^${old}\t.*\tdeleted$`, 'm'))
    for (const command of ['show', 'replay', 'export', 'tail', 'hold']) {
      const refused = await sessions(command, old)
      expect(refused).toMatchObject({ code: 2, stdout: '' })
      expect(refused.stderr).toContain(`the recording of ${old} was deleted`)
    }
    expect(await recover(folder, Date.now() + day * 1000)).toEqual([])
    expect(filesOf(old)).toEqual(['tombstone.json'])
  })

  it('keeps what is held until it is released', async () => {
    const old = await recorded(31, 30)
    expect((await sessions('hold', old, '--reason', 'INC-1')).stdout).toMatch(new RegExp(`^${old}\theld\t`))
    expect((await sessions('list')).stdout).toContain('\tclosed, held')
    expect(rows((await sessions('prune')).stdout)).toEqual([`${old} kept`])
    expect((await sessions('verify', old)).code).toBe(0)
    await sessions('release', old)
    expect(rows((await sessions('prune')).stdout)).toEqual([`${old} deleted`])
  })

  it('keeps all of a person, also what is to come, until they are released', async () => {
    const old = await recorded(31, 30)
    expect((await sessions('hold', '--who', 'Maria', '--reason', 'INC-1')).stdout).toMatch(/^Maria\theld\t/)
    const later = await recorded(40, 30)
    expect(rows((await sessions('prune')).stdout).sort()).toEqual([`${old} kept`, `${later} kept`].sort())
    expect((await sessions('release', '--who', 'john')).code).toBe(2)
    expect((await sessions('hold')).code).toBe(2)
    // What cannot be told is kept.
    const file = path.join(folder, 'held-persons.json')
    const content = fs.readFileSync(file)
    fs.writeFileSync(file, 'x')
    expect(rows((await sessions('prune')).stdout).sort()).toEqual([`${old} kept`, `${later} kept`].sort())
    expect((await sessions('hold', '--who', 'john')).code).toBe(2)
    fs.writeFileSync(file, content)
    await sessions('release', '--who', 'maria')
    await sessions('hold', '--who', 'claude')
    expect(rows((await sessions('prune')).stdout).sort()).toEqual([`${old} kept`, `${later} kept`].sort())
    await sessions('release', '--who', 'claude')
    expect(rows((await sessions('prune')).stdout).sort()).toEqual([`${old} deleted`, `${later} deleted`].sort())
  })

  it('keeps what cannot be believed, and says so', async () => {
    const old = await recorded(31, 30)
    const manifest = path.join(folder, old, 'manifest.json')
    fs.writeFileSync(
      manifest,
      fs.readFileSync(manifest, 'utf8').replace('"retainSeconds":2592000', '"retainSeconds":1'),
    )
    const pruned = await sessions('prune')
    expect(pruned.code).toBe(7)
    expect(rows(pruned.stdout)).toEqual([`${old} kept`])
    fs.writeFileSync(path.join(folder, old, 'hold.json'), '')
    expect((await sessions('list')).stdout).toContain(', held')
  })

  it('ends a deletion that was cut off at any point', async () => {
    const old = await recorded(31, 30)
    const copy = path.join(place.folder, 'copy')
    fs.cpSync(path.join(folder, old), copy, { recursive: true })
    await sessions('prune')
    for (const left of [['manifest.json', '000001.segment'], ['manifest.json']]) {
      for (const name of left) fs.copyFileSync(path.join(copy, name), path.join(folder, old, name))
      // Half deleted is not deleted: what is left has to be accounted for.
      const verified = await sessions('verify', old)
      expect(verified.code).toBe(7)
      expect(verified.stdout).toContain('the folder is buried, but files are left')
      expect(rows((await sessions('prune')).stdout)).toEqual([`${old} deleted`])
      expect(filesOf(old)).toEqual(['tombstone.json'])
    }
  })

  it('finds a tombstone that was put in the place of another session', async () => {
    const [one, other] = [await recorded(31, 30), await recorded(31, 30)]
    await sessions('prune')
    fs.copyFileSync(path.join(folder, one, 'tombstone.json'), path.join(folder, other, 'tombstone.json'))
    expect((await sessions('verify', other)).stdout).toContain(`altered: the folder holds the tombstone of ${one}`)
  })

  it('leaves what has not been synced', async () => {
    const old = await recorded(31, 30)
    const found: unknown[] = []
    const options = { now: Date.now(), by: 'test', isSynced: () => Promise.resolve(false) }
    for await (const each of prunable(folder, options)) found.push(each)
    expect(found).toEqual([{ kind: 'not-synced', session: old }])
  })
})
