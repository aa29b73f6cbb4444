import { z } from 'zod'

/** Where a hook posts what an agent asks leave for, and with what. */
export const toolCallPath = '/v1/tool-call'

/** What it is answered: the path `agentgate hook` and the tunnel speak over, JSON in HTTP/1.1. */
export const toolAnswer = z.discriminatedUnion('decision', [
  z.object({
    decision: z.literal('allow'),
    /** What an approver made of the input. */
    input: z.record(z.string(), z.unknown()).optional(),
  }),
  z.object({
    decision: z.literal('deny'),
    message: z.string(),
    rule: z.string().nullable(),
    hint: z.string().nullable(),
  }),
])

export type ToolAnswer = z.output<typeof toolAnswer>
