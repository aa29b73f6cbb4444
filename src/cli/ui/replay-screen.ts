import type { ReplayItem } from '../../recording/replay.ts'
import type { Io } from '../command.ts'
import { write } from '../output.ts'
import type { Paint } from '../paint.ts'
import { escapeLine } from './escape.ts'
import type { Key } from './keys.ts'
import { Pacer } from './pacer.ts'
import { ReplaySearch } from './replay-search.ts'
import type { ReplayText } from './replay-text.ts'
import { TerminalFilter } from './terminal-filter.ts'
import { Keyboard } from './terminal.ts'

const keysText = 'space pauses · → skips · +/- speed · / searches, n again · q ends'

export interface Pace {
  readonly speed: number
  /** Nobody waits longer than this for the next event. */
  readonly maxIdleMs: number
}

/** Replays on a terminal as it happened: a recorded terminal as that terminal showed it, all else as text. */
export async function replayOnScreen(
  items: AsyncIterable<ReplayItem>,
  text: ReplayText,
  pace: Pace,
  { dim }: Pick<Paint, 'dim'>,
  io: Io,
): Promise<void> {
  const pacer = new Pacer(pace.speed, pace.maxIdleMs)
  const stop = (code: number) => {
    io.exitCode = code
    pacer.stop()
  }
  const search = new ReplaySearch()
  const screen = { terminal: false }
  const prompt = (line: string | null) => {
    const text = line === null ? '' : `/${escapeLine(line)}`
    // Over a recorded screen its last line is borrowed; else it is the line that nothing has been written on yet.
    const bottom = `\u001b7\u001b[${io.stdout.rows};1H\u001b[K${text}\u001b8`
    io.stdout.write(screen.terminal ? bottom : `\r\u001b[K${text}`)
  }
  const goOn = () => {
    if (pacer.paused) pacer.togglePause()
  }
  const typed = (key: Key) => {
    const now = search.press(key)
    prompt(search.typed)
    if (now === 'typing') return
    goOn()
    if (now === 'looking') pacer.skip()
  }
  const onKey = (key: Key) => {
    if (key.kind === 'control' && key.letter === 'c') stop(130)
    else if (search.typed !== null) typed(key)
    else if (key.kind === 'named' && key.name === 'right') pacer.skip()
    else if (key.kind === 'named' && key.name === 'escape') pacer.stop()
    else if (key.kind === 'character')
      switch (key.text) {
        case ' ':
          pacer.togglePause()
          break
        case '+':
        case '=':
          pacer.changeSpeed(2)
          break
        case '-':
          pacer.changeSpeed(0.5)
          break
        case '/':
          if (!pacer.paused) pacer.togglePause()
          search.begin()
          prompt('')
          break
        case 'n':
          if (!search.again()) break
          goOn()
          pacer.skip()
          break
        case 'q':
          pacer.stop()
          break
        default:
      }
  }
  const keyboard = io.stdin.isTTY
    ? new Keyboard({ stdin: io.stdin, stdout: io.stdout }, onKey, () => undefined)
    : undefined
  const onSignal = () => stop(130)
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  keyboard?.start()
  // Once a terminal was recorded, its screen is what there is to see: lines in between would tear it.
  let terminal: TerminalFilter | undefined
  let plain: TerminalFilter | undefined
  if (keyboard !== undefined && io.stdin.isTTY) await write(io.stdout, `${dim(keysText)}\n`)
  let before: number | undefined
  try {
    for await (const item of items) {
      const at = item.kind === 'event' ? item.placed.at : item.kind === 'problem' ? undefined : item.at
      if (at !== undefined && before !== undefined && !search.looking) await pacer.wait(at - before)
      before = at ?? before
      if (pacer.stopped) break
      if (item.kind === 'problem') io.exitCode = 7
      const event = item.kind === 'event' ? item.placed.event : undefined
      if (event?.kind === 'terminal') {
        terminal ??= new TerminalFilter('screen')
        plain ??= new TerminalFilter('plain')
        screen.terminal = true
        if (event.direction !== 'output') continue
        await write(io.stdout, terminal.push(event.bytes))
        if (search.found(plain.push(event.bytes)) && !pacer.paused) pacer.togglePause()
      } else if (terminal === undefined || item.kind === 'problem') {
        const lines = text.lines(item)
        for (const line of lines) await write(io.stdout, `${line}\n`)
        if (!search.found(lines.join('\n'))) continue
        if (!pacer.paused) pacer.togglePause()
        await write(io.stdout, `${dim('found: space goes on, n finds the next')}\n`)
      }
    }
    if (search.looking && !pacer.stopped) await write(io.stdout, `${dim(`not found: ${escapeLine(search.wanted)}`)}\n`)
  } finally {
    keyboard?.stop()
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
    if (terminal !== undefined) await write(io.stdout, `${terminal.reset()}\n`)
  }
}
