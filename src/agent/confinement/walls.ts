import type { Environment } from '../../config/paths.ts'
import type { ListenerPlace } from '../../tunnel/listener.ts'
import type { Enclosure, Helper } from '../child.ts'
import type { Profile } from '../profile.ts'

export interface WallsOptions {
  readonly workingFolder: string
  readonly home: string
  readonly env: Environment
  /** Configuration, state, recordings, sockets: never visible, whatever is opened. */
  readonly agentgateFolders: readonly string[]
  /** A folder of this user's alone for what lives as long as the child. */
  readonly scratchRoot: string
  /** Neither changed, replaced nor moved by the child where they lie in what it may write. */
  readonly policyFiles: readonly string[]
  /** Secrets that the policy takes from files. */
  readonly secretFiles: readonly string[]
  /** `--read` and `--write`. */
  readonly readable: readonly string[]
  readonly writable: readonly string[]
  /** The same by the policy, which need not be there: what is opened need not be protected. */
  readonly policyReadable: readonly string[]
  readonly policyWritable: readonly string[]
  readonly profile: Profile
  /** What the agent's hooks run, where its tool calls are decided on here: node, agentgate's program, `hook`. */
  readonly hook: readonly [node: string, program: string, ...string[]] | null
  /** agentgate's own: neither changed nor replaced by the child. */
  readonly program: string
}

/** What stands around one child, however this system makes it. */
export interface Walls {
  readonly workingFolder: string
  readonly warnings: readonly string[]
  /** What they hold, in the line that `exec` starts with. */
  readonly holds: string
  /** The agent has to ask before it uses a tool of its own. */
  readonly asksForTools: boolean
  readonly enclosure: Enclosure | null
  readonly helper: Helper | null
  /** Where tunnels are opened for it; null: on this machine's loopback. */
  readonly place: Pick<ListenerPlace, 'open' | 'socketFolder'> | null
  /** Stronger than what is inherited. */
  readonly environment: Readonly<Record<string, string>>
  /** What is run for a command. */
  command(file: string, args: readonly string[]): readonly [file: string, ...args: string[]]
  /** Whether what lies there outside lies there for the child too. */
  sees(place: string): boolean
  /** Every tunnel is open, on these ports: the child may run. */
  finish(ports: readonly number[]): void
  /** What was protected and is not as it was: someone outside changed it, or the child found a way. */
  changed(): readonly string[]
  /** After the child has ended. */
  remove(): void
}

export const unconfinedHint = 'say --unconfined to run it without walls; the record will say so'
