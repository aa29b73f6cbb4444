import http from 'node:http'
import https from 'node:https'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { z } from 'zod'
import { AgentgateError, errorCodes, type ErrorCode } from '../errors.ts'
import { parseJson, readBounded } from '../json-body.ts'
import type { Secret } from '../secret.ts'
import { parseBrokerAddress, type BrokerAddress } from './broker-address.ts'
import * as audit from './audit-schema.ts'
import type { SentEvent } from './audit-schema.ts'
import * as schema from './broker-schema.ts'
import {
  approvalResult,
  editPreview,
  type ApprovalAnswer,
  type ApprovalRequest,
  type ApprovalResult,
  type EditPreview,
} from './schema.ts'
import * as witness from './witness-schema.ts'
import type { FoundStatement, IndexedStatement, StatementSearch } from './witness-schema.ts'

const timeoutMs = 30_000
const maxTries = 3
const maxAnswerBytes = 16 << 20

/** What answers speaks no way that a broker does. */
export class NoBroker extends AgentgateError {
  constructor(message: string) {
    super('BROKER_UNREACHABLE', message, { hint: 'both ends should be the same version: agentgate --version' })
  }
}

/** The broker's API from the other side. Every method throws AgentgateError: BROKER_UNREACHABLE, or what the broker says. */
export class BrokerClient {
  readonly #at: BrokerAddress
  readonly #token: Secret | null

  /** @param token says who asks; null on a unix socket, whose owner it is. */
  constructor(at: BrokerAddress, token: Secret | null) {
    this.#at = { ...at, address: parseBrokerAddress(at.address) }
    this.#token = token
  }

  get address(): string {
    return this.#at.address
  }

  /** Whom to trust for its certificate, as PEM. */
  get authority(): string | undefined {
    return this.#at.ca
  }

  async issuers(): Promise<readonly schema.BrokerIssuer[]> {
    return (await this.#call(schema.brokerIssuers, 'GET', '/v1/issuers')).issuers
  }

  async whoami(): Promise<schema.Whoami> {
    return await this.#call(schema.whoami, 'GET', '/v1/whoami')
  }

  async open(request: schema.OpenRequest): Promise<schema.OpenedSession> {
    return await this.#call(schema.openedSession, 'POST', '/v1/sessions', request)
  }

  async renew(session: string, token: string, grant: string, seconds: number): Promise<schema.WireCredential> {
    const body = { grant, seconds }
    return (await this.#call(schema.renewed, 'POST', `/v1/sessions/${session}/renew`, body, token)).credential
  }

  /** As whoever opened it. */
  async extend(session: string, seconds: number | null): Promise<z.infer<typeof schema.extended>> {
    return await this.#call(schema.extended, 'POST', `/v1/sessions/${encodeURIComponent(session)}/extend`, { seconds })
  }

  async end(session: string, token: string, reason: string): Promise<void> {
    await this.#call(schema.ended, 'POST', `/v1/sessions/${session}/end`, { reason }, token)
  }

  async accessWho(resource: string): Promise<schema.AccessAnswer> {
    return await this.#call(schema.accessAnswer, 'GET', `/v1/access?${new URLSearchParams({ resource }).toString()}`)
  }

  /** @param principal null: the caller */
  async accessOf(principal: string | null, groups: readonly string[]): Promise<schema.AccessAnswer> {
    const query = new URLSearchParams(groups.map((group): [string, string] => ['group', group]))
    if (principal !== null) query.set('principal', principal)
    return await this.#call(schema.accessAnswer, 'GET', `/v1/access?${query.toString()}`)
  }

  async grants(): Promise<readonly schema.GrantRow[]> {
    return (await this.#call(schema.grantList, 'GET', '/v1/grants')).grants
  }

  async revokeGrant(grant: string, reason: string): Promise<void> {
    await this.#call(schema.ended, 'POST', `/v1/grants/${encodeURIComponent(grant)}/revoke`, { reason })
  }

  async killSession(session: string, reason: string): Promise<void> {
    await this.#call(schema.ended, 'POST', `/v1/sessions/${encodeURIComponent(session)}/kill`, { reason })
  }

  /** Shows what waits to whoever may answer it; the same again changes nothing. */
  async ask(session: string, token: string, request: ApprovalRequest): Promise<void> {
    await this.#call(schema.ended, 'POST', `/v1/sessions/${session}/approvals`, request, token)
  }

  /** That it no longer waits; false: it had been decided. */
  async endApproval(
    session: string,
    token: string,
    id: string,
    outcome: z.infer<typeof schema.approvalEnd>['outcome'],
  ): Promise<boolean> {
    const route = `/v1/sessions/${session}/approvals/${encodeURIComponent(id)}/end`
    return (await this.#call(schema.approvalEnded, 'POST', route, { outcome }, token)).claimed
  }

  /** The key that the broker countersigns recordings with, raw in base64. */
  async witnessKey(): Promise<string> {
    return (await this.#call(witness.witnessKey, 'GET', '/v1/witness')).key
  }

  /** The receipt for a point of a session's chain, to be parsed by whoever believes it. */
  async countersign(session: string, token: string, head: object, signal: AbortSignal): Promise<unknown> {
    const route = `/v1/sessions/${session}/witness`
    return (await this.#call(witness.receiptAnswer, 'POST', route, head, token, signal)).receipt
  }

  async indexStatements(session: string, token: string, statements: readonly IndexedStatement[]): Promise<void> {
    await this.#call(witness.indexed, 'POST', `/v1/sessions/${session}/statements`, { statements }, token)
  }

  async receipts(session: string): Promise<readonly unknown[]> {
    return (await this.#call(witness.receiptList, 'GET', `/v1/sessions/${encodeURIComponent(session)}/receipts`))
      .receipts
  }

  /** As whoever opened the session. */
  async indexLate(session: string, statements: readonly IndexedStatement[]): Promise<void> {
    await this.#call(witness.indexed, 'POST', `/v1/sessions/${session}/statements/late`, { statements })
  }

  /** Returns how many the index had. */
  async eraseStatements(session: string, reason: string): Promise<number> {
    const route = `/v1/sessions/${encodeURIComponent(session)}/statements/erase`
    return (await this.#call(witness.erased, 'POST', route, { reason })).erased
  }

  async sendAudit(events: readonly SentEvent[], signal: AbortSignal): Promise<void> {
    await this.#call(audit.auditTaken, 'POST', '/v1/audit', { events }, undefined, signal)
  }

  async sendSessionAudit(
    session: string,
    token: string,
    events: readonly SentEvent[],
    signal: AbortSignal,
  ): Promise<void> {
    await this.#call(audit.auditTaken, 'POST', `/v1/sessions/${session}/audit`, { events }, token, signal)
  }

  async searchStatements(search: StatementSearch): Promise<readonly FoundStatement[]> {
    return (await this.#call(witness.foundStatements, 'POST', '/v1/statements', search)).statements
  }

  async approvals(): Promise<readonly ApprovalRequest[]> {
    return (await this.#call(schema.approvalList, 'GET', '/v1/approvals')).approvals
  }

  /** The same once it has changed since `version`, or some seconds later. */
  async approvalsAfter(version: string, signal: AbortSignal): Promise<z.infer<typeof schema.approvalList>> {
    const route = `/v1/approvals?after=${encodeURIComponent(version)}`
    const within = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    return await this.#call(schema.approvalList, 'GET', route, undefined, undefined, within)
  }

  async approvalStatus(id: string): Promise<schema.ApprovalStatus> {
    return await this.#call(schema.approvalStatus, 'GET', `/v1/approvals/${encodeURIComponent(id)}`)
  }

  /** A tunnel's answer to a `check`. */
  async checked(session: string, token: string, approval: string, check: string, preview: EditPreview): Promise<void> {
    const route = `/v1/sessions/${session}/approvals/${encodeURIComponent(approval)}/checks/${encodeURIComponent(check)}`
    await this.#call(schema.ended, 'POST', route, preview, token)
  }

  async answer(id: string, answer: ApprovalAnswer): Promise<ApprovalResult> {
    return await this.#call(approvalResult, 'POST', `/v1/approvals/${encodeURIComponent(id)}`, answer)
  }

  async preview(id: string, text: string): Promise<EditPreview> {
    return await this.#call(editPreview, 'POST', `/v1/approvals/${encodeURIComponent(id)}/preview`, { text })
  }

  async request(asked: schema.AccessRequest): Promise<schema.RequestRow> {
    return await this.#call(schema.requestRow, 'POST', '/v1/requests', asked)
  }

  /** One's own; `all`: everybody's, for administrators and auditors. */
  async requests(all: boolean): Promise<readonly schema.RequestRow[]> {
    return (await this.#call(schema.requestList, 'GET', `/v1/requests${all ? '?all' : ''}`)).requests
  }

  async requestOf(id: string): Promise<schema.RequestRow> {
    return await this.#call(schema.requestRow, 'GET', `/v1/requests/${encodeURIComponent(id)}`)
  }

  async endRequest(id: string, reason: string): Promise<schema.RequestRow> {
    return await this.#call(schema.requestRow, 'POST', `/v1/requests/${encodeURIComponent(id)}/end`, { reason })
  }

  /** @param digest null: the one that counts */
  async policy(digest: string | null): Promise<schema.PolicyAnswer> {
    const query = digest === null ? '' : `?${new URLSearchParams({ digest }).toString()}`
    return await this.#call(schema.policyAnswer, 'GET', `/v1/policy${query}`)
  }

  async policyHistory(): Promise<schema.PolicyHistory> {
    return await this.#call(schema.policyHistory, 'GET', '/v1/policy/history')
  }

  async pushPolicy(pushed: schema.PolicyPush): Promise<schema.PolicyPushed> {
    return await this.#call(schema.policyPushed, 'POST', '/v1/policy', pushed)
  }

  async suspend(principal: string, reason: string): Promise<number> {
    return (await this.#call(schema.ended, 'POST', '/v1/principals/suspend', { principal, reason })).sessions
  }

  async resume(principal: string): Promise<void> {
    await this.#call(schema.ended, 'POST', '/v1/principals/resume', { principal })
  }

  async suspended(): Promise<z.infer<typeof schema.suspensions>['suspended']> {
    return (await this.#call(schema.suspensions, 'GET', '/v1/principals')).suspended
  }

  /** Of the broker that starts by itself. */
  async own(): Promise<schema.OwnBroker> {
    return await this.#call(schema.ownBroker, 'GET', '/v1/own')
  }

  /** Ends it where it has nothing to do. */
  async retire(): Promise<boolean> {
    return (await this.#call(schema.retired, 'POST', '/v1/own/retire', {})).retired
  }

  /** The same again tells it until when. */
  async adopt(adoption: schema.Adoption): Promise<void> {
    await this.#call(schema.ended, 'POST', '/v1/own/sessions', adoption)
  }

  /** Until it breaks off or `signal` ends it. Nothing for `silentMs` is a stream that broke off. */
  async *stream(
    session: string,
    token: string,
    silentMs: number,
    signal: AbortSignal,
  ): AsyncGenerator<schema.StreamEvent> {
    const response = await this.#request('GET', `/v1/sessions/${session}/stream`, undefined, token, signal)
    if (response.statusCode !== 200) throw refusal(response.statusCode ?? 0, await readText(response))
    response.socket.setTimeout(silentMs, () => response.destroy(new Error('silent')))
    try {
      for await (const line of createInterface({ input: response, crlfDelay: Infinity })) {
        const event = schema.streamEvent.safeParse(parseJson(line))
        if (event.success) yield event.data // a newer broker may say what this version does not know
      }
    } catch (error) {
      if (!signal.aborted) throw unreachable(this.#at.address, error)
    }
  }

  async #call<T>(
    answer: z.ZodType<T>,
    method: string,
    route: string,
    body?: unknown,
    token?: string,
    signal?: AbortSignal,
  ): Promise<T> {
    const { status, text } = await this.#answered(method, route, body, token, signal)
    if (status >= 300) throw refusal(status, text)
    const parsed = answer.safeParse(parseJson(text))
    if (parsed.success) return parsed.data
    throw new NoBroker('the broker answered in a way this version does not know')
  }

  /** A broker that is asked too often says so, and is asked again some times. */
  async #answered(method: string, route: string, body: unknown, token: string | undefined, signal?: AbortSignal) {
    for (let tries = 0; ; tries++) {
      const response = await this.#request(method, route, body, token, signal)
      const text = await readText(response)
      const status = response.statusCode ?? 0
      if (status !== 429 || tries === maxTries) return { status, text }
      await sleep(1000 * (tries + 1))
    }
  }

  async #request(
    method: string,
    route: string,
    body: unknown,
    token: string | undefined,
    signal?: AbortSignal,
  ): Promise<http.IncomingMessage> {
    const { address, ca } = this.#at
    const bearer = token ?? this.#token?.reveal()
    const text = body === undefined ? undefined : JSON.stringify(body)
    const options: http.RequestOptions = {
      method,
      path: route,
      agent: false,
      headers: {
        ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
        ...(text === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }),
      },
      ...(signal === undefined ? { timeout: timeoutMs } : { signal }),
    }
    return await new Promise((resolve, reject) => {
      const outgoing = address.startsWith('unix:')
        ? http.request({ ...options, socketPath: address.slice('unix:'.length) })
        : https.request(new URL(route, address), {
            ...options,
            ...(ca === undefined ? {} : { ca }),
            rejectUnauthorized: true, // whatever the environment says
          })
      outgoing.on('response', response => {
        response.on('error', () => undefined) // whoever reads it is told
        resolve(response)
      })
      outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')))
      outgoing.on('error', cause => reject(unreachable(address, cause)))
      outgoing.end(text)
    })
  }
}

function unreachable(address: string, cause: unknown): AgentgateError {
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : 'no answer'
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return new AgentgateError('BROKER_UNREACHABLE', `what answers at ${address} has a certificate for another name`, {
      hint: 'nothing was sent to it; check the address of the broker',
      cause,
    })
  if (/^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_(GET|VERIFY)|CERT_)/.test(code))
    return new AgentgateError('BROKER_UNREACHABLE', `the certificate of ${address} is not one to believe (${code})`, {
      hint: 'nothing was sent to it; an authority of your own: agentgate login … --ca ca.pem, or AGENTGATE_BROKER_CA',
      cause,
    })
  return new AgentgateError('BROKER_UNREACHABLE', `the broker does not answer at ${address} (${code})`, {
    hint: address.startsWith('unix:')
      ? 'start it: agentgate broker'
      : 'check the network, and the address of the broker',
    cause,
  })
}

/** What the broker says is an error of its kind here too. */
function refusal(status: number, text: string): AgentgateError {
  const parsed = schema.brokerError.safeParse(parseJson(text))
  if (!parsed.success) return new NoBroker(`the broker answered with status ${status}`)
  const { code, message, hint } = parsed.data.error
  return new AgentgateError(isErrorCode(code) ? code : 'BROKER_UNREACHABLE', message, { hint })
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code)
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const body = await readBounded(response, maxAnswerBytes)
  if (body === undefined) throw new AgentgateError('BROKER_UNREACHABLE', 'the broker’s answer is too large')
  return body.toString('utf8')
}
