import fs from 'node:fs'
import path from 'node:path'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { newContentKey } from '../../src/recording/encryption/content-key.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { recordStatement, sampleRecorder, sampleStart } from '../recording/sample.ts'
import type { Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'
import { Team } from './team.ts'

// Whoever was recorded has the key on their own disk; with a broker, whether it may go is not theirs to say.
describeWith('erasing a recording where there is a broker', [program('openssl')], () => {
  const owned = new Owned()
  let team: Team
  let archive: string
  beforeAll(async () => {
    team = owned.add(
      await Team.start(
        `admins: { policy: { group: dba } }
audit: { to: { name: archive, file: "/tmp/replaced" } }
resources:
  api: { kind: http, address: "127.0.0.1:9", tls: off, credential: { issuer: none }, scopes: { all: {} } }
`,
        {},
      ),
    )
    archive = path.join(team.broker.place.folder, 'audit.jsonl')
    team.replacePolicy(team.policy.replace('/tmp/replaced', archive))
  }, 60_000)
  afterAll(async () => await owned.close())

  const recorded = async (on: Place) => {
    const start = sampleStart()
    const live = path.join(on.folder, 'live.key')
    const wrapped = await newContentKey(start.session, [await identityToRecipient(await generateIdentity())])
    const folder = path.join(on.home, 'data', 'recordings')
    const recorder = sampleRecorder(folder, {
      start,
      key: newSessionKey(),
      encryption: { ...wrapped, liveKeyFile: live },
    })
    recordStatement(recorder, 'select 1', Buffer.from('row'))
    await recorder.close('done', 0)
    return { session: start.session, key: path.join(recorder.path, 'key.age') }
  }
  const erase = async (on: Place, session: string) =>
    await on.run(['sessions', 'erase', session, '--reason', 'request 17', '--yes'])

  it('is for its administrators, and nothing is gone where it is refused or cannot be asked', async () => {
    const [maria, sam] = [await team.machine('maria', ['eng']), await team.machine('sam', ['dba'])]
    const [hers, his] = [await recorded(maria), await recorded(sam)]
    const refused = await erase(maria, hers.session)
    expect(refused).toMatchObject({ code: 4, stdout: '' })
    expect(fs.existsSync(hers.key)).toBe(true)
    maria.env['AGENTGATE_BROKER'] = 'https://localhost:9'
    expect((await erase(maria, hers.session)).code).toBe(6)
    expect(fs.existsSync(hers.key)).toBe(true)

    const done = await erase(sam, his.session)
    expect(done).toMatchObject({ code: 0, stderr: '' })
    expect(done.stdout).toContain('0 gone from the broker’s index')
    expect(fs.existsSync(his.key)).toBe(false)
    expect((await sam.run(['sessions', 'verify', his.session])).code).toBe(0)
    // The broker's own word, of who asked for it.
    await until(
      'the SIEM hears of it',
      () => fs.existsSync(archive) && fs.readFileSync(archive, 'utf8').includes('"erasure"'),
    )
    const told = fs
      .readFileSync(archive, 'utf8')
      .split('\n')
      .filter(line => line.includes('"erasure"'))
    expect(told).toHaveLength(1)
    expect(JSON.parse(told[0] ?? '')).toMatchObject({
      activity_name: 'Delete',
      entity: { uid: his.session },
      actor: { user: { name: 'sam' } },
      status_detail: 'request 17',
    })
  }, 60_000)
})
