/**
 * How fast text is looked at and rows are rewritten, without a network: `npx esbuild --bundle` it, or run it with Node ≥ 22.
 * Prints MB of text per second of processor time (best of several turns), so that a busy machine does not count.
 */
import { createScanner, detectorNames } from '../src/masking/detectors/scanner.ts'
import { Hasher } from '../src/masking/hasher.ts'
import type { MaskStrategy } from '../src/policy/action.ts'
import type { ColumnMask } from '../src/protocols/postgres/masking/mask-plan.ts'
import { createRowMasker } from '../src/protocols/postgres/masking/result-masker.ts'
import { Secret } from '../src/secret.ts'

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
    const before = process.cpuUsage()
    work()
    const { user, system } = process.cpuUsage(before)
    shortest = Math.min(shortest, (user + system) / 1000)
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
    best(5, () => all.find(bytes)),
  )
  show(
    `five detectors, ${name}`,
    bytes.length,
    best(5, () => some.find(bytes)),
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

/** Rows of some 100 bytes, in reads of 64 KB: whole DataRow messages. */
function dataRows(): Buffer[] {
  const reads: Buffer[] = []
  let rows: Buffer[] = []
  let bytes = 0
  for (let id = 1; id <= 300_000; id++) {
    const cells = [
      String(id),
      `customer${id}@example.com`,
      '2026-11-21 12:34:56.789+00',
      'shipped',
      `left at the door ${id % 97} times`,
    ]
    const body = Buffer.concat(cells.flatMap(cell => [Buffer.from([0, 0, 0, cell.length]), Buffer.from(cell)]))
    const head = Buffer.from([0x44, 0, 0, 0, 0, 0, cells.length])
    head.writeInt32BE(6 + body.length, 1)
    rows.push(head, body)
    bytes += 7 + body.length
    if (bytes > 65_536 || id === 300_000) {
      reads.push(Buffer.concat(rows))
      rows = []
      bytes = 0
    }
  }
  return reads
}

const reads = dataRows()
const total = reads.reduce((sum, read) => sum + read.length, 0)
const hasher = new Hasher(new Secret('0123456789abcdef0123456789abcdef'))
const clear: ColumnMask = { kind: 'clear' }
const fields = ['id', 'email', 'at', 'state', 'note'].map(name => ({ name, typeOid: 25, format: 'text' as const }))
const plans: Record<string, ColumnMask[]> = { 'nothing (a copy)': [] }
for (const strategy of [
  { kind: 'redact' },
  { kind: 'null' },
  { kind: 'partial' },
  { kind: 'hash' },
] satisfies MaskStrategy[])
  plans[`one column, ${strategy.kind}`] = [clear, { kind: 'mask', mask: 'm', with: strategy }, clear, clear, clear]
for (const [name, detectors] of Object.entries({
  'all detectors': detectorNames,
  'five detectors': ['email', 'api-key', 'private-key', 'card-number', 'jwt'],
}))
  plans[`${name} on all text`] = fields.map(() => ({ kind: 'detect', mask: 'm', detectors, with: { kind: 'redact' } }))
for (const [name, plan] of Object.entries(plans)) {
  const masker =
    plan.length === 0 ? { mask: (rows: Buffer) => Buffer.from(rows) } : createRowMasker(plan, fields, { hasher })
  const milliseconds = best(4, () => {
    for (const read of reads) masker.mask(read)
  })
  show(`rows, ${name}`, total, milliseconds)
}
