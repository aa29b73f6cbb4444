import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { agentgateBin, Place, root } from '../support/agentgate.ts'
import { runProgram } from '../support/processes.ts'

let place: Place

beforeAll(() => {
  place = new Place(`version: 1
resources:
  api:
    kind: http
    address: 127.0.0.1:9
    tls: off
    credential: { issuer: static, secret: "\${env:API_TOKEN}" }
    scopes: { all: {} }
`)
})

describe('agentgate without a command', () => {
  it('says what it is for and how to begin, in one screen', async () => {
    const { code, stdout, stderr } = await place.run([])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n').length).toBeLessThan(20)
    expect(stdout).toMatch(/^agentgate {2}short-lived, supervised access/)
    for (const command of ['demo', 'init', 'connect db-prod', 'exec -r db-prod -- claude', 'approvals', 'sessions'])
      expect(stdout).toContain(`  agentgate ${command} `)
    expect(stdout).toContain('policy agentgate.yaml')
  })

  it('finds the policy of a folder above, and says so where there is none', async () => {
    mkdirSync(path.join(place.folder, 'deep/er'), { recursive: true })
    expect((await place.run([], { cwd: path.join(place.folder, 'deep/er') })).stdout).toContain(
      'policy ../../agentgate.yaml',
    )
    expect((await place.run([], { cwd: '/' })).stdout).toContain('no policy here: agentgate init')
  })

  it.each([['--help'], ['-h'], ['help']])('lists every command with %s', async flag => {
    const { code, stdout } = await place.run([flag])
    expect(code).toBe(0)
    for (const command of ['connect', 'exec', 'approvals', 'status', 'down', 'secret', 'completion'])
      expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'))
    expect(stdout).toMatch(/exit codes:/)
  })

  it('has a version', async () => {
    expect((await place.run(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})

describe('help of a command', () => {
  it('starts with examples, and is the same by either way', async () => {
    const { code, stdout } = await place.run(['help', 'connect'])
    expect(code).toBe(0)
    expect(stdout.indexOf('examples:')).toBeLessThan(stdout.indexOf('usage:'))
    expect(stdout).toContain('agentgate connect db-prod -- psql')
    expect(stdout).toMatch(/124 expired or\s+revoked/)
    expect((await place.run(['connect', '--help'])).stdout).toBe(stdout)
    expect((await place.run(['--json', 'help', 'connect'])).code).not.toBe(1)
  })

  it('reads no policy and opens nothing', async () => {
    const { code } = await place.run(['connect', '--help'], { env: { AGENTGATE_HOME: '/proc/nowhere' } })
    expect(code).toBe(0)
  })

  it('exists for every command and every one below', async () => {
    const listed = (await place.run(['--help'])).stdout.split('commands:\n')[1]?.split('\n\n')[0] ?? ''
    const commands = listed.split('\n').flatMap(line => /^ {2}(\w+)/.exec(line)?.[1] ?? [])
    expect(commands.length).toBeGreaterThan(10)
    for (const command of commands) {
      const { code, stdout, stderr } = await place.run(['help', command])
      expect({ command, code, stderr }).toEqual({ command, code: 0, stderr: '' })
      expect(stdout, command).toMatch(/usage: agentgate/)
    }
  })
})

describe('a mistake', () => {
  it.each([
    [['conect'], 'unknown command "conect"', /did you mean connect\?/],
    [['help', 'polcy'], 'unknown command "polcy"', /did you mean agentgate policy\?/],
    [['connect', 'api', '--scop', 'x'], 'unknown option --scop', /did you mean --scope\?/],
    [['approvals', 'aprove', 'a_1'], 'unknown command "aprove"', /did you mean/],
    [['connect', 'api', '--for', 'forever'], /--for.*90s, 30m, 2h or 1d/, /agentgate help connect/],
    [['connect', 'api', '--port', '99999'], /a port is from 1 to 65535/, /agentgate help connect/],
    [['connect', 'api', 'api'], 'api is named twice', undefined],
    [['connect', 'api', '-s', 'a', '-s', 'b'], 'several scopes: a, b', /--scope db-prod=write/],
    [['connect', 'api', '-s', 'apo=b'], '--scope names apo, which is not opened here', /did you mean api\?/],
    [['down', '--all', 'x'], '--all and names do not go together', undefined],
    [['down', 's_NOPE'], 'no open session is called "s_NOPE"', /nothing is open/],
    [['approvals', 'approve', 'a_NOPE'], /no request a_NOPE is waiting/, /agentgate approvals list/],
    [
      ['approvals', 'approve', 'a_NOPE', '--times', '3'],
      'a shape is approved with both limits',
      /--times 10 --for 30m/,
    ],
    [['approvals', 'reject', 'a_NOPE'], /--reason.* not specified/, /agentgate help approvals/],
    [['completion', 'tcsh'], /bash, zsh, fish/, /agentgate help completion/],
  ] as const)('%j is met with what is wrong and what to do', async (args, message, hint) => {
    const { code, stdout, stderr } = await place.run(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    const [error = '', hintLine = ''] = stderr.split('\n')
    if (typeof message === 'string') expect(error).toBe(`error: ${message}`)
    else expect(error).toMatch(message)
    if (hint !== undefined) expect(hintLine).toMatch(hint)
  })

  it('in a resource’s name is met with the nearest', async () => {
    const { code, stderr } = await place.run(['connect', 'apo', ...(await place.trusted())])
    expect(code).toBe(2)
    expect(stderr).toMatch(/^error: no resource "apo" in agentgate\.yaml\nhint: {2}did you mean api\?/)
  })

  it('is one JSON line with --json, wherever that stands', async () => {
    for (const args of [
      ['--json', 'down', 's_NOPE'],
      ['down', 's_NOPE', '--json'],
    ]) {
      const { code, stdout } = await place.run(args)
      expect(code).toBe(2)
      expect(JSON.parse(stdout)).toMatchObject({ event: 'error', code: 'NO_SUCH_SESSION', exitCode: 2 })
    }
    const byVariable = await place.run(['down', 's_NOPE'], { env: { AGENTGATE_JSON: '1' } })
    expect(JSON.parse(byVariable.stdout)).toMatchObject({ code: 'NO_SUCH_SESSION' })
  })

  it('with a command to run is 125, as env(1) has it, and leaves stdout to that command', async () => {
    for (const args of [
      ['connect', 'apo', ...(await place.trusted()), '--json', '--', 'echo', 'ran'],
      ['connect', 'api', '--prot', '1', '--json', '--', 'echo', 'ran'],
    ]) {
      const { code, stdout, stderr } = await place.run(args)
      expect({ code, stdout }).toEqual({ code: 125, stdout: '' })
      expect(stderr).toMatch(/"exitCode":125/)
    }
  })

  it('does not let an argument act on the terminal', async () => {
    const { stderr } = await place.run(['\u001b[2Jconect'])
    expect(stderr).toContain('\\x1b[2Jconect')
    expect(stderr).not.toContain('\u001b')
  })
})

describe('an untrusted policy', () => {
  it('gives nothing, with 4 and what to do', async () => {
    const { code, stderr } = await place.run(['connect', 'api'])
    expect(code).toBe(4)
    expect(stderr).toMatch(/has not been trusted/)
    expect(stderr).toMatch(/agentgate trust/)
  })
})

describe('with nothing open', () => {
  it('status, down and approvals say so and are fine', async () => {
    expect(await place.run(['status'])).toMatchObject({ code: 0, stdout: '' })
    expect(await place.run(['status', '--json'])).toMatchObject({ code: 0, stdout: '' })
    expect(await place.run(['down'])).toMatchObject({ code: 0, stderr: 'nothing is open\n' })
    expect(await place.run(['approvals'])).toMatchObject({ code: 0, stdout: '' })
  })
})

describe('a reader that goes away', () => {
  it('is no error', async () => {
    const child = spawn(agentgateBin, ['--help'], { env: place.env, stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.destroy()
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    const [code] = (await once(child, 'close')) as [number]
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  })
})

describe('completions', () => {
  /** What bash would offer for a line; the cursor is at its end. */
  async function offered(line: string, env: Record<string, string> = {}): Promise<string[]> {
    const script = `
source <("$AGENTGATE" completion bash)
agentgate() { "$AGENTGATE" "$@"; }
COMP_WORDS=(${line.endsWith(' ') ? `${line} ''` : line})
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
_agentgate
printf '%s\\n' "\${COMPREPLY[@]}"`
    const { code, stdout, stderr } = await runProgram('bash', ['--norc', '-c', script], {
      cwd: place.folder,
      env: { ...place.env, AGENTGATE: agentgateBin, ...env },
    })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return stdout.split('\n').filter(word => word !== '')
  }

  it('offer commands, subcommands, options and resources', async () => {
    expect(await offered('agentgate co')).toEqual(['connect', 'completion'])
    expect(await offered('agentgate approvals ')).toEqual(['list', 'approve', 'edit', 'reject'])
    expect(await offered('agentgate connect ')).toEqual(['api'])
    expect(await offered('agentgate connect --wr')).toEqual(['--write-files'])
    expect(await offered('agentgate secret rotate ')).toEqual(['api'])
    expect(await offered('agentgate completion ')).toEqual(['bash', 'zsh', 'fish'])
    expect(await offered('agentgate connect api -- ec')).toContain('echo')
    expect(await offered('agentgate connect --port ')).toEqual([])
  })

  it('offer nothing that a shell would run, whatever a policy names', async () => {
    const evil = path.join(place.folder, 'evil.yaml')
    writeFileSync(evil, 'version: 1\nresources: { "$(touch pwned)": {}, "`id`": {}, good: {}, "a b": {} }\n')
    expect(await offered('agentgate connect ', { AGENTGATE_POLICY: evil })).toEqual(['good'])
    writeFileSync(evil, 'resources: [')
    expect(await offered('agentgate connect ', { AGENTGATE_POLICY: evil })).toEqual([])
  })

  it.each(['bash', 'zsh', 'fish'] as const)('in completions/ are those that agentgate makes (%s)', async shell => {
    const { stdout } = await place.run(['completion', shell])
    const names = { bash: 'agentgate.bash', zsh: '_agentgate', fish: 'agentgate.fish' }
    // Made anew by: npx vitest run test/cli/command-line.test.ts -u
    await expect(stdout).toMatchFileSnapshot(path.join(root, 'completions', names[shell]))
  })
})

describe('starting', () => {
  // What it costs in time is measured by bench/; what it may load is held here.
  it('loads next to nothing for --help', () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-loaded-'))
    const program = path.join(root, 'dist/agentgate.js')
    spawnSync(process.execPath, [program, '--help'], { env: { ...place.env, NODE_V8_COVERAGE: folder } })
    const reports = readdirSync(folder).map(name => readFileSync(path.join(folder, name), 'utf8'))
    rmSync(folder, { recursive: true })
    const loaded = reports
      .flatMap(report => (JSON.parse(report) as { result: { url: string }[] }).result)
      .filter(({ url }) => url.startsWith('file:'))
      .map(({ url }) => fileURLToPath(url))
    expect(loaded).toContain(program)
    expect(loaded.filter(file => file.includes('node_modules'))).toEqual([])
    expect(loaded.reduce((bytes, file) => bytes + statSync(file).size, 0)).toBeLessThan(150_000)
  })
})
