import https from 'node:https'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import * as jose from 'jose'
import { Paths } from '../../src/config/paths.ts'
import { createApproverKey, type UnlockedKey } from '../../src/policy/approver-key.ts'
import { readPolicyFiles } from '../../src/policy/policy-files.ts'
import { trustPolicy } from '../../src/policy/trust.ts'
import { audience, clientId, newKey, TestProvider } from '../identity/provider.ts'
import { Place } from '../support/agentgate.ts'
import { RunningBroker } from './running-broker.ts'

/** What a broker answered. */
export interface Answer {
  readonly status: number
  readonly text: string
}

/** An identity provider, a broker over TLS that believes it, and people who each have a machine of their own. */
export class Team {
  readonly idp: TestProvider
  readonly broker: RunningBroker
  /** As the broker began with it. */
  readonly policy: string
  /** What it was started with, for another beside it. */
  readonly listen: readonly string[]
  readonly #key = newKey()
  readonly #trustKey: UnlockedKey

  private constructor(
    idp: TestProvider,
    broker: RunningBroker,
    listen: readonly string[],
    policy: string,
    trustKey: UnlockedKey,
  ) {
    this.#trustKey = trustKey
    this.idp = idp
    this.broker = broker
    this.listen = listen
    this.policy = policy
  }

  /** @param policy without version and issuers */
  static async start(
    policy: string,
    env: Readonly<Record<string, string>>,
    more: readonly string[] = [],
  ): Promise<Team> {
    const idp = await TestProvider.start()
    const text = `version: 1
issuers:
  - { issuer: "${idp.issuer}", audience: "${audience}", client-id: ${clientId}, claims: { name: sub } }
${policy}`
    const tls = ['--tls-cert', idp.caFile, '--tls-key', path.join(path.dirname(idp.caFile), 'key.pem')]
    const listen = ['--listen', 'localhost:0', ...tls, ...more]
    let key: UnlockedKey | undefined
    const brokerEnv = { NODE_EXTRA_CA_CERTS: idp.caFile, ...env }
    const broker = await RunningBroker.start(text, brokerEnv, listen, async place => {
      key = await createApproverKey(new Paths(place.env), 'correct horse battery staple')
      trust(place, key)
    })
    if (key === undefined) throw new Error('not trusted')
    return new Team(idp, broker, listen, text, key)
  }

  /** Writes another policy, as its owner would, and trusts it. */
  replacePolicy(policy: string): void {
    const { place } = this.broker
    writeFileSync(place.policy, policy)
    trust(place, this.#trustKey)
  }

  /** A token of theirs; `change` makes it worse, `wrongKey` signs it with one that is nobody’s. */
  async token(
    sub: string,
    groups: readonly string[],
    options: {
      readonly claims?: Readonly<Record<string, unknown>>
      readonly change?: (jwt: jose.SignJWT) => jose.SignJWT
      readonly wrongKey?: boolean
    } = {},
  ): Promise<string> {
    const key = options.wrongKey === true ? { ...this.#key, kid: this.idp.key.kid } : this.idp.key
    const jwt = new jose.SignJWT({ groups: [...groups], ...options.claims })
      .setProtectedHeader({ alg: 'ES256', kid: key.kid })
      .setIssuer(this.idp.issuer)
      .setAudience(audience)
      .setSubject(sub)
      .setIssuedAt()
      .setExpirationTime('15m')
    return await (options.change ?? (each => each))(jwt).sign(await jose.importJWK(key.private, 'ES256'))
  }

  /** Somebody's machine, which knows the broker and nothing else. */
  async machine(
    sub: string,
    groups: readonly string[],
    claims: Readonly<Record<string, unknown>> = {},
  ): Promise<Place> {
    return new Place('version: 1\n', {
      AGENTGATE_BROKER: this.broker.https,
      AGENTGATE_BROKER_CA: this.idp.caFile,
      AGENTGATE_ID_TOKEN: await this.token(sub, groups, { claims }),
    })
  }

  /** One call, whatever it is. */
  async call(method: string, route: string, token: string | undefined, body?: object | string): Promise<Answer> {
    return await new Promise((resolve, reject) => {
      const request = https.request(`${this.broker.https}${route}`, {
        method,
        ca: readFileSync(this.idp.caFile),
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      })
      request.on('error', reject)
      request.on('response', response => {
        let text = ''
        const done = () => resolve({ status: response.statusCode ?? 0, text })
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString()
          // A stream has answered once it says something.
          if (response.headers['content-type'] !== 'application/x-ndjson') return
          done()
          request.destroy()
        })
        response.on('end', done)
        response.on('error', reject)
      })
      request.end(typeof body === 'object' ? JSON.stringify(body) : body)
    })
  }

  /** Calls on so many connections that stay open. */
  persistently(connections: number) {
    const agent = new https.Agent({ keepAlive: true, maxSockets: connections, ca: readFileSync(this.idp.caFile) })
    return {
      status: async (route: string, token: string | undefined) =>
        await new Promise<number>((resolve, reject) => {
          const headers = { authorization: `Bearer ${token ?? ''}` }
          https
            .get(`${this.broker.https}${route}`, { agent, headers }, response => {
              response.resume()
              response.on('end', () => resolve(response.statusCode ?? 0))
            })
            .on('error', reject)
        }),
      [Symbol.asyncDispose]: async () => agent.destroy(),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.broker[Symbol.asyncDispose]()
    await this.idp[Symbol.asyncDispose]()
  }
}

function trust(place: Place, key: UnlockedKey): void {
  trustPolicy(new Paths(place.env), readPolicyFiles(place.policy, place.folder), key)
}

/** The lines of `--json`. */
export function lines<T = Record<string, string>>(stdout: string): T[] {
  return stdout
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as T)
}
