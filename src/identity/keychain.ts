import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import type { Environment } from '../config/paths.ts'

const service = 'agentgate'
const deadlineMs = 3000
const answer = z.object({ secret: z.string().nullable() })

/** `unavailable`: there is none, it is locked, or it did not answer in three seconds. */
export type KeychainAnswer = { readonly kind: 'ok'; readonly secret: string | null } | { readonly kind: 'unavailable' }

/** The operating system's keychain, where there is one. */
export class Keychain {
  readonly #env: Environment

  constructor(env: Environment) {
    this.#env = env
  }

  async get(account: string): Promise<KeychainAnswer> {
    return await this.#ask({ operation: 'get', service, account })
  }

  async set(account: string, secret: string): Promise<KeychainAnswer> {
    return await this.#ask({ operation: 'set', service, account, secret })
  }

  async delete(account: string): Promise<KeychainAnswer> {
    return await this.#ask({ operation: 'delete', service, account })
  }

  async #ask(request: object): Promise<KeychainAnswer> {
    const program = childProgram()
    if (program === undefined || !this.#mayExist()) return { kind: 'unavailable' }
    const child = spawn(process.execPath, [program], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: this.#env,
      timeout: deadlineMs,
      killSignal: 'SIGKILL',
    })
    child.on('error', () => undefined)
    child.stdin.on('error', () => undefined) // it may end before it has read
    child.stdin.end(JSON.stringify(request))
    try {
      return { kind: 'ok', secret: answer.parse(JSON.parse(await text(child.stdout))).secret }
    } catch {
      return { kind: 'unavailable' }
    }
  }

  /** Off by AGENTGATE_KEYCHAIN=off; on Linux it is reached over the session bus, which would otherwise be looked for. */
  #mayExist(): boolean {
    if (keychainIsOff(this.#env)) return false
    return process.platform !== 'linux' || (this.#env['DBUS_SESSION_BUS_ADDRESS'] ?? '') !== ''
  }
}

/** By whoever runs this, who knows then where tokens are. */
export function keychainIsOff(env: Environment): boolean {
  return /^(off|no|0|false)$/i.test(env['AGENTGATE_KEYCHAIN'] ?? '')
}

/** Beside the bundle, or beside its chunks' folder. */
function childProgram(): string | undefined {
  return ['./keychain-child.js', '../keychain-child.js']
    .map(place => fileURLToPath(new URL(place, import.meta.url)))
    .find(file => existsSync(file))
}
