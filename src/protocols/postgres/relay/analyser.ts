import type { Mask } from '../../../policy/action.ts'
import type { AnalysedText, Resolution, Statement } from '../analysis/analysed.ts'
import type { MaskPlan } from '../masking/mask-plan.ts'
import type { Field } from '../wire/backend-messages.ts'

/** A snapshot of what names stand for in one database; a change is a new object. */
export type Catalogue = object

export type TextRows = readonly (readonly (string | null)[])[]

/** Runs queries of ours in one go and gives the rows of each, every value as text. */
export type RunQueries = (queries: readonly string[]) => Promise<readonly TextRows[]>

/** Reads statements and says where their results come from (src/protocols/postgres/analysis/). */
export interface Analyser {
  /** A promise where the text is so large that reading it would keep other connections waiting. */
  analyse(text: string, resolution: Resolution, catalogue: Catalogue): AnalysedText | Promise<AnalysedText>
  /** Reads the catalogue, or says by returning `before` that nothing has changed; `before` undefined: it has. */
  loadCatalogue(run: RunQueries, before: Catalogue | undefined): Promise<Catalogue>
  /** Why this would put masked values where no mask covers them; undefined where it does not. */
  readonly launders: (statement: Statement, masks: readonly Mask[]) => string | undefined
  /** What is to be hidden of each result column; `columns` is null where rows are copied out. */
  plan(statement: Statement, masks: readonly Mask[], catalogue: Catalogue, columns: readonly Field[] | null): MaskPlan
}

/** Replaces values in whole DataRow messages, or in whole CopyData messages of one copy. */
export interface RowMasker {
  readonly maskedColumns: readonly string[]
  mask(rows: Buffer): Buffer
  /** All has been sent. @throws ProtocolError where a row is not whole. */
  end?(): void
}

/** Rewrites results by plan (src/protocols/postgres/masking/). */
export interface ResultMasker {
  rows(plan: MaskPlan, fields: readonly Field[], catalogue: Catalogue): RowMasker
  /** Undefined where a copy of this kind cannot be masked: it is refused then. */
  copy(
    plan: MaskPlan,
    statement: Statement,
    binary: boolean,
    columns: number,
    catalogue: Catalogue,
  ): RowMasker | undefined
}
