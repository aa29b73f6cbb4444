import v8 from 'node:v8'
import type { RawStmt } from 'libpg-query'
import type { PgQueryModule } from 'libpg-query/wasm/libpg-query.js'
import { nestsTooDeeply } from './nesting.ts'

export type Parsed =
  | { readonly kind: 'parsed'; readonly statements: readonly RawStmt[] }
  /** PostgreSQL's own message; `position` counts characters from 1, undefined where there is none. */
  | { readonly kind: 'syntax-error'; readonly message: string; readonly position: number | undefined }
  | { readonly kind: 'too-deep' }
  /** The parser broke and is being made anew. */
  | { readonly kind: 'broken' }

export interface Token {
  /** Offsets in bytes of UTF-8, as in parse trees. */
  readonly start: number
  readonly end: number
  readonly tokenName: string
}

/** PostgreSQL 18's parser, in WASM. One instance serves all connections: every call is synchronous. */
export interface Parser {
  parse(text: string): Parsed
  /** The same for texts that differ in constants only; undefined where the text cannot be read. */
  fingerprint(text: string): string | undefined
  scan(text: string): readonly Token[] | undefined
  /** The body of a CREATE FUNCTION or DO in PL/pgSQL, as libpg_query prints it; undefined where it cannot be read. */
  plpgsql(text: string): unknown
}

// The WASM stack overflows from about 1,100 nested sub-selects or 6,000 chained operators on (measured).
const deepest = { depth: 500, chain: 3000 }
const shortestDangerous = 2500
// Its memory grows with the largest text and never shrinks.
const largestHeapBytes = 320 * 1024 * 1024

export async function loadParser(): Promise<Parser> {
  // V8's optimising compiler takes up to 550 MB for PostgreSQL's grammar, one function of it, and gains 10 µs of 25 a text
  // (measured). Node 24 goes by all three flags, Node 20 by the first.
  for (const flag of ['--liftoff-only', '--no-wasm-tier-up', '--no-wasm-dynamic-tiering']) v8.setFlagsFromString(flag)
  const { default: create } = await import('libpg-query/wasm/libpg-query.js')
  return new WasmParser(create, await create())
}

class WasmParser implements Parser {
  readonly #create: () => Promise<PgQueryModule>
  #module: PgQueryModule | undefined
  #making = false

  constructor(create: () => Promise<PgQueryModule>, module: PgQueryModule) {
    this.#create = create
    this.#module = module
  }

  parse(text: string): Parsed {
    if (text.length > shortestDangerous && nestsTooDeeply(text, deepest)) return { kind: 'too-deep' }
    if (text.trim() === '') return { kind: 'parsed', statements: [] }
    return this.#call<Parsed>(text, { kind: 'broken' }, (module, pointer) => {
      const result = module._wasm_parse_query_raw(pointer)
      try {
        const error = module.getValue(result + 8, 'i32')
        if (error) {
          const position = module.getValue(error + 16, 'i32')
          return {
            kind: 'syntax-error',
            message: module.UTF8ToString(module.getValue(error, 'i32')),
            position: position > 0 ? position : undefined,
          }
        }
        const tree = JSON.parse(module.UTF8ToString(module.getValue(result, 'i32'))) as { stmts?: RawStmt[] }
        return { kind: 'parsed', statements: tree.stmts ?? [] }
      } finally {
        module._wasm_free_parse_result(result)
      }
    })
  }

  fingerprint(text: string): string | undefined {
    if (text.trim() === '') return ''
    const found = this.#string(text, '_wasm_fingerprint')
    return found !== undefined && /^[0-9a-f]{8,32}$/.test(found) ? found : undefined
  }

  scan(text: string): readonly Token[] | undefined {
    const found = this.#string(text, '_wasm_scan')
    if (found?.startsWith('{') !== true) return undefined
    return (JSON.parse(found) as { tokens?: Token[] }).tokens ?? []
  }

  plpgsql(text: string): unknown {
    if (text.length > shortestDangerous && nestsTooDeeply(text, deepest)) return undefined
    const found = this.#string(text, '_wasm_parse_plpgsql')
    return found?.startsWith('{') === true ? (JSON.parse(found) as unknown) : undefined
  }

  #string(text: string, name: '_wasm_fingerprint' | '_wasm_scan' | '_wasm_parse_plpgsql'): string | undefined {
    return this.#call(text, undefined, (module, pointer) => {
      const result = module[name](pointer)
      if (!result) return undefined
      try {
        return module.UTF8ToString(result)
      } finally {
        module._wasm_free_string(result)
      }
    })
  }

  #call<Result>(text: string, broken: Result, use: (module: PgQueryModule, text: number) => Result): Result {
    const module = this.#module
    if (!module) {
      this.#renew()
      return broken
    }
    try {
      const bytes = module.lengthBytesUTF8(text) + 1
      const pointer = module._malloc(bytes)
      module.stringToUTF8(text, pointer, bytes)
      const result = use(module, pointer)
      module._free(pointer)
      if (module.HEAPU8.length > largestHeapBytes) this.#renew()
      return result
    } catch {
      // An overflow or a trap leaves its stack pointer and memory contexts as they were then: this instance is done for.
      this.#module = undefined
      this.#renew()
      return broken
    }
  }

  #renew(): void {
    if (this.#making) return
    this.#making = true
    this.#create().then(
      module => {
        this.#module = module
        this.#making = false
      },
      () => {
        this.#making = false // the next call finds none either and stays refused
      },
    )
  }
}
