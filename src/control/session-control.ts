import type {
  ApprovalAnswer,
  ApprovalRequest,
  ApprovalResult,
  ControlEvent,
  EditPreview,
  SessionStatus,
} from './schema.ts'

/**
 * A live session as a screen or script sees it: the process's own (`connect`'s terminal), or another's by its
 * control.sock. The screens know only this.
 */
export interface SessionControl {
  status(): Promise<SessionStatus>
  approvals(): Promise<readonly ApprovalRequest[]>
  preview(id: string, text: string): Promise<EditPreview>
  answer(id: string, answer: ApprovalAnswer): Promise<ApprovalResult>
  stop(reason: string): Promise<void>
  /** Events from now on, until `signal` aborts or the session ends. Starts with what is waiting. */
  events(signal: AbortSignal): AsyncIterable<ControlEvent>
}
