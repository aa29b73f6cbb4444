import http from 'node:http'
import { z } from 'zod'
import { parseJson } from '../json-body.ts'
import { toolAnswer, toolCallPath, type ToolAnswer } from '../protocols/tools/answer.ts'
import type { Io } from './command.ts'

/** As src/protocols/tools/tools.ts gives it to a child; named again so that a hook loads nothing of the policy. */
const hookVariable = 'AGENTGATE_HOOK_URL'
const maxAnswerBytes = 16 * 1024 * 1024

/** Of what Claude Code hands a hook (docs: hooks, "PreToolUse input"); the rest goes through as it is. */
const hookInput = z.looseObject({
  hook_event_name: z.string(),
  tool_input: z.record(z.string(), z.unknown()).optional(),
})

/**
 * Asks the session whether a tool call may go on, and says it as Claude Code wants to hear it. What cannot be asked is
 * refused. Returns the exit code.
 */
export async function runHook(io: Io): Promise<number> {
  const text = await readAll(io.stdin)
  const input = hookInput.safeParse(parseJson(text))
  if (!input.success) {
    io.stderr.write('error: agentgate hook reads a hook’s JSON from stdin, and this is none\n')
    return 2
  }
  // Other events ask for nothing.
  if (input.data.hook_event_name !== 'PreToolUse') return 0
  io.stdout.write(`${JSON.stringify(outputOf(await ask(io.env[hookVariable], text), input.data.tool_input ?? {}))}\n`)
  return 0
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

async function ask(address: string | undefined, call: string): Promise<ToolAnswer> {
  const refused = (message: string): ToolAnswer => ({ decision: 'deny', message, rule: null, hint: null })
  let url: URL
  try {
    url = new URL(address ?? '')
  } catch {
    return refused(`no session to ask: ${hookVariable} is not set`)
  }
  return await new Promise<ToolAnswer>(resolve => {
    const fail = () => resolve(refused('the session cannot be asked'))
    // It takes as long as an approver does; agentgate's own end closes it.
    const request = http.request({
      host: url.hostname,
      port: url.port,
      method: 'POST',
      path: toolCallPath,
      headers: { authorization: `Bearer ${decodeURIComponent(url.password)}`, 'content-type': 'application/json' },
    })
    request.on('error', fail)
    request.on('response', response => {
      let body = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        body += part
        if (body.length > maxAnswerBytes) request.destroy()
      })
      response.on('error', fail)
      response.on('close', fail)
      response.on('end', () => {
        const parsed = toolAnswer.safeParse(parseJson(body))
        if (parsed.success) resolve(parsed.data)
        else fail()
      })
    })
    request.end(call)
  })
}

async function readAll(stream: NodeJS.ReadStream): Promise<string> {
  let text = ''
  for await (const part of stream.setEncoding('utf8')) text += String(part)
  return text
}
