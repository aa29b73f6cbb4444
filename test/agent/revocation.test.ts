import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { RunningBroker } from '../broker/running-broker.ts'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith, program } from '../support/needs.ts'
import { runningWith, startProgram, until } from '../support/processes.ts'

describeWith('a confined tree whose access a broker ends', [program('bwrap', 'apt-get install bubblewrap')], () => {
  let broker: RunningBroker
  let client: Place
  let work = ''
  let tag = ''

  beforeAll(async () => {
    const policy = `version: 1
resources:
  web: { kind: egress, hosts: [ example.com ] }
access:
  - { who: { user: "*" }, resources: [ web ], scopes: [ default ], ttl: 1h }
  - { who: { user: "*", actor: "*" }, resources: [ web ], scopes: [ default ], ttl: 1h }
`
    broker = await RunningBroker.start(policy, {})
    client = new Place('version: 1\n', { AGENTGATE_BROKER: broker.unix })
  })
  afterAll(async () => await broker[Symbol.asyncDispose]())
  beforeEach(() => {
    work = path.join(newFolder('revocation'), 'work')
    tag = path.basename(path.dirname(work))
    mkdirSync(work)
  })

  /** Three that ignore TERM: the command, a daemon of its own session, and one that was forked twice from there. */
  const start = async (more: readonly string[] = []) => {
    const loop = `trap "" TERM HUP INT; while :; do sleep 0.1; done # ${tag}`
    const script = `(setsid sh -c '${loop} daemon' >/dev/null 2>&1 &); (setsid sh -c "(setsid sh -c '${loop} twice' &) &" >/dev/null 2>&1); ${loop.replace('while', 'echo up; while')}`
    const running = startProgram(agentgateBin, ['exec', '-r', 'web', ...more, '--', '/bin/sh', '-c', script], {
      cwd: work,
      env: client.env,
    })
    await running.said(/up/)
    await until('all three run', () => ['daemon', 'twice'].every(each => runningWith(`${tag} ${each}`).length > 0))
    return running
  }
  const grant = async () => {
    const listed = (await broker.administer('grants', 'list', '--json')).stdout
    return JSON.parse(listed.split('\n')[0] ?? '') as Record<'grant' | 'session', string>
  }

  it.each<[string, () => Promise<readonly string[]>]>([
    ['grants revoke', async () => ['grants', 'revoke', (await grant()).grant]],
    ['sessions kill', async () => ['sessions', 'kill', (await grant()).session]],
  ])('ends whole by %s: TERM, then KILL, code 124, the reason on stderr', { timeout: 60_000 }, async (_, command) => {
    const running = await start()
    const ended = await broker.administer(...(await command()), '--reason', 'laptop lost')
    expect(ended.code).toBe(0)
    const { code, stderr } = await running.finished()
    expect(code).toBe(124)
    expect(stderr).toMatch(/laptop lost/)
    expect(runningWith(tag)).toEqual([])
  })

  it('ends whole when its time is over', { timeout: 60_000 }, async () => {
    const running = await start(['--for', '3s'])
    expect((await running.finished()).code).toBe(124)
    expect(runningWith(tag)).toEqual([])
  })
})
