import type { AnalysedText, Resolution } from '../analysis/analysed.ts'
import type { Analyser, Catalogue, ResultMasker } from './analyser.ts'
import { KnownText, TextCache } from './known-text.ts'
import type { ServerConnection } from './server-connection.ts'

/** While statements come, the catalogue is looked at this often; another session's change is unseen for no longer. */
const refreshMs = 2000
/** The tunnel's own connection is closed when it was not needed for this long. */
const idleMs = 30_000
/** By the estimate of TextCache, and twice that at most. */
const maxTextBytes = 12 * 1024 * 1024
const maxResolutions = 32

/** One database as one credential sees it: what its connections share. */
export class Target {
  readonly analyser: Analyser
  readonly masker: ResultMasker
  /** Something was asked since the last look at the catalogue. */
  active = false
  /** Nothing was asked for a while, so nobody looked: the next statement waits for a look. */
  stale = true
  readonly #open: () => Promise<ServerConnection>
  #catalogue: Catalogue | undefined
  #loading: Promise<Catalogue> | undefined
  #connection: Promise<ServerConnection> | undefined
  #idle: NodeJS.Timeout | undefined
  #timer: NodeJS.Timeout | undefined
  #texts = new Map<string, TextCache>()
  #textsOf: Catalogue | undefined

  /** @param open a connection of the tunnel's own, with the same credential, to the same database. */
  constructor(analyser: Analyser, masker: ResultMasker, open: () => Promise<ServerConnection>) {
    this.analyser = analyser
    this.masker = masker
    this.#open = open
  }

  /** The newest that is known; undefined before the first `refresh`. */
  get catalogue(): Catalogue | undefined {
    return this.#catalogue
  }

  /** Texts read in the light of this resolution and catalogue. */
  texts(resolution: Resolution, catalogue: Catalogue): TextCache {
    if (catalogue !== this.#catalogue) return new TextCache(maxTextBytes)
    if (catalogue !== this.#textsOf || this.#texts.size > maxResolutions) {
      this.#texts = new Map()
      this.#textsOf = catalogue
    }
    const key = JSON.stringify(resolution)
    let texts = this.#texts.get(key)
    if (texts === undefined) {
      texts = new TextCache(maxTextBytes)
      this.#texts.set(key, texts)
    }
    return texts
  }

  /**
   * Looks at the catalogue now; those who ask meanwhile share a look that began after they asked.
   * @param changed it is known to have changed, so that need not be asked first.
   */
  async refresh(changed = false): Promise<Catalogue> {
    const running = this.#loading
    if (running !== undefined) {
      // It may have looked before the change that this caller knows of.
      await running.catch(() => undefined)
      if (this.#loading !== undefined) return await this.#loading
    }
    this.#loading = this.#load(changed)
    try {
      return await this.#loading
    } finally {
      this.#loading = undefined
    }
  }

  async #load(changed: boolean): Promise<Catalogue> {
    const connection = await this.connection()
    const catalogue = await this.analyser.loadCatalogue(
      async queries => await connection.queries(queries),
      changed ? undefined : this.#catalogue,
    )
    this.#catalogue = catalogue
    this.stale = false
    this.#timer ??= setInterval(() => this.#tick(), refreshMs).unref()
    return catalogue
  }

  #tick(): void {
    if (!this.active) {
      this.stale = true
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    this.active = false
    // Where it fails, the next statement waits for a look, and tells its client why there is none.
    this.refresh().catch(() => (this.stale = true))
  }

  /** The tunnel's own connection, opened when needed. @throws AgentgateError */
  async connection(): Promise<ServerConnection> {
    clearTimeout(this.#idle)
    this.#idle = setTimeout(() => this.close(), idleMs).unref()
    const known = await this.#connection?.catch(() => undefined)
    if (known !== undefined && !known.closed) return known
    this.#connection = this.#open()
    return await this.#connection
  }

  close(): void {
    clearTimeout(this.#idle)
    const connection = this.#connection
    this.#connection = undefined
    void connection?.then(
      open => open.close(),
      () => undefined,
    )
  }

  /** Reads a text; a promise where it is large. */
  read(text: string, resolution: Resolution, catalogue: Catalogue): KnownText | Promise<KnownText> {
    const analysed = this.analyser.analyse(text, resolution, catalogue)
    return analysed instanceof Promise ? analysed.then(knownText) : knownText(analysed)
  }
}

const knownText = (analysed: AnalysedText) => new KnownText(analysed)
