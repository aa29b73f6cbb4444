import { z } from 'zod'
import { toolCall } from './action.ts'

/** What an agent says a call came to: its PostToolUse and PostToolUseFailure hooks (Claude Code docs, hooks reference). */
export const toolResult = toolCall.extend({
  hook_event_name: z.enum(['PostToolUse', 'PostToolUseFailure']),
  tool_response: z.unknown().optional(),
  error: z.string().optional(),
})

export type ToolResult = z.output<typeof toolResult>

const spoken = z.looseObject({ stdout: z.string(), stderr: z.string() })

/** As a person would want to read it: what a shell said as it said it, anything else as JSON. */
export function resultText({ tool_response: response, error }: ToolResult): string {
  if (error !== undefined) return error
  if (typeof response === 'string') return response
  const shell = spoken.safeParse(response)
  if (shell.success) return [shell.data.stdout, shell.data.stderr].filter(part => part !== '').join('\n')
  return response === undefined ? '' : JSON.stringify(response, null, 2)
}
