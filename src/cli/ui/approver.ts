import type { ApprovalAnswer, ApprovalRequest, ApprovalResult } from '../../control/schema.ts'

/** How this terminal shows that a person is at it: a key is enough, or a passphrase is typed first. */
export interface Approver {
  /** What keeps a yes to this request from counting now; null where a key is enough. */
  missing(request: ApprovalRequest): 'passphrase' | null
  /** Takes a passphrase; false where it is wrong. Remembered for some minutes, in this process only. */
  unlock(passphrase: string): Promise<boolean>
  answer(request: ApprovalRequest, answer: ApprovalAnswer): Promise<ApprovalResult>
}
