import { isAlias, isMap, isScalar, isSeq, Lexer, parseDocument, type Document } from 'yaml'
import { lineStartsOf, type Place, type Problem, type SourceText } from './problem.ts'

export type Path = readonly (string | number)[]

const maxFileBytes = 1 << 20
/** Deeper than any policy; the YAML library recurses, and far deeper ends the process rather than the parse. */
const maxFlowDepth = 40
const maxIndentColumns = 200
const maxProblems = 20

/** A value with where it stands; maps and sequences with their parts. */
type Node =
  | { readonly kind: 'map'; readonly range: Range; readonly entries: ReadonlyMap<string, Entry> }
  | { readonly kind: 'sequence'; readonly range: Range; readonly items: readonly Node[] }
  | { readonly kind: 'scalar'; readonly range: Range; readonly value: string | number | boolean | null }

type Range = readonly [start: number, end: number]

interface Entry {
  readonly key: Range
  readonly node: Node
}

/** A YAML file as plain values, and where each of them stands in it. */
export interface YamlSource {
  readonly source: SourceText
  readonly value: unknown
  /** Of the value at a path, or of the nearest thing above it that is there. */
  place(path: Path): Place
  /** Of the key that names the value at a path. */
  keyPlace(path: Path): Place
}

export type YamlResult =
  | { readonly kind: 'ok'; readonly yaml: YamlSource }
  | { readonly kind: 'broken'; readonly problems: readonly Problem[] }

/**
 * Reads what people write: one document of maps with text keys, lists and plain values. Anchors, aliases, tags and keys
 * given twice are refused, since each hides from a reader what a file says.
 */
export function readYaml(file: { readonly name: string; readonly shown: string; readonly bytes: Buffer }): YamlResult {
  const hidden: Range[] = []
  const empty: SourceText = { name: file.name, shown: file.shown, text: '', lineStarts: [0], hidden }
  const broken = (source: SourceText, start: number, end: number, message: string): Problem => ({
    severity: 'error',
    place: { source, start, end },
    message,
    suggestion: undefined,
  })
  if (file.bytes.length > maxFileBytes)
    return { kind: 'broken', problems: [broken(empty, 0, 1, `the file is larger than ${maxFileBytes >> 20} MiB`)] }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(file.bytes)
  } catch {
    return { kind: 'broken', problems: [broken(empty, 0, 1, 'the file is not UTF-8 text')] }
  }
  const source: SourceText = { ...empty, text, lineStarts: lineStartsOf(text) }
  const tooDeep = deepPlace(text)
  if (tooDeep !== undefined)
    return { kind: 'broken', problems: [broken(source, tooDeep, tooDeep + 1, 'nested too deep to be read')] }

  const document = parse(text)
  if (document === undefined)
    return { kind: 'broken', problems: [broken(source, 0, 1, 'the file cannot be read as YAML')] }
  if (document.errors.length > 0)
    return {
      kind: 'broken',
      problems: document.errors
        .slice(0, maxProblems)
        .map(error => broken(source, error.pos[0], Math.max(error.pos[0] + 1, error.pos[1]), explain(error.code))),
    }
  const problems: Problem[] = []
  const root = walk(document.contents, [0, 0], [], (range, message) => {
    if (problems.length < maxProblems) problems.push(broken(source, range[0], range[1], message))
  })
  if (problems.length > 0) return { kind: 'broken', problems }
  collectHidden(root, false, hidden)
  return {
    kind: 'ok',
    yaml: {
      source,
      value: plain(root),
      place: path => at(source, find(root, path).range),
      keyPlace: path => at(source, find(root, path).key),
    },
  }
}

function at(source: SourceText, range: Range): Place {
  return { source, start: range[0], end: Math.max(range[0] + 1, range[1]) }
}

function parse(text: string): Document.Parsed | undefined {
  try {
    return parseDocument(text, {
      version: '1.2',
      schema: 'core',
      strict: true,
      // Ours is linear, theirs compares each key with each.
      uniqueKeys: false,
      stringKeys: true,
      prettyErrors: false,
      // Not 'silent', which would also silence a second document.
      logLevel: 'error',
    })
  } catch {
    return undefined
  }
}

/** Where nesting passes the limit. Counted on tokens and columns, before anything recursive reads the text. */
function deepPlace(text: string): number | undefined {
  const indicators = /^(?:[ \t]|[-?:](?=[ \t\r\n]))*/gm
  for (const match of text.matchAll(indicators)) {
    if (match[0].length > maxIndentColumns) return match.index + maxIndentColumns
  }
  let depth = 0
  let offset = 0
  for (const token of new Lexer().lex(text)) {
    if (token === '[' || token === '{') {
      depth += 1
      if (depth > maxFlowDepth) return Math.min(offset, text.length - 1)
    } else if ((token === ']' || token === '}') && depth > 0) depth -= 1
    // The lexer's own marks (document, scalar, end of flow) are single control characters that are not in the text.
    if (token !== '\u0002' && token !== '\u0018' && token !== '\u001f' && token !== '\ufeff') offset += token.length
  }
  return undefined
}

function walk(node: unknown, near: Range, path: Path, problem: (range: Range, message: string) => void): Node {
  if (node === null || node === undefined) return { kind: 'scalar', range: near, value: null }
  const range = rangeOf(node) ?? near
  if (isAlias(node)) {
    problem(range, 'an alias; write the value out where it counts')
    return { kind: 'scalar', range, value: null }
  }
  if (isMap(node) || isSeq(node) || isScalar(node)) {
    if (node.anchor !== undefined) problem(range, `an anchor (&${node.anchor}); write the value out where it counts`)
    if (
      node.tag !== undefined &&
      node.tag !== '' &&
      !/^tag:yaml\.org,2002:(map|seq|str|int|float|bool|null)$/.test(node.tag)
    )
      problem(range, 'a tag; plain values only')
  }
  if (isMap(node)) {
    const entries = new Map<string, Entry>()
    for (const pair of node.items) {
      const keyRange = rangeOf(pair.key) ?? range
      if (!isScalar(pair.key) || typeof pair.key.value !== 'string') {
        problem(keyRange, 'a key that is not text')
        continue
      }
      const key = pair.key.value
      if (pair.key.anchor !== undefined || (pair.key.tag !== undefined && pair.key.tag !== 'tag:yaml.org,2002:str'))
        problem(keyRange, 'an anchor or tag on a key; plain text only')
      if (entries.has(key)) problem(keyRange, `"${key}" stands here twice`)
      else if (key === '__proto__') problem(keyRange, 'this cannot be a key')
      else if (key === '<<') problem(keyRange, 'a merge; write the keys out where they count')
      else entries.set(key, { key: keyRange, node: walk(pair.value, keyRange, [...path, key], problem) })
    }
    return { kind: 'map', range, entries }
  }
  if (isSeq(node))
    return {
      kind: 'sequence',
      range,
      items: node.items.map((item, index) => walk(item, range, [...path, index], problem)),
    }
  if (isScalar(node)) {
    const { value } = node
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value === null)
      return { kind: 'scalar', range, value }
  }
  problem(range, 'a value of a kind that is not read here')
  return { kind: 'scalar', range, value: null }
}

function rangeOf(node: unknown): Range | undefined {
  if (typeof node !== 'object' || node === null || !('range' in node) || !Array.isArray(node.range)) return undefined
  const [start, end] = node.range as unknown[]
  return typeof start === 'number' && typeof end === 'number' ? [start, end] : undefined
}

function plain(node: Node): unknown {
  switch (node.kind) {
    case 'scalar':
      return node.value
    case 'sequence':
      return node.items.map(plain)
    case 'map':
      return Object.fromEntries([...node.entries].map(([key, entry]) => [key, plain(entry.node)]))
    default:
      return node satisfies never
  }
}

function find(root: Node, path: Path): { readonly range: Range; readonly key: Range } {
  let node = root
  let key = root.range
  for (const step of path) {
    if (node.kind === 'map') {
      const entry = node.entries.get(String(step))
      if (entry === undefined) break
      key = entry.key
      node = entry.node
    } else if (node.kind === 'sequence' && typeof step === 'number') {
      const item = node.items[step]
      if (item === undefined) break
      node = item
      key = item.range
    } else break
  }
  return { range: node.range, key }
}

/** Whatever stands in a credential and is no reference may be a secret that somebody wrote into the file. */
function collectHidden(node: Node, inCredential: boolean, hidden: Range[]): void {
  switch (node.kind) {
    case 'scalar':
      if (inCredential && typeof node.value !== 'boolean' && node.value !== null && !String(node.value).includes('${'))
        hidden.push(node.range)
      return
    case 'sequence':
      for (const item of node.items) collectHidden(item, inCredential, hidden)
      return
    case 'map':
      for (const [key, entry] of node.entries)
        if (!(inCredential && (key === 'issuer' || key === 'user' || key === 'ttl')))
          collectHidden(entry.node, inCredential || key === 'credential', hidden)
      return
    default:
      node satisfies never
  }
}

function explain(code: string): string {
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'a tab as indentation; YAML takes spaces only'
    case 'BAD_INDENT':
      return 'the indentation fits nothing above it, or a bracket is not closed'
    case 'MISSING_CHAR':
      return 'something is not closed, or a comma, colon or space is missing'
    case 'MULTIPLE_DOCS':
      return 'a second document (---); one to a file'
    case 'BLOCK_AS_IMPLICIT_KEY':
    case 'MULTILINE_IMPLICIT_KEY':
      return 'a second "key: value" on one line; put it on its own line, or quote the text'
    case 'BAD_SCALAR_START':
      return 'text that must be quoted to start like this'
    case 'NON_STRING_KEY':
      return 'a key that is not text'
    case 'MULTIPLE_ANCHORS':
    case 'MULTIPLE_TAGS':
    case 'BAD_ALIAS':
    case 'ALIAS_PROPS':
      return 'anchors, aliases and tags are not read here'
    case 'BAD_DQ_ESCAPE':
      return 'an unknown \\ escape; use single quotes to keep a backslash as it is'
    default:
      return 'this is not valid YAML'
  }
}
