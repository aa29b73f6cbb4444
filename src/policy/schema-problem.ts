import type { z } from 'zod'
import type { Problem } from './problem.ts'
import { didYouMean, listed } from './suggest.ts'
import type { Path, YamlSource } from './yaml-source.ts'

type Issue = z.core.$ZodIssue

/** Starts a message that no schema wrote: zod's own words are not shown. Unknown keys carry the known ones. */
const unwritten = '\u0000'

/**
 * Parses a part of a file, `prefix` being where it stands.
 *
 * What schemas say in their `error` ends the sentence "…; expected"; a `custom` issue's message is a sentence of its own
 * unless its `params.expected` is true.
 */
export function parsePart<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  yaml: YamlSource,
  prefix: Path,
):
  { readonly kind: 'ok'; readonly value: z.output<Schema> } | { readonly kind: 'wrong'; readonly problems: Problem[] } {
  const result = schema.safeParse(value, {
    error: issue => {
      if (issue.code !== 'unrecognized_keys') return unwritten
      const { inst } = issue
      const shape: unknown = inst !== undefined && 'shape' in inst ? inst.shape : undefined
      return unwritten + (typeof shape === 'object' && shape !== null ? Object.keys(shape).join(unwritten) : '')
    },
  })
  if (result.success) return { kind: 'ok', value: result.data }
  const problems: Problem[] = []
  // Whoever mistyped a key is not also told that the key is missing.
  const mistyped = new Set(
    result.error.issues.flatMap(issue => (issue.code === 'unrecognized_keys' ? [JSON.stringify(issue.path)] : [])),
  )
  for (const issue of result.error.issues)
    if (issue.code !== 'custom' || !mistyped.has(JSON.stringify(issue.path)))
      translate(issue, value, [], { yaml, prefix, problems })
  return { kind: 'wrong', problems }
}

interface Where {
  readonly yaml: YamlSource
  readonly prefix: Path
  readonly problems: Problem[]
}

function translate(issue: Issue, root: unknown, above: Path, where: Where): void {
  const path = [...above, ...stepsOf(issue.path)]
  const found = valueAt(root, path)
  const add = (message: string, suggestion?: string, atKey = false) => {
    const full = [...where.prefix, ...path]
    const place = atKey ? where.yaml.keyPlace(full) : where.yaml.place(full)
    where.problems.push({ severity: 'error', place, message, suggestion })
  }
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = issue.message.split(unwritten).filter(key => key !== '')
      for (const key of issue.keys) {
        const place = where.yaml.keyPlace([...where.prefix, ...path, key])
        const message = `unknown key "${clip(key)}"; expected ${oneOf(known)}`
        where.problems.push({ severity: 'error', place, message, suggestion: didYouMean(key, known) })
      }
      return
    }
    case 'invalid_key': {
      const inner = issue.issues[0]
      const key = String(path.at(-1) ?? '')
      const expected = inner === undefined ? 'another name' : expectedOf(inner)
      add(`"${clip(key)}" cannot be a name here; expected ${expected}`, undefined, true)
      return
    }
    case 'invalid_union': {
      // A word that decides which shape the rest has, such as `kind` or `issuer`.
      if (issue.errors.length === 0) {
        const options = ('options' in issue && Array.isArray(issue.options) ? issue.options : []).map(String)
        add(unknownWord(path, root, found, options), typeof found === 'string' ? didYouMean(found, options) : undefined)
        return
      }
      const fitting = issue.errors.filter(branch =>
        branch.every(inner => fits(inner, valueAt(found, stepsOf(inner.path)))),
      )
      // The branch that got furthest is the one that was meant.
      const meant = fitting.toSorted((left, right) => depth(right) - depth(left))[0]
      if (meant !== undefined) {
        for (const inner of meant) translate(inner, root, path, where)
        return
      }
      const roots: readonly Issue[] = issue.errors.flat().filter(inner => inner.path.length === 0)
      const words = roots.flatMap(inner => (inner.code === 'invalid_value' ? inner.values.map(String) : []))
      if (typeof found === 'string' && words.length > 0)
        add(unknownWord(path, root, found, words), didYouMean(found, words))
      else
        add(mismatch(path, root, found, where, [...new Set(roots.flatMap(inner => alternatives(inner)))].join(' or ')))
      return
    }
    case 'invalid_value': {
      const words = issue.values.map(String)
      if (typeof found === 'string' && words.length > 1)
        add(unknownWord(path, root, found, words), didYouMean(found, words))
      else add(mismatch(path, root, found, where, expectedOf(issue)))
      return
    }
    case 'custom': {
      const phrase = issue.params?.['expected'] === true
      add(
        phrase
          ? mismatch(path, root, found, where, expectedOf(issue))
          : written(issue)
            ? issue.message
            : 'this does not fit',
      )
      return
    }
    default:
      add(mismatch(path, root, found, where, expectedOf(issue)))
  }
}

function unknownWord(path: Path, root: unknown, found: unknown, words: readonly string[]): string {
  if (typeof found !== 'string') {
    if (isMissing(path, root)) return `"${subjectOf(path)}" is missing; expected ${oneOf(words)}`
    return `${subjectOf(path)} is ${describe(found)}; expected ${oneOf(words)}`
  }
  return `unknown ${subjectOf(path)} "${clip(found)}"; expected ${oneOf(words)}`
}

function mismatch(path: Path, root: unknown, found: unknown, where: Where, expected: string): string {
  if (isMissing(path, root)) return `"${subjectOf(path)}" is missing; expected ${expected}`
  const secret = [...where.prefix, ...path].includes('credential')
  if (secret && found !== null) return `${subjectOf(path)} does not fit; expected ${expected}`
  return `${subjectOf(path)} is ${describe(found)}; expected ${expected}`
}

/** Whether a union's branch is of the kind of thing that was found, so that its complaint is worth showing. */
function fits(issue: Issue, found: unknown): boolean {
  if (issue.path.length > 0) return true
  if (issue.code === 'invalid_type') return false
  if (issue.code === 'invalid_value') return false
  if (issue.code === 'invalid_union' && issue.errors.length > 0)
    return issue.errors.some(branch => branch.every(inner => fits(inner, found)))
  return true
}

function depth(branch: readonly z.core.$ZodIssue[]): number {
  return Math.max(...branch.map(issue => issue.path.length * 10 - (issue.code === 'unrecognized_keys' ? 1 : 0)))
}

function alternatives(issue: Issue): string[] {
  if (issue.code === 'invalid_union')
    return issue.errors.flatMap(branch => branch.flatMap(inner => alternatives(inner)))
  return [expectedOf(issue)]
}

function expectedOf(issue: Issue): string {
  if (written(issue)) return issue.message
  switch (issue.code) {
    case 'invalid_type':
      return typeNames[issue.expected] ?? issue.expected
    case 'invalid_value':
      return oneOf(issue.values.map(String))
    case 'too_small':
      return `at least ${issue.minimum}${unitOf(issue.origin)}`
    case 'too_big':
      return `at most ${issue.maximum}${unitOf(issue.origin)}`
    case 'invalid_union':
      return [...new Set(alternatives(issue))].join(' or ')
    default:
      return 'something else'
  }
}

const typeNames: Readonly<Partial<Record<string, string>>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map of keys',
  record: 'a map of names',
  null: 'null',
  never: 'nothing',
}

function unitOf(origin: string): string {
  if (origin === 'string') return ' characters'
  return origin === 'array' || origin === 'set' ? ' of them' : ''
}

function written(issue: Issue): boolean {
  return issue.message !== '' && !issue.message.startsWith(unwritten)
}

function oneOf(words: readonly string[]): string {
  if (words.length === 0) return 'nothing'
  return words.length === 1 ? (words[0] ?? '') : `one of ${listed(words)}`
}

/** The nearest key above: an item of `statement: [ udpate ]` is a statement. */
function subjectOf(path: Path): string {
  const key = path.findLast(step => typeof step === 'string')
  return typeof key === 'string' ? clip(key) : 'the file'
}

function isMissing(path: Path, root: unknown): boolean {
  const last = path.at(-1)
  if (typeof last !== 'string') return false
  const parent = valueAt(root, path.slice(0, -1))
  return typeof parent === 'object' && parent !== null && !Object.hasOwn(parent, last)
}

function describe(found: unknown): string {
  if (found === null || found === undefined) return 'empty'
  if (typeof found === 'string') return `"${clip(found)}"`
  if (typeof found === 'number') return `the number ${found}`
  if (typeof found === 'boolean') return String(found)
  return Array.isArray(found) ? (found.length === 0 ? 'an empty list' : 'a list') : 'a map'
}

function clip(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

function stepsOf(path: readonly PropertyKey[]): Path {
  return path.map(step => (typeof step === 'number' ? step : String(step)))
}

export function valueAt(root: unknown, path: Path): unknown {
  let value = root
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined
    value = (value as Record<string | number, unknown>)[step]
  }
  return value
}
