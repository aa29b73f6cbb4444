import type { ListedSession } from '../../recording/catalogue.ts'
import type { ContentKey } from '../../recording/encryption/content-key.ts'

export const reportNames = ['access', 'approvals', 'denials', 'masking', 'coverage'] as const
export type ReportName = (typeof reportNames)[number]

export const reportFormats = ['table', 'csv', 'json', 'html'] as const
export type ReportFormat = (typeof reportFormats)[number]

export type Cell = string | number | null

/** Columns and rows, whatever they are written as. Columns are only added, at the end. */
export interface Report {
  readonly name: ReportName
  readonly title: string
  /** In camelCase, as in JSON. */
  readonly columns: readonly string[]
  readonly rows: AsyncIterable<readonly Cell[]>
}

/** What is being reported on. */
export interface Period {
  readonly from: Date
  readonly to: Date
}

export interface ReportSource {
  /** The folder with the recordings. */
  readonly recordings: string
  readonly period: Period
  /** For what it holds. null: it takes none, or none is at hand, which is then said, and in `unread`. */
  readonly keyOf: (listed: Pick<ListedSession, 'folder' | 'session'>) => Promise<ContentKey | null>
  /** Sessions whose statements could not be read: encrypted to others, or erased. */
  readonly unread: ReadonlySet<string>
  /** A recording that cannot be read whole: what it says is reported, and that it is not all. */
  readonly onDamaged: (session: string) => void
}
