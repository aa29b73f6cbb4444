import type { ApprovalAnswer, ApprovalResult, ControlEvent } from '../control/schema.ts'
import type { SessionControl } from '../control/session-control.ts'
import type { SessionId } from '../ids.ts'
import type { Session } from '../tunnel/session.ts'

/** What the commands use of a session of this process (src/tunnel/session.ts). */
export interface OpenSession extends SessionControl {
  readonly id: SessionId
  /** Holds the clients' secrets. */
  readonly ready: Extract<ControlEvent, { event: 'ready' }>
  readonly endpoints: Session['endpoints']
  readonly finished: Session['finished']
  environment(): Record<string, string>
  /** Variables that must not be inherited by what uses it. */
  cleared(): readonly string[]
  /** `terminal`: a key pressed in this process's own terminal, which the caller has seen to. */
  answer(id: string, answer: ApprovalAnswer, presence?: 'terminal' | 'socket'): Promise<ApprovalResult>
  /** @throws AgentgateError where whoever decides says no */
  renew(): Promise<Date>
  close(reason: string, exitCode?: number | null): Promise<void>
}
