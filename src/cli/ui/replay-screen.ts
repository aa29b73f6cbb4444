import type { ReplayItem } from '../../recording/replay.ts'
import type { Io } from '../command.ts'
import { write } from '../output.ts'
import type { Key } from './keys.ts'
import { Pacer } from './pacer.ts'
import type { ReplayText } from './replay-text.ts'
import { TerminalFilter } from './terminal-filter.ts'
import { Keyboard } from './terminal.ts'

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
  io: Io,
): Promise<void> {
  const pacer = new Pacer(pace.speed, pace.maxIdleMs)
  const stop = (code: number) => {
    io.exitCode = code
    pacer.stop()
  }
  const onKey = (key: Key) => {
    if (key.kind === 'control' && key.letter === 'c') stop(130)
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
  let before: number | undefined
  try {
    for await (const item of items) {
      const at = item.kind === 'event' ? item.placed.at : item.kind === 'problem' ? undefined : item.at
      if (at !== undefined && before !== undefined) await pacer.wait(at - before)
      before = at ?? before
      if (pacer.stopped) break
      if (item.kind === 'problem') io.exitCode = 7
      const event = item.kind === 'event' ? item.placed.event : undefined
      if (event?.kind === 'terminal') {
        terminal ??= new TerminalFilter('screen')
        if (event.direction === 'output') await write(io.stdout, terminal.push(event.bytes))
      } else if (terminal === undefined || item.kind === 'problem')
        for (const line of text.lines(item)) await write(io.stdout, `${line}\n`)
    }
  } finally {
    keyboard?.stop()
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
    if (terminal !== undefined) await write(io.stdout, `${terminal.reset()}\n`)
  }
}
