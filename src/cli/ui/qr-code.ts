import encodeQR from 'qr'

/** Modules of white around it; ISO/IEC 18004 §9.1 says four, which cameras no longer need, and a terminal has no room for. */
const quiet = 2
/** More makes a code that no usual screen holds. */
const maxLength = 300
/** What is shown with it stays on the screen. */
const linesBeside = 6

export interface QrTerminal {
  readonly isTTY: boolean
  readonly columns: number
  readonly rows: number
  readonly colour: boolean
  readonly env: NodeJS.ProcessEnv
}

/**
 * A QR code of an address in half blocks, black on white whatever the terminal's own colours; undefined where the terminal
 * is too small for it, or could not draw it so that a camera reads it.
 */
export function qrLines(address: string, terminal: QrTerminal): readonly string[] | undefined {
  if (!terminal.isTTY || !terminal.colour || !showsUnicode(terminal.env)) return undefined
  if (address.length > maxLength) return undefined
  const modules = encodeQR(address, 'raw', { ecc: 'low', border: quiet })
  const size = modules.length
  const height = Math.ceil(size / 2)
  if (size + 2 > terminal.columns || height + linesBeside > terminal.rows) return undefined
  const dark = (row: number, column: number) => modules[row]?.[column] ?? false
  return Array.from({ length: height }, (_, line) => {
    const blocks = Array.from({ length: size }, (_, column) =>
      block(dark(2 * line, column), dark(2 * line + 1, column)),
    )
    return `\u001b[38;5;16;48;5;231m${blocks.join('')}\u001b[0m`
  })
}

function block(upper: boolean, lower: boolean): string {
  if (upper) return lower ? '█' : '▀'
  return lower ? '▄' : ' '
}

/** By the locale, the first of these that is set (POSIX.1-2017 §8.2). */
function showsUnicode(env: NodeJS.ProcessEnv): boolean {
  const locale = [env['LC_ALL'], env['LC_CTYPE'], env['LANG']].find(value => value !== undefined && value !== '')
  return locale === undefined ? process.platform === 'darwin' : /utf-?8/i.test(locale)
}
