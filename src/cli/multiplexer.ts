import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const maxAncestors = 64

// Programs through whose socket another process of this user can type: there a key shows nothing about a person.
const multiplexers = /^(tmux|screen|SCREEN|zellij|tmate|byobu|dtach|abduco|mtm|dvtm|shpool|zmx)\b/

/**
 * The terminal multiplexer that this process runs in, if any. What cannot be found out counts as one: the price is a
 * passphrase.
 */
export async function findMultiplexer(env: NodeJS.ProcessEnv, pid = process.pid): Promise<string | undefined> {
  if (isSet(env['TMUX'])) return 'tmux'
  if (isSet(env['STY'])) return 'screen'
  if (isSet(env['ZELLIJ'])) return 'zellij'
  try {
    const ancestry = process.platform === 'linux' ? await ancestryFromProc(pid) : await ancestryFromPs(pid)
    return ancestry.find(name => multiplexers.test(name))
  } catch {
    return 'an unknown terminal'
  }
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== ''
}

async function ancestryFromProc(pid: number): Promise<string[]> {
  const names: string[] = []
  for (let current = pid; current > 0 && names.length < maxAncestors;) {
    const stat = await readFile(`/proc/${current}/stat`, 'latin1')
    // The name stands in parentheses and may hold any byte: fields count from the last one (proc(5)).
    names.push(stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')))
    current = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ', 2)[1])
  }
  return names
}

async function ancestryFromPs(pid: number): Promise<string[]> {
  const { stdout } = await promisify(execFile)('/bin/ps', ['-axo', 'pid=,ppid=,comm='], { maxBuffer: 16 << 20 })
  const processes = new Map<number, { parent: number; name: string }>()
  for (const line of stdout.split('\n')) {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line)
    if (match) processes.set(Number(match[1]), { parent: Number(match[2]), name: match[3]?.split('/').pop() ?? '' })
  }
  const names: string[] = []
  for (let current = pid; current > 0 && names.length < maxAncestors;) {
    const found = processes.get(current)
    if (found === undefined) break
    names.push(found.name)
    current = found.parent
  }
  return names
}
