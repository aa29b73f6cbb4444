import { envSwitch } from './globals.ts'

/** Wraps text in colours, or leaves it alone where colours are off. */
export interface Paint {
  readonly on: boolean
  readonly bold: (text: string) => string
  readonly dim: (text: string) => string
  readonly red: (text: string) => string
  readonly green: (text: string) => string
  readonly yellow: (text: string) => string
  readonly cyan: (text: string) => string
}

interface ColourStream {
  readonly isTTY?: boolean | undefined
}

/** Colours are for terminals; NO_COLOR (no-color.org), CI, a dumb terminal and --no-color turn them off. */
export function wantsColour(
  stream: ColourStream,
  env: NodeJS.ProcessEnv,
  argv: readonly string[] = process.argv,
): boolean {
  const end = argv.indexOf('--')
  if ((end === -1 ? argv : argv.slice(0, end)).includes('--no-color')) return false
  if (env['NO_COLOR'] !== undefined && env['NO_COLOR'] !== '') return false
  if (env['TERM'] === 'dumb' || envSwitch(env['CI'])) return false
  return stream.isTTY === true
}

export function paintFor(on: boolean): Paint {
  const sgr = (open: number, close: number) => (text: string) =>
    on && text !== '' ? `\u001b[${open}m${text}\u001b[${close}m` : text
  return {
    on,
    bold: sgr(1, 22),
    dim: sgr(2, 22),
    red: sgr(31, 39),
    green: sgr(32, 39),
    yellow: sgr(33, 39),
    cyan: sgr(36, 39),
  }
}
