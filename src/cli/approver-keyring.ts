import { performance } from 'node:perf_hooks'
import type { Paths } from '../config/paths.ts'
import { proofText } from '../control/proof.ts'
import type { ApprovalAnswer, ApprovalRequest, ApprovalResult } from '../control/schema.ts'
import { AgentgateError } from '../errors.ts'
import { hasApproverKey, unlock, type UnlockedKey } from '../policy/approver-key.ts'
import type { Approver } from './ui/approver.ts'

/** How long a passphrase is remembered, in this process only (DESIGN: approval). */
const rememberedMs = 5 * 60_000

/** The key that signs approvals, while its passphrase is remembered. By the monotonic clock: nobody sets that back. */
export class ApproverKeyring {
  readonly #paths: Paths
  #key: UnlockedKey | undefined
  #until = 0
  #forget: NodeJS.Timeout | undefined

  constructor(paths: Paths) {
    this.#paths = paths
  }

  /** Whether a passphrase has been set at all. */
  get exists(): boolean {
    return hasApproverKey(this.#paths)
  }

  get unlocked(): boolean {
    return this.#key !== undefined && performance.now() < this.#until
  }

  /** False where the passphrase is wrong. */
  async unlock(passphrase: string): Promise<boolean> {
    try {
      this.#key = await unlock(this.#paths, passphrase)
    } catch (error) {
      if (error instanceof AgentgateError && error.code === 'PASSPHRASE') return false
      throw error
    }
    this.#until = performance.now() + rememberedMs
    clearTimeout(this.#forget)
    this.#forget = setTimeout(() => (this.#key = undefined), rememberedMs).unref()
    return true
  }

  /** @throws AgentgateError PASSPHRASE where it is not remembered (any more). */
  sign(request: ApprovalRequest, answer: ApprovalAnswer): ApprovalAnswer {
    if (request.challenge === null) return answer
    if (this.#key === undefined || !this.unlocked)
      throw new AgentgateError('PASSPHRASE', 'your passphrase is no longer remembered', { hint: 'answer once more' })
    return { ...answer, proof: this.#key.sign(proofText(request.challenge, answer)) }
  }
}

/** An approver whose keys count by themselves: nobody else can be typing here. */
export function approverByKey(send: (answer: ApprovalAnswer, id: string) => Promise<ApprovalResult>): Approver {
  return {
    missing: () => null,
    unlock: () => Promise.resolve(true),
    answer: async (request, answer) => await send(answer, request.id),
  }
}

/** An approver who types a passphrase first, wherever whoever asks could also be the one who answers. */
export function approverByPassphrase(
  keyring: ApproverKeyring,
  send: (answer: ApprovalAnswer, id: string) => Promise<ApprovalResult>,
): Approver {
  return {
    // Where none has been set there is nothing to type: the answer is refused, and says how to set one.
    missing: request => (request.challenge === null || keyring.unlocked || !keyring.exists ? null : 'passphrase'),
    unlock: async passphrase => await keyring.unlock(passphrase),
    answer: async (request, answer) =>
      await send(answer.outcome === 'reject' || !keyring.exists ? answer : keyring.sign(request, answer), request.id),
  }
}
