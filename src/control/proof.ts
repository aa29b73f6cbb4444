import { createHash } from 'node:crypto'
import type { ApprovalAnswer } from './schema.ts'

/**
 * What an approver's key signs: the request's challenge together with exactly what is answered, so that a proof for one
 * answer is none for another.
 */
export function proofText(challenge: string, answer: ApprovalAnswer): Buffer {
  const content =
    answer.outcome === 'edit'
      ? answer.text
      : answer.outcome === 'approve' && answer.shape
        ? JSON.stringify([answer.shape.times, answer.shape.seconds, answer.shape.rows ?? null])
        : ''
  const digest = createHash('sha256').update(content).digest('hex')
  return Buffer.from(`agentgate approval v1\n${challenge}\n${answer.outcome}\n${digest}\n`)
}
