import http from 'node:http'
import { z } from 'zod'
import { parseJson } from '../json-body.ts'
import { resultFollows, toolAnswer, toolCallPath, toolResultPath, type ToolAnswer } from '../protocols/tools/answer.ts'
import type { Io } from './command.ts'

/** As src/protocols/tools/tools.ts gives it to a child; named again so that a hook loads nothing of the policy. */
const hookVariable = 'AGENTGATE_HOOK_URL'
const maxAnswerBytes = 16 * 1024 * 1024

/** Of what Claude Code hands a hook (docs: hooks, "PreToolUse input"); the rest goes through as it is. */
const hookInput = z.looseObject({
  hook_event_name: z.string(),
  tool_input: z.record(z.string(), z.unknown()).optional(),
})

export interface HookOptions {
  /** The same agent runs this after each call, too (PostToolUse): the record waits for what came of it. */
  readonly results: boolean
}

/**
 * Asks the session whether a tool call may go on, and says it as Claude Code wants to hear it. What cannot be asked is
 * refused. Returns the exit code.
 */
export async function runHook(options: HookOptions, io: Io): Promise<number> {
  const text = await readAll(io.stdin)
  const input = hookInput.safeParse(parseJson(text))
  if (!input.success) {
    io.stderr.write('error: agentgate hook reads a hook’s JSON from stdin, and this is none\n')
    return 2
  }
  const address = io.env[hookVariable]
  switch (input.data.hook_event_name) {
    case 'PreToolUse': {
      const answer = await ask(address, text, options)
      io.stdout.write(`${JSON.stringify(outputOf(answer, input.data.tool_input ?? {}))}\n`)
      return 0
    }
    case 'PostToolUse':
    case 'PostToolUseFailure':
      if ((await post(address, toolResultPath, text, {}))?.status === 204) return 0
      io.stderr.write('error: what came of this tool call could not be put on record\n')
      return 1
    default:
      return 0 // other events ask for nothing
  }
}

function outputOf(answer: ToolAnswer, before: Readonly<Record<string, unknown>>): unknown {
  const output =
    answer.decision === 'allow'
      ? {
          permissionDecision: 'allow',
          permissionDecisionReason:
            answer.input === undefined ? 'agentgate: the policy lets it' : 'agentgate: edited by an approver',
          ...(answer.input === undefined ? {} : { updatedInput: { ...before, ...answer.input } }),
        }
      : {
          permissionDecision: 'deny',
          permissionDecisionReason: [
            `refused by agentgate: ${answer.message}`,
            ...(answer.rule === null ? [] : [`rule: ${answer.rule}`]),
            ...(answer.hint === null ? [] : [`hint: ${answer.hint}`]),
          ].join('\n'),
        }
  return { hookSpecificOutput: { hookEventName: 'PreToolUse', ...output } }
}

async function ask(address: string | undefined, call: string, { results }: HookOptions): Promise<ToolAnswer> {
  const refused = (message: string): ToolAnswer => ({ decision: 'deny', message, rule: null, hint: null })
  if (!URL.canParse(address ?? '')) return refused(`no session to ask: ${hookVariable} is not set`)
  const answer = await post(address, toolCallPath, call, results ? { [resultFollows]: 'yes' } : {})
  const parsed = toolAnswer.safeParse(parseJson(answer?.body ?? ''))
  return parsed.success ? parsed.data : refused('the session cannot be asked')
}

/** undefined where there is no whole answer. It takes as long as an approver does; agentgate's own end closes it. */
async function post(
  address: string | undefined,
  path: string,
  body: string,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly body: string } | undefined> {
  if (address === undefined || !URL.canParse(address)) return undefined
  const url = new URL(address)
  return await new Promise(resolve => {
    const fail = () => resolve(undefined)
    const request = http.request({
      host: url.hostname,
      port: url.port,
      method: 'POST',
      path,
      headers: {
        authorization: `Bearer ${decodeURIComponent(url.password)}`,
        'content-type': 'application/json',
        ...headers,
      },
    })
    request.on('error', fail)
    request.on('response', response => {
      let said = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        said += part
        if (said.length > maxAnswerBytes) request.destroy()
      })
      response.on('error', fail)
      response.on('close', fail)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: said }))
    })
    request.end(body)
  })
}

async function readAll(stream: NodeJS.ReadStream): Promise<string> {
  let text = ''
  for await (const part of stream.setEncoding('utf8')) text += String(part)
  return text
}
