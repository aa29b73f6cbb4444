import { AgentgateError } from '../errors.ts'

/** To one target at a time: what ends many grants at once must not take all the connections that it has. */
const maxAtOnce = 8
const maxIdle = 4
const idleMs = 5 * 60_000
/** Younger than that it is taken to live. */
const freshMs = 1000

/** What may be used again and again. */
export interface WarmConnection {
  /** False once it has broken. */
  readonly usable: boolean
  /** @throws where it does not answer */
  ping(): Promise<void>
  close(): Promise<void>
}

interface Place {
  readonly idle: { readonly connection: WarmConnection; readonly since: number; readonly expiry: NodeJS.Timeout }[]
  busy: number
  readonly waiting: (() => void)[]
}

/**
 * Administrators' connections that are kept for the next use, so that ending a grant does not begin with a login.
 * Whoever makes it closes it; work must not ask for another of the same key.
 */
export class WarmConnections {
  readonly #places = new Map<string, Place>()
  #closed = false

  async use<Connection extends WarmConnection, Result>(
    key: string,
    open: () => Promise<Connection>,
    work: (connection: Connection) => Promise<Result>,
  ): Promise<Result> {
    const place = this.#places.get(key) ?? { idle: [], busy: 0, waiting: [] }
    this.#places.set(key, place)
    if (place.busy >= maxAtOnce) await new Promise<void>(resolve => place.waiting.push(resolve))
    else place.busy += 1
    try {
      // Of this key there are only those that `open` made.
      const connection = ((await take(place)) as Connection | undefined) ?? (await open())
      let sound = false
      try {
        const result = await work(connection)
        sound = true
        return result
      } catch (error) {
        // What the server refused it has answered; after anything else nobody knows what state it is in.
        sound = error instanceof AgentgateError && error.code === 'TARGET_REFUSED'
        throw error
      } finally {
        if (sound && connection.usable && !this.#closed && place.idle.length < maxIdle) keep(place, connection)
        else void connection.close()
      }
    } finally {
      const next = place.waiting.shift()
      if (next === undefined) place.busy -= 1
      else next()
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all(
      [...this.#places.values()].flatMap(place =>
        place.idle.splice(0).map(async ({ connection, expiry }) => {
          clearTimeout(expiry)
          await connection.close()
        }),
      ),
    )
  }
}

async function take(place: Place): Promise<WarmConnection | undefined> {
  for (;;) {
    const found = place.idle.pop()
    if (found === undefined) return undefined
    clearTimeout(found.expiry)
    const { connection, since } = found
    if (!connection.usable) continue
    if (performance.now() - since < freshMs) return connection
    try {
      await connection.ping()
      return connection
    } catch {
      void connection.close() // the server was restarted, or a firewall forgot it
    }
  }
}

function keep(place: Place, connection: WarmConnection): void {
  const entry = {
    connection,
    since: performance.now(),
    expiry: setTimeout(() => {
      place.idle.splice(place.idle.indexOf(entry), 1)
      void connection.close()
    }, idleMs).unref(),
  }
  place.idle.push(entry)
}
