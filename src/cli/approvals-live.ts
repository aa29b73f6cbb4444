import { setTimeout as sleep } from 'node:timers/promises'
import type { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { ApproverKeyring, approverByPassphrase } from './approver-keyring.ts'
import { approverAtBroker, watchBroker } from './broker-approvals.ts'
import type { Io } from './command.ts'
import { editorOf, editText } from './editor.ts'
import { liveSessions, type LiveSession } from './live-sessions.ts'
import { paintFor, wantsColour } from './paint.ts'
import { ApprovalDesk } from './ui/approval-desk.ts'
import { escapeLine } from './ui/escape.ts'
import { ApprovalsView } from './ui/approvals-view.ts'
import { LiveScreen } from './ui/live-screen.tsx'

const lookEveryMs = 500

/** The screen of `agentgate approvals`, until it is left. */
export async function approvalsLive(io: Io, paths: Paths): Promise<void> {
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const keyring = new ApproverKeyring(paths)
  const editor = editorOf(io.env)
  const desk = new ApprovalDesk(
    editor === undefined
      ? {}
      : {
          openEditor: async text =>
            await screen.lend(
              async () => await editText(text, { editor, folder: paths.stateDir(), extension: 'sql', env: io.env }),
            ),
        },
  )
  const quit = new AbortController()
  const view = new ApprovalsView(
    desk,
    {
      quit: () => quit.abort(),
      ring: () => screen.ring(),
      print: lines => screen.print(lines),
    },
    paint,
  )
  const screen: LiveScreen = new LiveScreen(io, view, paint.on)
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const onSignal = () => quit.abort()
  for (const signal of signals) process.on(signal, onSignal)
  const watched = new Map<string, Promise<void>>()
  try {
    screen.start()
    const atBroker = watchBroker(
      io,
      quit.signal,
      (event, control) => view.take(event, control, approverAtBroker(control)),
      text => screen.print([`warning: ${escapeLine(text)}`]),
    )
    watched.set('broker', atBroker)
    while (!quit.signal.aborted) {
      const sessions = await liveSessions(paths)
      view.show(sessions.map(each => each.status))
      for (const each of sessions)
        if (!watched.has(each.session))
          watched.set(
            each.session,
            watch(each).finally(() => watched.delete(each.session)),
          )
      await sleep(lookEveryMs, undefined, { signal: quit.signal }).catch(() => undefined)
    }
  } finally {
    for (const signal of signals) process.off(signal, onSignal)
    quit.abort()
    await screen.stop()
    await Promise.all(watched.values())
  }

  async function watch({ control }: LiveSession): Promise<void> {
    const approver = approverByPassphrase(keyring, async (answer, id) => await control.answer(id, answer))
    try {
      for await (const event of control.events(quit.signal)) view.take(event, control, approver)
    } catch (error) {
      // It ended; the next look at what is open shows it.
      if (!(error instanceof AgentgateError)) throw error
    }
  }
}
