import type { Io } from './command.ts'
import { ApproverKeyring, approverByKey, approverByPassphrase } from './approver-keyring.ts'
import type { Paths } from '../config/paths.ts'
import type { ControlEvent } from '../control/schema.ts'
import { editorOf, editText } from './editor.ts'
import { findMultiplexer } from './multiplexer.ts'
import type { OpenSession } from './open-session.ts'
import { paintFor, wantsColour } from './paint.ts'
import { ApprovalDesk } from './ui/approval-desk.ts'
import { ConnectView } from './ui/connect-view.ts'
import { escapeLine } from './ui/escape.ts'
import { truncate } from './ui/line.ts'
import { LiveScreen } from './ui/live-screen.tsx'
import { sessionHeader } from './ui/session-header.ts'

const refreshMs = 100

/** The live screen of `agentgate connect`, until the session has ended. The caller closes nothing on the terminal. */
export async function connectLive(
  session: OpenSession,
  notes: readonly string[],
  io: Io,
  paths: Paths,
  hasFiles = false,
): Promise<void> {
  const paint = paintFor(wantsColour(io.stdout, io.env))
  const stop = new AbortController()
  // Watched from the first moment; what comes before there is a screen waits for it.
  const early: ControlEvent[] = []
  let take = (event: ControlEvent): void => void early.push(event)
  const watching = watch()
  const multiplexer = await findMultiplexer(io.env)
  const approver =
    multiplexer === undefined
      ? approverByKey(async (answer, id) => await session.answer(id, answer, 'terminal'))
      : approverByPassphrase(
          new ApproverKeyring(paths),
          async (answer, id) => await session.answer(id, answer, 'socket'),
        )
  const editor = editorOf(io.env)
  const desk: ApprovalDesk = new ApprovalDesk(
    editor === undefined
      ? {}
      : {
          openEditor: async text =>
            await screen.lend(
              async () => await editText(text, { editor, folder: paths.stateDir(), extension: 'sql', env: io.env }),
            ),
        },
  )
  const status = await session.status()
  const view = new ConnectView({
    control: session,
    status,
    desk,
    approver,
    paint,
    actions: {
      urls: session.ready.tunnels.map(({ resource, url }) => ({ resource, url })),
      renew: async () => await session.renew(),
      close: () => void session.close('closed by its owner'),
      copy: text => screen.send(clipboardSequence(text)),
      ring: () => screen.ring(),
      print: lines => screen.print(lines),
    },
  })
  const screen: LiveScreen = new LiveScreen(io, view, paint.on)
  const refresh = setInterval(() => {
    void session.status().then(now => view.refresh(now))
  }, refreshMs)
  try {
    const width = Math.max(20, io.stdout.columns - 1)
    screen.print([
      ...sessionHeader(status, width, paint, new Date(), hasFiles ? 'files' : 'key'),
      ...notes.map(note => paint.yellow(truncate(escapeLine(note), width))),
      '',
    ])
    screen.start()
    take = event => view.take(event)
    for (const event of early.splice(0)) take(event)
    await session.finished
    stop.abort()
    await watching
    view.refresh(await session.status())
  } finally {
    clearInterval(refresh)
    await screen.stop()
  }

  async function watch(): Promise<void> {
    for await (const event of session.events(stop.signal)) take(event)
  }
}

/** OSC 52 (xterm, ctlseqs: "Manipulate Selection Data"): the terminal itself puts it on the clipboard, through ssh too. */
function clipboardSequence(text: string): string {
  return `\u001b]52;c;${Buffer.from(text).toString('base64')}\u0007`
}
