import http from 'node:http'
import { createInterface } from 'node:readline'
import { readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { AgentgateError, hasErrno } from '../errors.ts'
import { parseJson, readBounded } from '../json-body.ts'
import { approvalRequest, approvalResult, controlEvent, editPreview, sessionStatus } from './schema.ts'
import type { ApprovalAnswer, ControlEvent } from './schema.ts'
import type { SessionControl } from './session-control.ts'

const answerTimeoutMs = 10_000
const maxAnswerBytes = 64 << 20

/** A session found by its folder. */
export interface FoundSession {
  readonly session: string
  readonly folder: string
  readonly control: SessionControl
}

/** Another process's session, by its control.sock. Nothing is sent before the first call. */
export function connectControl(socketPath: string): SessionControl {
  const call = async <T>(schema: z.ZodType<T>, method: string, route: string, body?: unknown): Promise<T> => {
    const response = await request(socketPath, method, route, body)
    const text = await readText(response)
    const status = response.statusCode ?? 0
    const parsed = schema.safeParse(status < 300 ? parseJson(text) : undefined)
    if (!parsed.success)
      throw new AgentgateError(
        'SESSION_UNREACHABLE',
        `the session answered in a way this version does not know (${status})`,
        {
          hint: 'both ends should be the same version: agentgate --version',
        },
      )
    return parsed.data
  }
  return {
    status: async () => await call(sessionStatus, 'GET', '/v1/session'),
    approvals: async () => await call(z.array(approvalRequest), 'GET', '/v1/approvals'),
    preview: async (id, text) =>
      await call(editPreview, 'POST', `/v1/approvals/${encodeURIComponent(id)}/preview`, { text }),
    answer: async (id, answer: ApprovalAnswer) =>
      await call(approvalResult, 'POST', `/v1/approvals/${encodeURIComponent(id)}`, answer),
    stop: async reason => {
      await call(z.object({}), 'POST', '/v1/session/stop', { reason })
    },
    events: signal => events(socketPath, signal),
  }
}

/** Every live session of this user, oldest first; what a dead process left of its folder is removed. */
export async function listSessions(runtimeFolder: string): Promise<readonly FoundSession[]> {
  let names: string[]
  try {
    names = readdirSync(runtimeFolder).filter(name => /^s_[0-9A-Z]+$/.test(name))
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return []
    throw error
  }
  const found = await Promise.all(
    names.map(async session => {
      const folder = path.join(runtimeFolder, session)
      const control = connectControl(path.join(folder, 'control.sock'))
      try {
        return { session, folder, control, startedAt: (await control.status()).startedAt }
      } catch (error) {
        // Nobody listens: only then is it dead. A session that is slow to answer keeps its folder.
        if (error instanceof AgentgateError && hasErrno(error.cause, 'ECONNREFUSED'))
          rmSync(folder, { recursive: true, force: true })
        return undefined
      }
    }),
  )
  return found.filter(session => session !== undefined).sort((a, b) => a.startedAt.localeCompare(b.startedAt))
}

async function* events(socketPath: string, signal: AbortSignal): AsyncGenerator<ControlEvent> {
  const response = await request(socketPath, 'GET', '/v1/events', undefined, signal)
  try {
    for await (const line of createInterface({ input: response, crlfDelay: Infinity })) {
      const event = controlEvent.safeParse(parseJson(line))
      if (event.success) yield event.data // a newer session may send what this version does not know
    }
  } catch (error) {
    if (!signal.aborted) throw new AgentgateError('SESSION_UNREACHABLE', 'the session went away', { cause: error })
  }
}

async function request(
  socketPath: string,
  method: string,
  route: string,
  body: unknown,
  signal?: AbortSignal,
): Promise<http.IncomingMessage> {
  return await new Promise((resolve, reject) => {
    const unreachable = (cause: unknown) =>
      reject(
        new AgentgateError('SESSION_UNREACHABLE', 'the session does not answer', {
          hint: 'see what is open: agentgate status',
          cause,
        }),
      )
    const outgoing = http.request(
      {
        socketPath,
        method,
        path: route,
        agent: false,
        ...(signal === undefined ? { timeout: answerTimeoutMs } : { signal }),
      },
      response => {
        response.on('error', () => undefined) // reading it reports the error; an abort after the end is nobody's concern
        resolve(response)
      },
    )
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')))
    outgoing.on('error', unreachable)
    if (body !== undefined) outgoing.setHeader('content-type', 'application/json')
    outgoing.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const body = await readBounded(response, maxAnswerBytes)
  if (body === undefined) throw new AgentgateError('SESSION_UNREACHABLE', 'the session’s answer is too large')
  return body.toString('utf8')
}
