import fs from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { describeSession } from '../../src/recording/catalogue.ts'
import { placeHold } from '../../src/recording/hold.ts'
import type { Recorder } from '../../src/recording/recorder.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { removeLocalCopies, type LocalCopyRemoved } from '../../src/recording/sync/local-copies.ts'
import { openSyncedRecorder } from '../../src/recording/sync/synced-recorder.ts'
import type { LocalCopies } from '../../src/policy/sync-place.ts'
import { Place } from '../support/agentgate.ts'
import { recordStatement, sampleStart, temporaryFolder } from './sample.ts'

let local: ReturnType<typeof temporaryFolder>
let remote: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  local = temporaryFolder()
  remote = temporaryFolder()
})
afterEach(() => {
  local[Symbol.dispose]()
  remote[Symbol.dispose]()
})

/** A session that has ended, and whose copy is elsewhere. */
async function recorded(keep: LocalCopies, to = remote.path, folder = local.path): Promise<Recorder> {
  const recorder = await openSyncedRecorder(
    { folder, start: sampleStart(), key: newSessionKey(), onWarning: () => undefined },
    { to: `file://${to}` },
    {},
    undefined,
    { local: keep },
  )
  recordStatement(recorder, `select 'findable'`, Buffer.alloc(2000, 'x'))
  recorder.commit()
  await recorder.close('done', 0)
  return recorder
}

async function removed(inSeconds = 0): Promise<LocalCopyRemoved[]> {
  const found: LocalCopyRemoved[] = []
  for await (const one of removeLocalCopies(local.path, {}, Date.now() + inSeconds * 1000)) found.push(one)
  return found
}

const segments = (folder: string) => fs.readdirSync(folder).filter(name => name.endsWith('.segment'))
const id = (recorder: Recorder) => path.basename(recorder.path)
const anHour = { keepForSeconds: 3600, keepAtMostBytes: null }

describe('local copies', () => {
  it('go by age, and what tells of the session stays', async () => {
    const recorder = await recorded(anHour)
    expect(await removed(3000)).toEqual([])
    expect(await removed(4000)).toMatchObject([{ session: id(recorder), state: 'removed', error: null }])
    expect(segments(recorder.path)).toEqual([])
    expect(segments(path.join(remote.path, id(recorder)))).toHaveLength(1)
    expect(await describeSession(recorder.path, id(recorder), Date.now())).toMatchObject({
      ...{ state: 'closed', sync: 'elsewhere', summary: { statements: 1 } },
    })
    expect(await removed(5000)).toEqual([])
  })

  it('go by size, the oldest first, as the policy said last', async () => {
    const first = await recorded({ keepForSeconds: null, keepAtMostBytes: 1 })
    const second = await recorded({ keepForSeconds: null, keepAtMostBytes: null })
    expect(await removed()).toEqual([])
    const size = fs.statSync(path.join(second.path, '000001.segment')).size
    const third = await recorded({ keepForSeconds: null, keepAtMostBytes: Math.round(size * 2.5) })
    expect((await removed()).map(({ session }) => session)).toEqual([id(first)])
    expect([first, second, third].map(({ path: folder }) => segments(folder).length)).toEqual([0, 1, 1])
  })

  it.each([
    ['is damaged', (copy: string) => fs.writeFileSync(path.join(copy, '000001.segment'), 'something else')],
    ['has lost a part', (copy: string) => fs.rmSync(path.join(copy, '000001.segment'))],
    ['has another manifest', (copy: string) => fs.writeFileSync(path.join(copy, 'manifest.json'), '{}')],
    ['is away', () => fs.renameSync(remote.path, `${remote.path}.away`)],
  ])('stay where the other copy %s, and that is said', async (_, harm) => {
    const recorder = await recorded(anHour)
    harm(path.join(remote.path, id(recorder)))
    const [result] = await removed(4000)
    expect(result).toMatchObject({ state: 'kept' })
    expect(result?.error).toMatch(/does not have|not there/)
    expect(segments(recorder.path)).toHaveLength(1)
    fs.rmSync(`${remote.path}.away`, { recursive: true, force: true })
  })

  it('stay where they are held, not wholly uploaded, or still open', async () => {
    const held = await recorded(anHour)
    await placeHold(held.path, { at: Date.now(), by: 'maria', reason: null })
    const lost = await recorded(anHour, path.join(remote.path, 'not-there'))
    expect(await removed(4000)).toEqual([])
    for (const { path: folder } of [held, lost]) expect(segments(folder)).toHaveLength(1)
  }, 20_000)

  it('that were half removed when the machine stopped are gone with the next one', async () => {
    const recorder = await recorded(anHour)
    const file = path.join(recorder.path, 'sync.json')
    const state = JSON.parse(fs.readFileSync(file, 'utf8')) as object
    fs.writeFileSync(file, JSON.stringify({ ...state, removedAt: 1 }))
    expect(await removed(0)).toMatchObject([{ state: 'removed' }])
    expect(segments(recorder.path)).toEqual([])
  })

  it('that are gone are read where they were uploaded to', async () => {
    const place = new Place('')
    const recordings = path.join(place.home, 'data', 'recordings')
    const recorder = await recorded({ keepForSeconds: 1, keepAtMostBytes: null }, remote.path, recordings)
    const sessions = async (...args: string[]) => await place.run(['sessions', ...args])
    expect((await sessions('prune', '--dry-run')).stdout).toMatch(/would be removed here\tis in file:|^$/)
    let said = ''
    while (said === '') said = (await sessions('prune')).stdout
    expect(said).toBe(`${id(recorder)}\tremoved here\tis in file://${remote.path}\n`)
    expect((await sessions('list')).stdout).toContain('closed, only in bucket')
    expect((await sessions('show', id(recorder))).stdout).toContain("select 'findable'")
    expect(await sessions('verify', id(recorder))).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/whole/) as string,
    })
    expect((await sessions('verify', '--all')).code).toBe(0)
    const searched = await sessions('list', '--grep', 'findable')
    expect(searched).toMatchObject({ code: 7, stdout: '' })
    expect(searched.stderr).toContain(`not searched: ${id(recorder)} is only in file://${remote.path}`)
    // A folder that somebody handed over names a place, too: that is not gone to unasked.
    for (const foreign of [
      ['show', recorder.path],
      ['verify', recorder.path],
      ['replay', id(recorder), '--recordings', recordings],
      ['verify', '--all', '--recordings', recordings],
    ])
      expect(await sessions(...foreign)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(`is only in file://${remote.path}`) as string,
      })
    fs.rmSync(path.join(remote.path, id(recorder), '000001.segment'))
    expect((await sessions('verify', id(recorder))).code).toBe(7)
    fs.rmSync(place.folder, { recursive: true, force: true })
  }, 40_000)
})
