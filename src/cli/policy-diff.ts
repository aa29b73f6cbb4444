import type { Paint } from './paint.ts'
import { escapeLine } from './ui/escape.ts'
import { diffLines, type DiffLine } from './ui/text-diff.ts'

export interface UnifiedLine {
  readonly kind: DiffLine['kind'] | 'head'
  readonly text: string
}

const contextLines = 3

type Side = readonly { readonly name: string; readonly bytes: Buffer }[]

/** A unified diff of two sets of files. @param was what the old ones are */
export function unifiedDiff(before: Side, after: Side, was: string): UnifiedLine[] {
  const names = [...new Set([...before, ...after].map(file => file.name))]
  return names.flatMap(name => {
    const old = before.find(file => file.name === name)
    const now = after.find(file => file.name === name)
    if (old !== undefined && now !== undefined && old.bytes.equals(now.bytes)) return []
    const lines =
      old === undefined
        ? whole('added', now?.bytes)
        : now === undefined
          ? whole('removed', old.bytes)
          : diffLines(textOf(old.bytes), textOf(now.bytes))
    const head: UnifiedLine[] = [
      { kind: 'head', text: `--- ${old === undefined ? '/dev/null' : `${name} (${was})`}` },
      { kind: 'head', text: `+++ ${now === undefined ? '/dev/null' : name}` },
    ]
    return [...head, ...hunks(lines)]
  })
}

function whole(kind: 'added' | 'removed', bytes: Buffer | undefined): DiffLine[] {
  return bytes === undefined
    ? []
    : textOf(bytes)
        .split('\n')
        .map(text => ({ kind, text }))
}

function textOf(bytes: Buffer): string {
  return bytes.toString('utf8').replace(/\n$/, '')
}

function hunks(lines: readonly DiffLine[]): UnifiedLine[] {
  const result: UnifiedLine[] = []
  let oldLine = 1
  let newLine = 1
  let open:
    { readonly from: number; readonly old: number; readonly now: number; readonly lines: UnifiedLine[] } | undefined
  const near = (index: number) => {
    for (let at = Math.max(0, index - contextLines); at <= Math.min(lines.length - 1, index + contextLines); at++)
      if (lines[at]?.kind !== 'same') return true
    return false
  }
  const close = () => {
    if (open === undefined) return
    result.push({ kind: 'head', text: `@@ -${open.old} +${open.now} @@` }, ...open.lines)
    open = undefined
  }
  lines.forEach((line, index) => {
    if (near(index)) {
      open ??= { from: index, old: oldLine, now: newLine, lines: [] }
      open.lines.push({ kind: line.kind, text: `${signOf(line.kind)}${line.text}` })
    } else close()
    if (line.kind !== 'added') oldLine += 1
    if (line.kind !== 'removed') newLine += 1
  })
  close()
  return result
}

function signOf(kind: DiffLine['kind']): string {
  return kind === 'added' ? '+' : kind === 'removed' ? '-' : ' '
}

/** As it is shown. */
export function paintLine(line: UnifiedLine, paint: Paint): string {
  // Tabs and the like stay readable; what could move the cursor or turn reading direction is written out.
  const text = escapeLine(line.text)
  switch (line.kind) {
    case 'added':
      return paint.green(text)
    case 'removed':
      return paint.red(text)
    case 'head':
      return paint.cyan(text)
    case 'same':
      return text
    default:
      return line.kind satisfies never
  }
}
