import type { ApprovalRequest } from '../control/schema.ts'
import type { Session } from '../tunnel/session.ts'
import { approverByKey } from './approver-keyring.ts'
import type { Io } from './command.ts'
import type { Paint } from './paint.ts'
import { ApprovalDesk } from './ui/approval-desk.ts'
import { ApprovalsView } from './ui/approvals-view.ts'
import { escapeLine } from './ui/escape.ts'
import { LiveScreen } from './ui/live-screen.tsx'

/** Puts what waits before the person, in the panel that `connect` shows. Gives what they made of it, where they edited it. */
export async function askOnScreen(options: {
  readonly request: ApprovalRequest
  readonly suggestion: string
  readonly session: Session
  readonly io: Io
  readonly paint: Paint
  /** The person wants to leave. */
  readonly stop: () => void
}): Promise<string | undefined> {
  const { request, session, io, paint } = options
  const desk = new ApprovalDesk()
  const ended = new AbortController()
  const quit = () => {
    options.stop()
    ended.abort()
  }
  const view = new ApprovalsView(desk, { quit, ring: () => screen.ring(), print: lines => screen.print(lines) }, paint)
  const screen: LiveScreen = new LiveScreen(io, view, paint.on)
  let edit: string | undefined
  const approver = approverByKey(async (answer, id) => {
    edit = answer.outcome === 'edit' ? answer.text : undefined
    return await session.answer(id, answer, 'terminal')
  })
  io.stdout.write(
    [
      paint.bold('now it is yours: somebody asks to change two payments'),
      '   approve it, reject it with a reason, or change it first: e, then make it',
      `   ${paint.cyan(escapeLine(options.suggestion))}`,
      '   then Ctrl-S to have that decided on anew, and a to approve it',
      '',
      '',
    ].join('\n'),
  )
  screen.start()
  try {
    for await (const event of session.events(ended.signal)) {
      view.take(event, session, approver)
      if (event.event === 'approval-ended' && event.id === request.id) break
    }
  } finally {
    await screen.stop()
  }
  return edit
}
