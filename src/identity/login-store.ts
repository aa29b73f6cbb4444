import { z } from 'zod'
import type { Environment, Paths } from '../config/paths.ts'
import { readState, updateState } from '../config/private-file.ts'
import { AgentgateError } from '../errors.ts'
import { Secret } from '../secret.ts'
import { Keychain, keychainTrouble } from '../config/keychain.ts'

export interface LoginTokens {
  readonly issuer: string
  readonly clientId: string
  readonly idToken: Secret
  readonly refreshToken: Secret | null
}

/** Which login: one for each provider, client, and place to show its tokens at. */
export interface LoginKey {
  readonly issuer: string
  readonly clientId: string
  /** The only broker that its tokens are ever sent to; null: none, they are for the policy here. */
  readonly broker: string | null
}

/** What a login left: enough to show who one is, and to stay it. */
export interface Login extends LoginTokens, LoginKey {}

const secrets = z.object({ idToken: z.string(), refreshToken: z.string().nullable() })
const entry = z.object({
  issuer: z.string(),
  clientId: z.string(),
  broker: z.string().nullable().default(null),
  /** null: in the keychain. */
  secrets: secrets.nullable(),
  at: z.string(),
})
const stored = z.object({ logins: z.record(z.string(), entry) })

export type StorePlace =
  | { readonly kind: 'keychain' }
  /** `why` there and not in the keychain; `off`: by whoever runs this. */
  | { readonly kind: 'file'; readonly path: string; readonly why: 'off' | 'none' | 'locked' | 'silent' }

/** Logins of this user: tokens in the keychain, else in a file that only they can read. */
export class LoginStore {
  readonly #file: string
  readonly #keychain: Keychain

  constructor(paths: Paths, env: Environment) {
    this.#file = paths.loginsFile
    this.#keychain = new Keychain(env)
  }

  /** Newest first. */
  list(): readonly LoginKey[] {
    const { logins } = this.#read()
    return Object.values(logins).sort((a, b) => b.at.localeCompare(a.at))
  }

  /**
   * Undefined: never logged in, logged out, or somebody has removed it from the keychain.
   * @throws AgentgateError NOT_LOGGED_IN where the keychain does not give it out now
   */
  async load(of: LoginKey): Promise<Login | undefined> {
    const key = keyOf(of)
    const found = this.#read().logins[key]
    if (found === undefined || found.broker !== of.broker) return undefined
    let tokens = found.secrets
    if (tokens === null) {
      const answer = await this.#keychain.get(key)
      if (answer.kind !== 'ok') throw notGivenOut(answer.why)
      if (answer.secret === null) return undefined
      tokens = secrets.parse(JSON.parse(answer.secret))
    }
    return {
      ...{ issuer: of.issuer, clientId: of.clientId, broker: of.broker },
      idToken: new Secret(tokens.idToken),
      refreshToken: tokens.refreshToken === null ? null : new Secret(tokens.refreshToken),
    }
  }

  async save(login: Login): Promise<StorePlace> {
    const key = keyOf(login)
    const tokens = { idToken: login.idToken.reveal(), refreshToken: login.refreshToken?.reveal() ?? null }
    const kept = await this.#keychain.set(key, JSON.stringify(tokens))
    this.#write(logins => ({
      ...logins,
      [key]: {
        issuer: login.issuer,
        clientId: login.clientId,
        broker: login.broker,
        secrets: kept.kind === 'ok' ? null : tokens,
        at: new Date().toISOString(),
      },
    }))
    return kept.kind === 'ok' ? { kind: 'keychain' } : { kind: 'file', path: this.#file, why: kept.why }
  }

  async remove(of: LoginKey): Promise<void> {
    const key = keyOf(of)
    await this.#keychain.delete(key)
    this.#write(logins => Object.fromEntries(Object.entries(logins).filter(([name]) => name !== key)))
  }

  #read(): z.infer<typeof stored> {
    return readState(this.#file, stored, { logins: {} })
  }

  #write(change: (logins: z.infer<typeof stored>['logins']) => z.infer<typeof stored>['logins']): void {
    updateState(this.#file, stored, { logins: {} }, before => ({
      content: { logins: change(before.logins) },
      result: undefined,
    }))
  }
}

function notGivenOut(why: 'off' | 'none' | 'locked' | 'silent'): AgentgateError {
  if (why === 'off')
    return new AgentgateError('NOT_LOGGED_IN', 'your login is in the keychain, and AGENTGATE_KEYCHAIN is off', {
      hint: 'agentgate login',
    })
  return new AgentgateError('NOT_LOGGED_IN', `your login is in the keychain, which ${keychainTrouble(why)}`, {
    hint: `${why === 'locked' ? 'unlock it, or: ' : ''}AGENTGATE_KEYCHAIN=off agentgate login`,
  })
}

const keyOf = ({ issuer, clientId, broker }: LoginKey) =>
  broker === null ? `${issuer}#${clientId}` : `${issuer}#${clientId}#${broker}`
