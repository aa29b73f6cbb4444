import { AgentgateError } from '../errors.ts'

/** One thing that `agentgate doctor` looked at. */
export interface Finding {
  /** What was looked at, as scripts know it: `node`, `confinement`, `policy`, `target` … Only grows. */
  readonly check: string
  readonly state: 'ok' | 'warn' | 'fail'
  readonly text: string
  /** What to do, best as a command to paste. */
  readonly hint?: string | undefined
  readonly resource?: string
  /** Of the error that was found. */
  readonly code?: string
  readonly exitCode?: number
  /** Whole days that the target's certificate still holds. */
  readonly certificateDays?: number
}

/** An error as a finding. @throws whatever is no AgentgateError: a bug of ours */
export function failed(error: unknown, what: Pick<Finding, 'check' | 'resource'>): Finding {
  if (!(error instanceof AgentgateError)) throw error
  const subject = what.resource ?? what.check
  const text = error.message.startsWith(`${subject}:`) ? error.message : `${subject}: ${error.message}`
  return { ...what, state: 'fail', text, hint: error.hint, code: error.code, exitCode: error.exitCode }
}
