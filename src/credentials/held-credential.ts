import { AgentgateError } from '../errors.ts'
import type { Credential, CredentialIssuer, MintRequest } from './credential.ts'

/** What is left of a credential's life when it is renewed, at most: a third of it where it is shorter. */
const renewBeforeMs = 5 * 60_000
const retryMs = 10_000
const sweepEveryMs = 5 * 60_000
/** A target that does not answer must not keep a session from ending: what is left there expires, and is swept. */
const endWithinMs = 8000

/** A session's credential for one resource: renewed while its grant lasts, ended with it. */
export class HeldCredential {
  readonly #issuer: CredentialIssuer
  #current: Credential
  #mintedAt = Date.now()
  #renewing = false
  #triedAt = 0
  #sweptAt = 0
  #ended: Promise<AgentgateError | undefined> | undefined

  private constructor(issuer: CredentialIssuer, credential: Credential) {
    this.#issuer = issuer
    this.#current = credential
  }

  /** @throws AgentgateError as the issuer's `mint` */
  static async mint(issuer: CredentialIssuer, request: MintRequest): Promise<HeldCredential> {
    return new HeldCredential(issuer, await issuer.mint(request))
  }

  get current(): Credential {
    return this.#current
  }

  /** Called about every second: renews what would end before its grant, and looks for what a crash left. */
  tick(grantLeftSeconds: number, onTrouble: (text: string) => void): void {
    if (this.#ended !== undefined) return
    const now = Date.now()
    if (now - this.#sweptAt > sweepEveryMs) {
      this.#sweptAt = now
      // What cannot be swept now is tried again, here and by every later session.
      void this.#issuer.sweep().catch(() => undefined)
    }
    const { expiresAt } = this.#current
    if (expiresAt === null || this.#renewing || now - this.#triedAt < retryMs) return
    const leftMs = expiresAt.getTime() - now
    const life = expiresAt.getTime() - this.#mintedAt
    if (leftMs > Math.min(renewBeforeMs, life / 3) || grantLeftSeconds * 1000 <= leftMs + 1000) return
    this.#triedAt = now
    this.#renewing = true
    void this.#renew(grantLeftSeconds, onTrouble).finally(() => (this.#renewing = false))
  }

  async #renew(grantLeftSeconds: number, onTrouble: (text: string) => void): Promise<void> {
    try {
      const renewed = await this.#issuer.renew(this.#current, grantLeftSeconds)
      this.#mintedAt = Date.now()
      this.#current = renewed
    } catch (error) {
      // Nobody awaits this: our own bug is told too, rather than ending the process and every tunnel in it.
      const why = error instanceof AgentgateError ? error.message : 'a bug of agentgate'
      onTrouble(`the credential could not be renewed, and will be tried again: ${why}`)
    }
  }

  /**
   * Ends it at the target, and what runs under it. May be called again. Returns why it could not be ended: it then ends
   * by itself when it expires, and a later sweep removes it.
   */
  async end(): Promise<AgentgateError | undefined> {
    this.#ended ??= this.#end()
    return await this.#ended
  }

  async #end(): Promise<AgentgateError | undefined> {
    const late: { timer?: NodeJS.Timeout } = {}
    const tooLate = new Promise<AgentgateError>(resolve => {
      late.timer = setTimeout(
        () => resolve(new AgentgateError('TARGET_UNREACHABLE', `no answer in ${endWithinMs / 1000} s`)),
        endWithinMs,
      )
    })
    const work = async () => {
      try {
        await this.#issuer.revoke(this.#current)
        await this.#issuer.terminate(this.#current)
        return undefined
      } catch (error) {
        if (error instanceof AgentgateError) return error
        throw error
      }
    }
    try {
      return await Promise.race([work(), tooLate])
    } finally {
      clearTimeout(late.timer)
    }
  }
}
