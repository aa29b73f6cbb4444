import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { agentgateBin, Place, root } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { startProgram } from '../support/processes.ts'

interface HookOutput {
  readonly hookSpecificOutput: {
    readonly hookEventName: string
    readonly permissionDecision: string
    readonly permissionDecisionReason: string
    readonly updatedInput?: unknown
  }
}

const managed = '/etc/claude-code/managed-settings.json'

describeWith('an agent’s own tool calls', [program('bwrap', 'apt-get install bubblewrap')], () => {
  let place: Place
  let args: readonly string[] = []
  let work = ''

  beforeAll(async () => {
    place = new Place(`version: 1
resources:
  tools: { kind: tools, default: allow }
rules:
  - name: nothing is removed
    when: { tool: Bash, command: "rm *" }
    then: deny
    message: "Move it to trash/ instead."
  - name: pipelines are people’s
    when: { file: ".github/*", effect: change }
    then: deny
  - name: deploying is asked for
    when: { command: "./deploy *" }
    then: approve
masks:
  - { name: keys, detect: [ api-key ], with: redact }
`)
    work = path.join(place.folder, 'work')
    mkdirSync(work)
    args = await place.trusted()
  })

  const exec = async (script: string, more: readonly string[] = ['--profile', 'claude']) =>
    await place.run(['exec', '-r', 'tools', ...args, ...more, '--', '/bin/sh', '-c', script], { cwd: work })
  const call = (tool: string, input: unknown, more: object = {}) =>
    JSON.stringify({
      hook_event_name: 'PreToolUse',
      session_id: 's',
      cwd: work,
      tool_name: tool,
      tool_input: input,
      ...more,
    })
  /** Runs what the managed settings name as Claude Code does: by a shell, with the call on stdin. */
  const hook = async (tool: string, input: unknown) => {
    writeFileSync(path.join(work, 'call.json'), call(tool, input))
    const run = `node -p 'JSON.parse(fs.readFileSync("${managed}")).hooks.PreToolUse.at(-1).hooks[0].command' > hook.sh; sh hook.sh < call.json`
    const ended = await exec(run)
    expect(ended.stderr).toBe('')
    return (JSON.parse(ended.stdout) as HookOutput).hookSpecificOutput
  }

  it.each<[string, string, unknown, string, RegExp]>([
    ['lets through', 'Bash', { command: 'git status' }, 'allow', /the policy lets it/],
    [
      'refuses by the command',
      'Bash',
      { command: 'ls; sudo rm -rf x' },
      'deny',
      /Move it to trash[^]*rule: nothing is removed/,
    ],
    ['refuses by the file', 'Write', { file_path: '.github/ci.yml', content: '' }, 'deny', /pipelines are people’s/],
    ['lets the file be read', 'Read', { file_path: '.github/ci.yml' }, 'allow', /./],
  ])('%s: %s', async (_, tool, input, decision, reason) => {
    expect(await hook(tool, input)).toEqual({
      hookEventName: 'PreToolUse',
      permissionDecision: decision,
      permissionDecisionReason: expect.stringMatching(reason) as string,
    })
  })

  it('are in the record, with what masks hide hidden', async () => {
    await hook('Bash', { command: `echo AKIAQ3EGRVAJ7XJ2KL5N` })
    const list = await place.run(['sessions', 'list', '--json'])
    const [last] = list.stdout.split('\n').map(line => /"session":"(s_\w+)"/.exec(line)?.[1])
    const show = await place.run(['sessions', 'show', last ?? '', '--json'])
    const statement = show.stdout.split('\n').find(line => line.includes('"event":"statement"')) ?? ''
    expect(statement).toContain('"decision":"allowed"')
    expect(statement).toContain('Bash: echo [masked:api-key]')
    expect(show.stdout).not.toContain('AKIAQ3EG')
  })

  describe('and what came of them', () => {
    /** A call, and what its agent says after it, in one session; the last session's record. */
    const recorded = async (results: readonly object[]) => {
      writeFileSync(path.join(work, 'call.json'), call('Bash', { command: 'make test' }, { tool_use_id: 'toolu_1' }))
      results.forEach((result, index) =>
        writeFileSync(
          path.join(work, `result-${index}.json`),
          JSON.stringify({ ...(JSON.parse(readFileSync(path.join(work, 'call.json'), 'utf8')) as object), ...result }),
        ),
      )
      const hooks = (event: string) =>
        `JSON.parse(fs.readFileSync("${managed}")).hooks.${event}.at(-1).hooks[0].command`
      const ended = await exec(
        `node -p '${hooks('PreToolUse')}' > hook.sh; node -p '${hooks('PostToolUse')}' > post.sh; cmp hook.sh post.sh; sh hook.sh < call.json >/dev/null; ${results.map((_, index) => `sh post.sh < result-${index}.json; echo $?`).join('; ')}`,
      )
      const list = await place.run(['sessions', 'list', '--json'])
      const [last = ''] = list.stdout.split('\n').map(line => /"session":"(s_\w+)"/.exec(line)?.[1] ?? '')
      const show = await place.run(['sessions', 'show', last, '--json'])
      const replay = await place.run(['sessions', 'replay', last])
      const statement = show.stdout.split('\n').find(line => line.includes('"event":"statement"')) ?? '{}'
      return {
        codes: ended.stdout,
        stderr: ended.stderr,
        statement: JSON.parse(statement) as unknown,
        replay: replay.stdout,
      }
    }
    const shell = (stdout: string) => ({
      hook_event_name: 'PostToolUse',
      tool_response: { stdout, stderr: '', interrupted: false },
    })

    it('stands beside the call, with what masks hide hidden', async () => {
      const { codes, statement, replay } = await recorded([shell('42 passed, key AKIAQ3EGRVAJ7XJ2KL5N')])
      expect(codes).toBe('0\n')
      expect(statement).toMatchObject({
        view: { text: 'Bash: make test' },
        status: 'ok',
        tag: 'done',
        masked: ['api-key'],
      })
      expect(replay).toContain('42 passed, key [masked:api-key]')
      expect(replay).not.toContain('AKIAQ3EG')
    })

    it('is a failure where the agent says so', async () => {
      const { statement, replay } = await recorded([
        { hook_event_name: 'PostToolUseFailure', error: 'Exit code 2: no rule' },
      ])
      expect(statement).toMatchObject({ status: 'error', tag: 'failed' })
      expect(replay).toContain('Exit code 2: no rule')
    })

    it('is told once, and of nothing that does not run', async () => {
      const { codes, stderr, replay } = await recorded([
        { ...shell('never asked for'), tool_use_id: 'toolu_2' },
        shell('true'),
        shell('told again'),
      ])
      expect(codes).toBe('1\n0\n1\n')
      expect(stderr).toMatch(/could not be put on record/)
      expect(replay).toContain('true')
      expect(replay).not.toMatch(/told again|never asked for/)
    })
  })

  it('wait for an approver, who may put another command in their place', async () => {
    writeFileSync(path.join(work, 'call.json'), call('Bash', { command: './deploy prod', description: 'deploys' }))
    const hookCommand = `node ${path.join(root, 'dist', 'agentgate.js')} hook < call.json`
    const running = startProgram(
      agentgateBin,
      ['exec', '-r', 'tools', '--json', ...args, '--profile', 'claude', '--', '/bin/sh', '-c', hookCommand],
      { cwd: work, env: place.env },
    )
    await running.said(/"event":"approval",[^\n]*"id":"a_\w+"/, 'stderr')
    const id = /"id":"(a_\w+)"/.exec(running.stderr())?.[1] ?? ''
    const edited = await place.run(['approvals', 'edit', id, '--text', './deploy stage', '--yes'])
    expect(edited).toMatchObject({ code: 0 })
    const ended = await running.finished()
    expect((JSON.parse(ended.stdout) as HookOutput).hookSpecificOutput).toMatchObject({
      permissionDecision: 'allow',
      updatedInput: { command: './deploy stage', description: 'deploys' },
    })
  })

  it('are asked for by settings that the agent can neither change, replace nor take away', async () => {
    const tries = [
      `echo '{}' > ${managed}`,
      `rm -f ${managed}`,
      'mv /etc/claude-code /etc/other',
      'touch /etc/claude-code/x',
      'touch /etc/new',
      `cp ${managed} /etc/claude-code/y`,
    ]
    const ended = await exec(
      `${tries.map(each => `{ ${each}; } 2>/dev/null && echo got: '${each.replaceAll("'", '')}'`).join('; ')}; cat ${managed}`,
    )
    const settings = JSON.parse(ended.stdout) as Record<string, unknown>
    expect(settings).toMatchObject({ disableAllHooks: false, allowManagedHooksOnly: true })
    // The rest of the system's settings is there as before.
    expect((await exec('id -un; cat /etc/hostname')).stdout).toBe(
      `${process.getuid?.() === 0 ? 'root' : (process.env['USER'] ?? '')}\n${readFileSync('/etc/hostname', 'utf8')}`,
    )
    expect(existsSync(managed)).toBe(false)
  })

  it('are refused where nobody can be asked', async () => {
    writeFileSync(path.join(work, 'call.json'), call('Bash', { command: 'git status' }))
    const alone = (env: Record<string, string>) =>
      place.run(['hook'], { env, input: readFileSync(path.join(work, 'call.json')) })
    for (const env of [{}, { AGENTGATE_HOOK_URL: 'http://agentgate:x@127.0.0.1:9' }]) {
      const ended = await alone(env)
      expect(ended.code).toBe(0)
      expect((JSON.parse(ended.stdout) as HookOutput).hookSpecificOutput.permissionDecision).toBe('deny')
    }
    expect((await place.run(['hook'], { input: 'no JSON' })).code).toBe(2)
    expect(await place.run(['hook'], { input: '{"hook_event_name":"Stop"}' })).toMatchObject({ code: 0, stdout: '' })
  })

  it('are said to go unasked where nothing asks', async () => {
    const ended = await exec('true', [])
    expect(ended).toMatchObject({ code: 0, stderr: expect.stringMatching(/^warning: nothing asks/) as string })
  })

  it('can be tried against the policy', async () => {
    const explained = await place.run(['policy', 'explain', 'tools', 'Bash: sh -c "rm x"', ...args])
    expect(explained.stdout).toContain('nothing is removed')
    expect(explained.stdout).toContain('command rm *')
  })
})
