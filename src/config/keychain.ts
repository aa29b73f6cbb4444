import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import type { Environment } from './paths.ts'

const deadlineMs = 3000
const answer = z.union([
  z.object({ secret: z.string().nullable() }),
  z.object({ trouble: z.enum(['none', 'locked', 'silent']) }),
])

export type KeychainAnswer =
  | { readonly kind: 'ok'; readonly secret: string | null }
  /** `silent`: it did not answer in three seconds. */
  | { readonly kind: 'unavailable'; readonly why: 'off' | 'none' | 'locked' | 'silent' }

/** The operating system's keychain, where there is one. */
export class Keychain {
  readonly #env: Environment
  readonly #service: string

  constructor(env: Environment, service = 'agentgate') {
    this.#env = env
    this.#service = service
  }

  async get(account: string): Promise<KeychainAnswer> {
    return await this.#ask({ operation: 'get', service: this.#service, account })
  }

  async set(account: string, secret: string): Promise<KeychainAnswer> {
    return await this.#ask({ operation: 'set', service: this.#service, account, secret })
  }

  async delete(account: string): Promise<KeychainAnswer> {
    return await this.#ask({ operation: 'delete', service: this.#service, account })
  }

  async #ask(request: object): Promise<KeychainAnswer> {
    if (keychainIsOff(this.#env)) return { kind: 'unavailable', why: 'off' }
    const program = childProgram()
    if (program === undefined || !this.#mayExist()) return { kind: 'unavailable', why: 'none' }
    const child = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'ignore'], env: this.#env })
    const late = { is: false }
    const deadline = setTimeout(() => {
      late.is = child.kill('SIGKILL')
      child.stdout.destroy() // what it has started may hold the pipe
    }, deadlineMs)
    child.on('error', () => undefined)
    child.stdin.on('error', () => undefined) // it may end before it has read
    child.stdin.end(JSON.stringify(request))
    try {
      const said = answer.parse(JSON.parse(await text(child.stdout)))
      return 'trouble' in said ? { kind: 'unavailable', why: said.trouble } : { kind: 'ok', secret: said.secret }
    } catch {
      return { kind: 'unavailable', why: late.is ? 'silent' : 'none' }
    } finally {
      clearTimeout(deadline)
    }
  }

  /** On Linux it is reached over the session bus, which would otherwise be looked for. */
  #mayExist(): boolean {
    return process.platform !== 'linux' || (this.#env['DBUS_SESSION_BUS_ADDRESS'] ?? '') !== ''
  }
}

/** What is wrong with it, after its name. */
export function keychainTrouble(why: 'none' | 'locked' | 'silent'): string {
  switch (why) {
    case 'none':
      return 'is not here'
    case 'locked':
      return 'is locked'
    case 'silent':
      return 'does not answer'
    default:
      return why satisfies never
  }
}

function keychainIsOff(env: Environment): boolean {
  return /^(off|no|0|false)$/i.test(env['AGENTGATE_KEYCHAIN'] ?? '')
}

/** Beside the bundle, or beside its chunks' folder. */
function childProgram(): string | undefined {
  return ['./keychain-child.js', '../keychain-child.js']
    .map(place => fileURLToPath(new URL(place, import.meta.url)))
    .find(file => existsSync(file))
}
