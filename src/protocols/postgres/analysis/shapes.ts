import type { A_Const, RawStmt } from 'libpg-query'
import type { AnalysedText, Constant, Statement } from './analysed.ts'
import type { Outline } from './outline.ts'

/** Statements that may be read by shape. Of others the parser puts constants into places of its own. */
const plain: ReadonlySet<string> = new Set(['select', 'insert', 'update', 'delete'])

/** Watches the constants in a parse tree: which there are, and whether anybody asks for the value of one. */
export class ConstantWatch {
  readonly #constants: A_Const[] = []
  #asked = false

  /** Has each constant tell when its value is looked at. */
  over(statements: readonly RawStmt[]): void {
    this.#visit(statements)
  }

  get asked(): boolean {
    return this.#asked
  }

  /** Where the constants are that an outline leaves out: each begins there, or by its sign before; in the order of the text. */
  matches(text: string, { starts }: Outline): boolean {
    const places = this.#constants.map(constant => constant.location ?? 0).sort((a, b) => a - b)
    return (
      places.length === starts.length &&
      places.every((place, index) => place === starts[index] || /^-[\s(]*$/.test(text.slice(place, starts[index])))
    )
  }

  #visit(value: unknown): void {
    if (typeof value !== 'object' || value === null) return
    if (Array.isArray(value)) {
      for (const each of value) this.#visit(each)
      return
    }
    for (const [key, inner] of Object.entries(value)) {
      if (key === 'A_Const') this.#watch(inner as A_Const)
      else this.#visit(inner)
    }
  }

  #watch(constant: A_Const): void {
    const kinds = (['ival', 'fval', 'sval'] as const).filter(kind => constant[kind] !== undefined)
    if (kinds.length === 0) return // TRUE, NULL, a bit string: part of the shape
    this.#constants.push(constant)
    for (const kind of kinds) {
      const value = constant[kind]
      Object.defineProperty(constant, kind, {
        enumerable: true,
        get: () => {
          this.#asked = true
          return value
        },
      })
    }
  }
}

/** What one text said that holds for every other of its shape, as reading it asked for the value of no constant. */
export class Template {
  readonly #sample: AnalysedText
  readonly #statement: Statement
  readonly #outline: Outline
  /** Of the statement within the text. */
  readonly #start: number
  readonly #end: number
  readonly #constants: readonly Constant[] | undefined

  /** Undefined where more than its constants' places may differ from text to text. */
  static of(sample: AnalysedText, outline: Outline, parsed: RawStmt): Template | undefined {
    const [statement, ...others] = sample.statements
    if (statement === undefined || others.length > 0 || sample.refusal !== null) return undefined
    if (!plain.has(statement.verb) || statement.changes.length > 0 || statement.missing.length > 0) return undefined
    return new Template(sample, statement, outline, parsed)
  }

  private constructor(sample: AnalysedText, statement: Statement, outline: Outline, parsed: RawStmt) {
    this.#sample = sample
    this.#statement = statement
    this.#outline = outline
    const { stmt_location: start = 0, stmt_len: length = 0 } = parsed
    this.#start = start
    this.#end = length === 0 ? sample.text.length : start + length
    this.#constants = sample.constants
  }

  /** What another text of the shape says. */
  read(text: string, outline: Outline): AnalysedText {
    const { shape, refusal } = this.#sample
    const sample = this.#sample
    const constants = this.#constants?.map(constant =>
      constant.kind === 'parameter' ? constant : { ...constant, at: this.#place(constant.at, outline) },
    )
    return {
      text,
      shape,
      get fingerprint() {
        return sample.fingerprint
      },
      statements: [
        {
          ...this.#statement,
          text: text.slice(this.#place(this.#start, outline), this.#place(this.#end, outline)),
        },
      ],
      refusal,
      ...(constants === undefined ? {} : { constants }),
    }
  }

  /** Where something is, given where it is in the sample. */
  #place(at: number, { starts, ends }: Outline): number {
    const own = this.#outline
    let place = at
    for (let index = 0; index < starts.length && (own.starts[index] ?? 0) < at; index++)
      place += (ends[index] ?? 0) - (starts[index] ?? 0) - ((own.ends[index] ?? 0) - (own.starts[index] ?? 0))
    return place
  }
}

/**
 * The same text with other constants of the same length: whatever in its parse tree differs then depends on a constant.
 * Digits stay digits and letters letters, so the outline is the same.
 */
export function withOtherConstants(text: string, { starts, ends }: Outline): string {
  let changed = ''
  let from = 0
  starts.forEach((start, index) => {
    const end = ends[index] ?? start
    changed += text.slice(from, start) + text.slice(start, end).replace(/[0-9A-Za-z]/g, next)
    from = end
  })
  return changed + text.slice(from)
}

function next(char: string): string {
  if (char >= '0' && char <= '9') return char === '9' ? '1' : String(Number(char) + 1)
  return char === 'z' ? 'a' : char === 'Z' ? 'A' : String.fromCharCode(char.charCodeAt(0) + 1)
}

/** Whether two parse trees differ in the values of constants only. */
export function sameButConstants(one: unknown, other: unknown): boolean {
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return one === other
  if (Array.isArray(one) !== Array.isArray(other)) return false
  const keys = Object.keys(one)
  if (keys.length !== Object.keys(other).length) return false
  return keys.every(key => {
    const [a, b] = [(one as Record<string, unknown>)[key], (other as Record<string, unknown>)[key]]
    return key === 'A_Const' ? sameKind(a, b) : sameButConstants(a, b)
  })
}

function sameKind(one: unknown, other: unknown): boolean {
  const kindOf = (constant: unknown) =>
    Object.entries(constant as A_Const)
      .map(([key, value]) =>
        key === 'ival' || key === 'fval' || key === 'sval' ? key : `${key} ${JSON.stringify(value)}`,
      )
      .join()
  return kindOf(one) === kindOf(other)
}
