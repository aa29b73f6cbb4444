import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Terminal } from '../support/terminal.ts'

describeWith('agentgate exec at a terminal', [program('bwrap', 'apt-get install bubblewrap')], () => {
  let place: Place
  let args: readonly string[] = []
  let work = ''
  beforeAll(async () => {
    place = new Place('version: 1\nresources:\n  web: { kind: egress, hosts: [ example.com ] }\n')
    args = ['exec', '-r', 'web', ...(await place.trusted())]
    work = path.join(place.folder, 'work')
    mkdirSync(work)
  })
  const open = (script: string) =>
    new Terminal(agentgateBin, [...args, '--', '/bin/sh', '-c', script], { cwd: work, env: place.env })

  it('records what is shown, and its size, so that it can be played elsewhere', async () => {
    using terminal = open(
      String.raw`printf '\033[31mred\033[0m\n'; trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.05; done`,
    )
    await terminal.shows('ready')
    expect(terminal.shown).toContain('\u001b[31mred\u001b[0m')
    expect(terminal.shown).toMatch(/agentgate: web \(default\) · confined: network, files, processes · until/)
    terminal.resize(132, 43)
    await terminal.shows('43 132')
    expect(await terminal.ends()).toBe(7)

    const list = await place.run(['sessions', 'list', '--json'])
    const [session = ''] = list.stdout.split('\n').map(line => /"session":"(s_\w+)"/.exec(line)?.[1] ?? '')
    const exported = await place.run(['sessions', 'export', session, '--format', 'asciicast'])
    expect(exported.code).toBe(0)
    const [header, ...events] = exported.stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as unknown)
    expect(header).toMatchObject({ version: 2, width: 100, height: 30 })
    const output = (events as [number, string, string][]).filter(([, kind]) => kind === 'o').map(([, , text]) => text)
    expect(output.join('')).toContain('\u001b[31mred\u001b[0m\r\nready\r\n43 132\r\n')
    expect(events).toContainEqual([expect.any(Number), 'r', '132x43'])
    // What agentgate itself says is not the command's.
    expect(output.join('')).not.toContain('agentgate:')
    const replay = await place.run(['sessions', 'replay', session])
    expect(replay.stdout).toContain('ready')
  })

  it('goes on with a command that closes its terminal, and keeps its exit code', async () => {
    using terminal = open('echo ready; exec <&- >&- 2>&-; sleep 0.5; exit 9')
    await terminal.shows('ready')
    expect(await terminal.ends()).toBe(9)
  })
})
