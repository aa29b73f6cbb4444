import type { Io } from './command.ts'
import { paintFor, wantsColour } from './paint.ts'
import { tabbed, table } from './table.ts'

/** A table for a person, tab-separated lines for a pipe. */
export function showRows(titles: readonly string[], rows: readonly (readonly string[])[], io: Io): void {
  const width = io.stdout.isTTY ? io.stdout.columns : 200
  const paint = paintFor(wantsColour(io.stdout, io.env))
  io.stdout.write(
    io.stdout.isTTY
      ? table(
          titles.map(title => ({ title })),
          rows,
          width,
          paint,
        )
      : tabbed(rows),
  )
}
