import { rolePassword } from '../analysis/ddl-reader.ts'
import { ProtocolError } from '../../../errors.ts'
import type { Mask } from '../../../policy/action.ts'
import type { RecordedEvent } from '../../../recording/event.ts'
import type { Asker, Context } from '../../protocol.ts'
import type { Resolution, SqlAction, Statement } from '../analysis/analysed.ts'
import type { ColumnMask } from '../masking/mask-plan.ts'
import type { Analyser, Catalogue, ResultMasker, RowMasker } from './analyser.ts'
import type { Description } from './description.ts'
import { ExpectedQueue } from './expected.ts'
import { KnownText, type TextCache } from './known-text.ts'
import { Names } from './names.ts'
import { Portal, Prepared, type Run } from './run.ts'
import type { Target } from './target.ts'

export type SqlAsker = Asker<SqlAction>

type Outcome = Extract<RecordedEvent, { kind: 'outcome' }>

/** What both directions of one connection know of it. */
export class Conversation {
  readonly context: Context
  readonly target: Target
  readonly expected = new ExpectedQueue()
  readonly statements = new Names<Prepared>()
  readonly portals = new Names<Portal>()
  /** Grows at each Sync sent. */
  batch = 0
  /** Something was sent since the last Sync that the server answers only at a Sync or Flush. */
  batchOpen = false
  /** As the last ReadyForQuery said. */
  status: 'I' | 'T' | 'E' = 'I'
  /** An extended message failed: the client's messages are dropped up to its Sync, as the server would. */
  discarding = false
  /** A CancelRequest of ours is on its way: whatever runs next could be what it hits. */
  cancelling = false
  /** What comes for the client is kept until it is known whether it counts. */
  withholding = false
  /** A portal was bound since the last Sync sent. */
  bound = false
  /** Between CopyInResponse and the client's CopyDone or CopyFail. */
  copyIn = false
  resolution: Resolution
  catalogue: Catalogue
  texts: TextCache
  /** Something was sent that may change how names are resolved. */
  resolutionStale = false
  /** That happened in the transaction that is open, so its end may change it back. */
  resolutionTouched = false
  catalogueStale = false
  catalogueTouched = false
  /** `catalogue` is this connection's own view from inside its transaction. */
  catalogueOwn = false
  /** Run-time parameters as the server reports them. */
  readonly parameters: Map<string, string>
  readonly #ended: Outcome[] = []

  constructor(
    context: Context,
    target: Target,
    resolution: Resolution,
    catalogue: Catalogue,
    parameters: Map<string, string>,
  ) {
    this.context = context
    this.target = target
    this.resolution = resolution
    this.catalogue = catalogue
    this.texts = target.texts(resolution, catalogue)
    this.parameters = parameters
  }

  get analyser(): Analyser {
    return this.target.analyser
  }

  get masker(): ResultMasker {
    return this.target.masker
  }

  resolve(resolution: Resolution, catalogue: Catalogue): void {
    this.resolution = resolution
    this.catalogue = catalogue
    this.texts = this.target.texts(resolution, catalogue)
  }

  /** The server is through with a statement: the names it changed stand for something else from now on. */
  applyNames(statement: Statement): void {
    for (const change of statement.changes) {
      switch (change.kind) {
        case 'prepare':
          this.statements.set(nameKey(change.name), this.#prepared(change.name, change.statement))
          break
        case 'deallocate':
          if (change.name === null) this.statements.clearNamed()
          else this.statements.delete(nameKey(change.name))
          break
        case 'declare': {
          const prepared = this.#prepared(change.name, change.statement)
          this.portals.set(nameKey(change.name), new Portal(prepared, [], prepared.known.action, null))
          break
        }
        case 'close':
          if (change.name === null) this.portals.clear()
          else this.portals.delete(nameKey(change.name))
          break
        case 'discard':
          this.statements.clearNamed()
          this.portals.clear()
          break
        case 'execute':
        case 'resolution':
        case 'catalogue':
          break
        default:
          change satisfies never
      }
    }
  }

  #prepared(name: string, statement: Statement): Prepared {
    return new Prepared(KnownText.of(statement, this.texts), [], name)
  }

  /** Why a text may not run, whatever the rules say; undefined where it may. */
  forbids(known: KnownText, masks: readonly Mask[]): string | undefined {
    if (this.context.resource.credential.issuer === 'postgres-role' && changesRolePassword(known))
      return 'the password of a role, and how long it counts, are not changed by a session whose own role is made for it (docs/postgres-role.md)'
    return masks.length === 0 ? undefined : known.shape.launders(masks, this.analyser.launders)
  }

  get masksAnything(): boolean {
    return this.context.masks().length > 0
  }

  /** How rows with these columns are masked; null: as they come. @throws AgentgateError where that cannot be known. */
  rowMasker(run: Run, description: Description | undefined): RowMasker | null {
    if (run.masks.length === 0) return null
    if (description === undefined) throw new ProtocolError('postgres', 'the server sent rows that it has not described')
    const { statement, masks } = run
    const { fields } = description
    run.results += 1
    const plan =
      statement === undefined || run.results > 1
        ? fields.map(() => unforeseen) // a rule's rows, of which the statement says nothing
        : description.plan(masks, this.catalogue, () => this.analyser.plan(statement, masks, this.catalogue, fields))
    return plan === 'clear' ? null : this.masker.rows(plan, fields, this.catalogue)
  }

  /** The same for rows that are copied out. */
  copyMasker(run: Run, binary: boolean, columns: number): RowMasker | null {
    if (run.masks.length === 0) return null
    const { statement } = run
    if (statement === undefined) throw new ProtocolError('postgres', 'the server sends a copy that nobody asked for')
    const plan = this.analyser.plan(statement, run.masks, this.catalogue, null)
    if (plan === 'clear') return null
    const masker = this.masker.copy(plan, statement, binary, columns, this.catalogue)
    if (masker === undefined) throw new ProtocolError('postgres', 'a copy that cannot be masked')
    return masker
  }

  /** A portal's name is given to another, or to none: what it has not given by now it never will. */
  replacePortal(name: string): void {
    const portal = this.portals.known(name)
    if (portal?.run && !portal.run.ended) this.end(portal.run, 'ok', portal.run.tag)
  }

  /** The server said ReadyForQuery. */
  ready(status: 'I' | 'T' | 'E'): void {
    this.status = status
    if (status !== 'I') return
    // Portals end with their transaction; cursors may be WITH HOLD.
    this.portals.sweep(portal => {
      if (portal.run !== null && !portal.run.ended) this.end(portal.run, 'ok', portal.run.tag)
      return portal.byBind
    })
    if (this.resolutionTouched) {
      this.resolutionTouched = false
      this.resolutionStale = true
    }
    if (this.catalogueTouched) {
      this.catalogueTouched = false
      this.catalogueStale = true
    }
  }

  /** The connection is over: what was running is lost. */
  lose(): void {
    for (let left = this.expected.shift(); left !== undefined; left = this.expected.shift()) {
      if ((left.kind === 'query' || left.kind === 'execute') && left.run !== null) this.end(left.run, 'lost', '')
      if (left.kind === 'bind' && left.change?.value?.run) this.end(left.change.value.run, 'lost', '')
      if (left.kind === 'own') left.exchange.skip()
    }
    this.portals.sweep(portal => {
      if (portal.run !== null) this.end(portal.run, 'ok', portal.run.tag)
      return true
    })
    this.recordEnded()
  }

  /** A run is over: its outcome is recorded, once, when `recordEnded` is called. */
  end(run: Run, status: 'ok' | 'error' | 'cancelled' | 'lost', tag: string): void {
    if (run.ended) return
    run.ended = true
    this.#ended.push({
      kind: 'outcome',
      connection: this.context.connection,
      action: run.event,
      status,
      tag,
      rows: run.rows,
      milliseconds: Math.round((performance.now() - run.startedMs) * 1000) / 1000,
      masked: run.masked === null ? [] : [...run.masked],
    })
  }

  /** Records how runs ended: behind what the client is sent of them, so that it does not wait for that. */
  recordEnded(): void {
    if (this.#ended.length === 0) return
    for (const outcome of this.#ended.splice(0)) void this.context.record(outcome)
  }
}

const unforeseen: ColumnMask = { kind: 'mask', mask: 'not foreseen', with: { kind: 'redact' } }

/** A name as the protocol carries it: one char a byte. */
export function nameKey(name: string): string {
  return Buffer.from(name, 'utf8').toString('latin1')
}

/**
 * With a password of its own choosing a session could log in around the tunnel. What is put together only as it runs, in a DO
 * block or a function, shows here by the words alone.
 */
function changesRolePassword({ analysed }: KnownText): boolean {
  return (
    analysed.statements.some(({ effects }) => effects.some(({ object }) => object === rolePassword)) ||
    (analysed.statements.some(({ unknown }) => unknown !== null) &&
      /\bpassword\b|\bvalid\s+until\b/i.test(analysed.text))
  )
}
