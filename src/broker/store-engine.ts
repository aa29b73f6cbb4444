import type {
  CompiledQuery,
  DatabaseConnection,
  DatabaseIntrospector,
  Dialect,
  DialectAdapter,
  Driver,
  Kysely,
  QueryCompiler,
  QueryResult,
  TransactionSettings,
} from 'kysely'
import { AgentgateError } from '../errors.ts'

/** What brokers on one store tell each other: ids only, each then asks the store. `gap`: something may not have been heard. */
export type StoreWord =
  | { readonly kind: 'ended'; readonly session: string }
  | { readonly kind: 'approval'; readonly id: string }
  | { readonly kind: 'check'; readonly id: string }
  | { readonly kind: 'gap' }

/** The database below a store: one schema and one set of queries (store.ts), two of these. */
export interface StoreEngine<Tables> {
  readonly name: 'sqlite' | 'postgres'
  readonly db: Kysely<Tables>
  /** Where it is, for people; holds no secret. */
  readonly place: string
  /** By the clock that all brokers on it share. */
  now(): Date
  /** @throws AgentgateError STORE_FAILED where it cannot be asked, or what others say cannot be heard */
  ping(): Promise<void>
  /** To the other brokers; whoever cannot be told finds it in the store. */
  tell(word: Exclude<StoreWord, { kind: 'gap' }>): Promise<void>
  /** What others say, from now on. */
  hear(listener: (word: StoreWord) => void): void
  close(): Promise<void>
}

/** In order; a store knows how many it has seen. Statements that both engines read. */
export type Migrations = readonly (readonly string[])[]

export function newerStore(place: string): AgentgateError {
  return new AgentgateError('STATE_UNSAFE', `the broker’s store ${place} was written by a newer agentgate`, {
    hint: 'run that version; this one has left it as it is',
  })
}

/** The same dialect, whose errors are ours: none of a driver's own text reaches anybody. */
export class ExplainedDialect implements Dialect {
  readonly #inner: Dialect
  readonly #explain: (error: unknown) => AgentgateError

  constructor(inner: Dialect, explain: (error: unknown) => AgentgateError) {
    this.#inner = inner
    this.#explain = explain
  }

  createAdapter(): DialectAdapter {
    return this.#inner.createAdapter()
  }
  createDriver(): Driver {
    return new ExplainedDriver(this.#inner.createDriver(), error =>
      error instanceof AgentgateError ? error : this.#explain(error),
    )
  }
  createIntrospector(db: Kysely<unknown>): DatabaseIntrospector {
    return this.#inner.createIntrospector(db)
  }
  createQueryCompiler(): QueryCompiler {
    return this.#inner.createQueryCompiler()
  }
}

class ExplainedDriver implements Driver {
  readonly #inner: Driver
  readonly #explain: (error: unknown) => AgentgateError

  constructor(inner: Driver, explain: (error: unknown) => AgentgateError) {
    this.#inner = inner
    this.#explain = explain
  }

  async init(): Promise<void> {
    await this.#explained(async () => await this.#inner.init())
  }
  async acquireConnection(): Promise<DatabaseConnection> {
    return new ExplainedConnection(
      await this.#explained(async () => await this.#inner.acquireConnection()),
      this.#explain,
    )
  }
  async beginTransaction(connection: DatabaseConnection, settings: TransactionSettings): Promise<void> {
    await this.#explained(async () => await this.#inner.beginTransaction(innerOf(connection), settings))
  }
  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await this.#explained(async () => await this.#inner.commitTransaction(innerOf(connection)))
  }
  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await this.#explained(async () => await this.#inner.rollbackTransaction(innerOf(connection)))
  }
  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    await this.#inner.releaseConnection(innerOf(connection))
  }
  async destroy(): Promise<void> {
    await this.#inner.destroy()
  }

  async #explained<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      throw this.#explain(error)
    }
  }
}

class ExplainedConnection implements DatabaseConnection {
  readonly inner: DatabaseConnection
  readonly #explain: (error: unknown) => AgentgateError

  constructor(inner: DatabaseConnection, explain: (error: unknown) => AgentgateError) {
    this.inner = inner
    this.#explain = explain
  }

  async executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    try {
      return await this.inner.executeQuery<Row>(query)
    } catch (error) {
      throw this.#explain(error)
    }
  }
  streamQuery<Row>(query: CompiledQuery, chunkSize?: number): AsyncIterableIterator<QueryResult<Row>> {
    return this.inner.streamQuery<Row>(query, chunkSize)
  }
}

function innerOf(connection: DatabaseConnection): DatabaseConnection {
  return connection instanceof ExplainedConnection ? connection.inner : connection
}
