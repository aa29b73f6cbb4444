import { expect, test } from 'vitest'
import decodeQR from 'qr/decode.js'
import { qrLines, type QrTerminal } from './qr-code.ts'

const address = 'https://idp.example.com/device?user_code=WDJB-MJHT'
const terminal: QrTerminal = { isTTY: true, columns: 110, rows: 40, colour: true, env: { LANG: 'C.UTF-8' } }
const plain = (lines: readonly string[]) => lines.map(line => line.replaceAll(/\u001b\[[\d;]*m/g, ''))

/** As a camera sees it: four pixels a module, black and white. */
function picture(lines: readonly string[]) {
  const scale = 4
  const modules = lines.flatMap(line => [
    line.split(/(?:)/u).map(each => each === '█' || each === '▀'),
    line.split(/(?:)/u).map(each => each === '█' || each === '▄'),
  ])
  const width = (modules[0]?.length ?? 0) * scale
  const height = modules.length * scale
  const data = new Uint8Array(width * height * 4).fill(255)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (modules[Math.floor(y / scale)]?.[Math.floor(x / scale)] === true)
        data.fill(0, (y * width + x) * 4, (y * width + x) * 4 + 3)
  return { width, height, data }
}

test('a camera reads what it says', () => {
  const lines = qrLines(address, terminal)!
  expect(decodeQR(picture(plain(lines)))).toBe(address)
  for (const line of lines) expect(line).toMatch(/^\u001b\[38;5;16;48;5;231m/) // whatever the terminal's colours
})

test.each<[string, Partial<QrTerminal>]>([
  ['no terminal', { isTTY: false }],
  ['too narrow', { columns: 34 }],
  ['too low', { rows: 20 }],
  ['no colours', { colour: false }],
  ['no unicode', { env: { LANG: 'C.UTF-8', LC_ALL: 'C' } }],
  ['no locale', { env: {} }],
])('is left out: %s', (name, change) => {
  if (name === 'no locale' && process.platform === 'darwin') return
  expect(qrLines(address, { ...terminal, ...change })).toBeUndefined()
})

test('is left out where the address is longer than any code', () => {
  expect(qrLines(`https://idp.example.com/${'x'.repeat(5000)}`, terminal)).toBeUndefined()
})
