import { spawn } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import type { Environment } from '../../config/paths.ts'
import { bubblewrapArguments, findBubblewrap } from './bubblewrap.ts'
import { seccompProgram } from './seccomp.ts'

export type Trial =
  /** What held when a process was really put behind walls: all of it but perhaps a user namespace or the filter. */
  | { readonly kind: 'works'; readonly file: string; readonly version: string; readonly lacks: readonly string[] }
  | { readonly kind: 'fails'; readonly file: string; readonly why: string }
  | { readonly kind: 'missing' }

const deadlineMs = 5000
const maxSaidBytes = 4096
/** Namespaces without which a child is not confined at all. */
const required = ['net', 'pid', 'ipc', 'mnt', 'uts'] as const
const question = `for kind in user ${required.join(' ')}; do echo $kind=$(readlink /proc/self/ns/$kind); done
grep ^Seccomp: /proc/self/status`

/** Puts a process behind the walls that `exec` builds, and has it say what it sees. Never throws. */
export async function tryConfinement(env: Environment): Promise<Trial> {
  const file = findBubblewrap(env)
  if (file === undefined) return { kind: 'missing' }
  const version = /[\d.]+/.exec((await said(file, ['--version'], [])).stdout)?.[0] ?? '?'
  const filter = seccompProgram()
  const words = bubblewrapArguments(
    {
      mounts: [
        { kind: 'read-only', path: '/' },
        { kind: 'devices', path: '/dev' },
        { kind: 'processes', path: '/proc' },
      ],
      workingFolder: '/',
      emptyFile: '/dev/null',
      seccomp: filter !== undefined,
    },
    { stays: false },
  )
  const args = Buffer.from(words.map(word => `${word}\0`).join(''))
  const { stdout, stderr } = await said(file, ['--args', '4', '--', '/bin/sh', '-c', question], [args, filter])
  const seen = new Map([...stdout.matchAll(/^(\w+)[=:]\s*(.*)$/gm)].map(([, name = '', value = '']) => [name, value]))
  const shared = required.filter(kind => !isOther(kind, seen.get(kind)))
  if (shared.length > 0) {
    const first = stderr.split('\n').find(line => line.trim() !== '')
    return { kind: 'fails', file, why: first?.replace(/^bwrap: /, '') ?? `no namespace for ${shared.join(', ')}` }
  }
  return {
    kind: 'works',
    file,
    version,
    lacks: [
      ...(isOther('user', seen.get('user')) ? [] : ['a user namespace']),
      // 2: SECCOMP_MODE_FILTER (proc_pid_status(5))
      ...(seen.get('Seccomp') === '2' ? [] : ['a filter of system calls']),
    ],
  }
}

function isOther(kind: string, seen: string | undefined): boolean {
  return seen?.startsWith(`${kind}:[`) === true && seen !== readlinkSync(`/proc/self/ns/${kind}`)
}

/** Runs it with `feed` on descriptors 4 and up, as src/agent/first-process.ts numbers them. */
async function said(
  file: string,
  args: readonly string[],
  feed: readonly (Buffer | undefined)[],
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const pipes = feed.map(bytes => (bytes === undefined ? 'ignore' : 'pipe'))
  const child = spawn(file, args, {
    stdio: ['ignore', 'pipe', 'pipe', 'ignore', ...pipes, ...(feed.length > 0 ? ['ignore' as const] : [])],
    env: { PATH: '/usr/bin:/bin' },
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      if (output[name].length < maxSaidBytes) output[name] += text
    })
  for (const [index, bytes] of feed.entries()) {
    const pipe = child.stdio[4 + index]
    pipe?.on('error', () => undefined) // it ended before it read all, and says why
    if (bytes !== undefined && pipe !== null && pipe !== undefined && 'end' in pipe) pipe.end(bytes)
  }
  return await new Promise(resolve => {
    child.on('error', error => resolve({ stdout: '', stderr: error.message }))
    child.on('close', () => resolve(output))
  })
}
