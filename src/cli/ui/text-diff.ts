/** One line of old against new. */
export interface DiffLine {
  readonly kind: 'same' | 'removed' | 'added'
  readonly text: string
}

const maxCells = 4_000_000

/** The shortest list of lines removed and added that makes `after` of `before`. */
export function diffLines(before: string, after: string): readonly DiffLine[] {
  const a = before.split('\n')
  const b = after.split('\n')
  let start = 0
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1
  let end = 0
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1
  const removed = a.slice(start, a.length - end)
  const added = b.slice(start, b.length - end)
  return [
    ...lines('same', a.slice(0, start)),
    // Beyond some thousand changed lines a shorter list is worth less than the memory for finding it.
    ...(removed.length * added.length > maxCells
      ? [...lines('removed', removed), ...lines('added', added)]
      : longestCommon(removed, added)),
    ...lines('same', a.slice(a.length - end)),
  ]
}

function lines(kind: DiffLine['kind'], texts: readonly string[]): DiffLine[] {
  return texts.map(text => ({ kind, text }))
}

function longestCommon(a: readonly string[], b: readonly string[]): DiffLine[] {
  const width = b.length + 1
  const lengths = new Uint32Array((a.length + 1) * width)
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      lengths[i * width + j] =
        a[i] === b[j]
          ? (lengths[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(lengths[(i + 1) * width + j] ?? 0, lengths[i * width + j + 1] ?? 0)
  const result: DiffLine[] = []
  let i = 0
  let j = 0
  while (i < a.length || j < b.length) {
    const left = a[i]
    const right = b[j]
    if (left !== undefined && left === right) {
      result.push({ kind: 'same', text: left })
      i += 1
      j += 1
    } else if (
      left !== undefined &&
      (right === undefined || (lengths[(i + 1) * width + j] ?? 0) >= (lengths[i * width + j + 1] ?? 0))
    ) {
      result.push({ kind: 'removed', text: left })
      i += 1
    } else {
      result.push({ kind: 'added', text: right ?? '' })
      j += 1
    }
  }
  return result
}
