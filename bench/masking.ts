/**
 * How fast text is looked at and rows are rewritten, without a network: `npx esbuild --bundle` it, or run it with Node ≥ 22.
 * Prints MB/s (best of several turns), and writes nothing.
 */
import { createScanner, detectorNames } from '../src/masking/detectors/scanner.ts'

const megabyte = 1024 * 1024

function prose(): string {
  const words =
    'the order was shipped to a customer who asked for a refund because of late delivery and we answered that it would take three days'.split(
      ' ',
    )
  let text = ''
  for (let index = 0; text.length < 4 * megabyte; index++) text += `${words[(index * 7) % words.length] ?? ''} `
  return text
}

function rows(): string {
  let text = ''
  for (let id = 1; text.length < 4 * megabyte; id++)
    text += `${id}\t6f1c1a9e-1d0b-4a0e-9f3e-${String(id).padStart(12, '0')}\t2026-11-21 12:34:56.789+00\tshipped\t${id * 7}.99\tleft at the door, rang twice\n`
  return text
}

function json(): string {
  let text = '['
  for (let id = 1; text.length < 4 * megabyte; id++)
    text += `{"id":${id},"state":"open","createdAt":"2026-11-21T12:34:56Z","total":${id * 3}.5,"items":[{"sku":"A-${id}","count":2}],"note":null},`
  return `${text}{}]`
}

function best(turns: number, work: () => void): number {
  let shortest = Infinity
  for (let turn = 0; turn < turns; turn++) {
    const start = performance.now()
    work()
    shortest = Math.min(shortest, performance.now() - start)
  }
  return shortest
}

function show(name: string, bytes: number, milliseconds: number): void {
  console.log(`${name.padEnd(44)}${(bytes / megabyte / (milliseconds / 1000)).toFixed(0).padStart(8)} MB/s`)
}

const texts = { prose: prose(), 'rows of a table': rows(), json: json() }
const all = createScanner(detectorNames)
const some = createScanner(['email', 'api-key', 'private-key', 'card-number', 'jwt'])
for (const [name, text] of Object.entries(texts)) {
  const bytes = Buffer.from(text)
  show(
    `all detectors, ${name}`,
    bytes.length,
    best(7, () => all.find(bytes)),
  )
  show(
    `five detectors, ${name}`,
    bytes.length,
    best(7, () => some.find(bytes)),
  )
}
for (const pattern of [
  '4 ',
  '4-4-',
  '(4',
  'a@',
  'é',
  'DE89 ',
  'SG.',
  'ghp_',
  '-----BEGIN PRIVATE KEY-----',
  '1 22 33 44 555 666 77 ',
]) {
  const bytes = Buffer.from(pattern.repeat(megabyte / pattern.length))
  show(
    `all detectors, ${pattern}…`,
    bytes.length,
    best(5, () => all.find(bytes)),
  )
}
