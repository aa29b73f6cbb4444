import { existsSync } from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../../errors.ts'
import { within } from './mount.ts'
import { ownProgram } from './own-program.ts'
import { realOrSelf } from './real-path.ts'
import type { WallsOptions } from './walls.ts'
import { resolveWorkingFolder } from './working-folder.ts'

/** What a child may see and write besides the system, all by its real path. */
export interface Opened {
  readonly home: string
  readonly workingFolder: string
  /** agentgate's own folders. */
  readonly own: readonly string[]
  readonly readable: readonly string[]
  readonly writable: readonly string[]
  /** Named by the person or the policy: neither hidden nor protected. */
  readonly opened: ReadonlySet<string>
  /** Where the child may write. */
  readonly roots: readonly string[]
  /** Of agentgate's program, what lies in there. */
  readonly program: readonly string[]
}

/** @throws AgentgateError UNCONFINED, NOT_STARTED, USAGE */
export function resolveOpened(options: WallsOptions): Opened {
  const home = realOrSelf(options.home)
  const workingFolder = resolveWorkingFolder(options.workingFolder, home)
  const own = options.agentgateFolders.map(realOrSelf)
  const mine = own.find(folder => within(workingFolder, folder))
  if (mine !== undefined)
    throw new AgentgateError('UNCONFINED', `the working folder lies in agentgate’s own ${mine}`, {
      hint: 'run it from a project’s own folder',
    })
  const resolved = (asked: readonly string[], byPolicy: readonly string[]) => [
    ...asked.map(place => openedPlace(place, home, own)),
    ...byPolicy.map(place => allowedPlace(place, home, own)),
  ]
  const readable = resolved(options.readable, options.policyReadable)
  const writable = resolved(options.writable, options.policyWritable)
  const opened = new Set([...readable, ...writable])
  const roots = [workingFolder, ...writable]
  const program = roots.flatMap(root => ownProgram(realOrSelf(options.program), root))
  return {
    home,
    workingFolder,
    own,
    readable,
    writable,
    opened,
    roots,
    program: [...new Set(program)].filter(place => !opened.has(place)),
  }
}

/** What to say of a program that lies where it would be in the child's way. */
export function programWarnings({ program }: Opened): readonly string[] {
  return program
    .filter(place => path.basename(place) === 'node_modules')
    .map(place => `${place} is read-only, as agentgate is installed there; npm ci needs it installed elsewhere`)
}

function openedPlace(place: string, home: string, own: readonly string[]): string {
  const real = allowedPlace(place, home, own)
  if (!existsSync(real)) throw new AgentgateError('USAGE', `there is no ${place}`, { exitCode: 125 })
  return real
}

function allowedPlace(place: string, home: string, own: readonly string[]): string {
  const real = realOrSelf(path.resolve(place))
  if (own.some(folder => within(real, folder)) || within(home, real))
    throw new AgentgateError('USAGE', `${place} cannot be opened to a child: it holds more than one project`, {
      hint: 'name the file or folder that it needs',
      exitCode: 125,
    })
  return real
}
