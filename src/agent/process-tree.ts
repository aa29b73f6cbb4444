import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasErrno } from '../errors.ts'

interface ProcessState {
  readonly pid: number
  readonly parent: number
  readonly session: number
  readonly foregroundGroup: number
  readonly zombie: boolean
}

/** proc_pid_stat(5); undefined for a process that is gone. */
function stateOf(pid: number): ProcessState | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH', 'EACCES')) return undefined
    throw error
  }
  // The program's name stands in parentheses and may itself hold any byte: fields count from the last one.
  const [state, parent, , session, , foreground] = text.slice(text.lastIndexOf(')') + 2).split(' ', 6)
  return {
    pid,
    parent: Number(parent),
    session: Number(session),
    foregroundGroup: Number(foreground),
    zombie: state === 'Z' || state === 'X',
  }
}

function everyProcess(): readonly ProcessState[] {
  let names: readonly string[]
  try {
    names = readdirSync('/proc')
  } catch {
    return byPs() // no /proc, as on macOS
  }
  return names.flatMap(name => {
    const state = /^\d+$/.test(name) ? stateOf(Number(name)) : undefined
    return state === undefined ? [] : [state]
  })
}

/** What ps(1) says where there is no /proc. */
function byPs(): readonly ProcessState[] {
  const asked = spawnSync('ps', ['-axo', 'pid=,ppid=,pgid=,stat='], { encoding: 'utf8' })
  return asked.status === 0 ? readPs(asked.stdout) : []
}

/** A process group stands for the session, which ps on macOS does not tell. */
export function readPs(text: string): readonly ProcessState[] {
  return text.split('\n').flatMap(line => {
    const [pid, parent, group, state] = line.trim().split(/\s+/)
    return state === undefined
      ? []
      : [
          {
            pid: Number(pid),
            parent: Number(parent),
            session: Number(group),
            foregroundGroup: -1,
            zombie: state.startsWith('Z'),
          },
        ]
  })
}

/** The group that signals from the terminal of this process's session go to. */
export function foregroundGroup(pid: number): number | undefined {
  const group = stateOf(pid)?.foregroundGroup ?? -1
  return group > 1 ? group : undefined
}

/** What is below `root`, without it and without what has ended. In a PID namespace nothing leaves its first process. */
export function descendants(root: number): readonly number[] {
  const all = everyProcess()
  const found = new Set([root])
  for (let before = 0; before !== found.size;) {
    before = found.size
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid)
  }
  return all.filter(({ pid, zombie }) => pid !== root && found.has(pid) && !zombie).map(({ pid }) => pid)
}

/**
 * What a child left that is not in a namespace of its own: its descendants, its session, and whatever carries the
 * session's mark in its environment, which a double fork keeps.
 */
export function strays(root: number, mark: string): readonly number[] {
  const below = new Set(descendants(root))
  return everyProcess()
    .filter(
      ({ pid, session, zombie }) =>
        !zombie &&
        pid !== process.pid &&
        pid !== root &&
        pid > 1 &&
        (below.has(pid) || session === root || carries(pid, mark)),
    )
    .map(({ pid }) => pid)
}

function carries(pid: number, mark: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark)
  } catch {
    return false // another user's, or gone
  }
}

/** Whether the signal was sent; false for what is gone. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    if (hasErrno(error, 'ESRCH', 'EPERM')) return false
    throw error
  }
}

/** TERM for all that `find` finds, then KILL for what is left after `graceMs`, found anew until there is nothing. */
export async function endAll(find: () => readonly number[], graceMs: number): Promise<void> {
  for (const pid of find()) {
    sendSignal(pid, 'SIGTERM')
    sendSignal(pid, 'SIGCONT') // what is stopped would not notice
  }
  const deadline = performance.now() + graceMs
  while (performance.now() < deadline && find().length > 0) await sleep(10)
  // What forks while it is being looked for is found in a later round.
  for (let round = 0; round < 100; round++) {
    const left = find()
    if (left.length === 0) return
    for (const pid of left) sendSignal(pid, 'SIGSTOP')
    for (const pid of left) sendSignal(pid, 'SIGKILL')
    await sleep(5)
  }
}
