import { z } from 'zod'

/** Where a hook posts what an agent asks leave for, and with what. */
export const toolCallPath = '/v1/tool-call'

/** Where it posts what came of one, which is answered with nothing (204). */
export const toolResultPath = '/v1/tool-result'

/** A header of the first: the result will be posted, so that the record waits for it. */
export const resultFollows = 'x-agentgate-result-follows'

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
