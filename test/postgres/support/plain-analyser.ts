import { loadModule, parseSync } from 'libpg-query'
import type {
  AnalysedText,
  Effect,
  Output,
  SessionChange,
  Statement,
} from '../../../src/protocols/postgres/analysis/analysed.ts'
import type { Analyser } from '../../../src/protocols/postgres/relay/analyser.ts'

type Node = Record<string, unknown>

/** Reads only as much of a statement as the relay follows: its verb, the names it uses, what it changes. Not for policy. */
export async function plainAnalyser(): Promise<Analyser> {
  await loadModule()
  return {
    analyse: text => analyse(text),
    loadCatalogue: async (run, before) => {
      await run(['select 1', 'select 2'])
      return before ?? {}
    },
    launders: () => undefined,
    plan: (statement, masks, _catalogue, fields) => {
      const hidden = masks.flatMap(mask => mask.columns.map(name => name.split('.').at(-1)))
      if (fields === null) return statement.output.kind === 'copy-out' && hidden.length > 0 ? [] : 'clear'
      const plan = fields.map(field =>
        hidden.includes(field.name)
          ? ({ kind: 'mask', mask: 'test', with: { kind: 'redact' } } as const)
          : ({ kind: 'clear' } as const),
      )
      return plan.every(column => column.kind === 'clear') ? 'clear' : plan
    },
  }
}

function analyse(text: string): AnalysedText {
  if (text.replaceAll(/--.*$/gm, '').trim() === '')
    return { text, shape: {}, fingerprint: text, statements: [], refusal: null }
  try {
    const { stmts = [] } = parseSync(text) as unknown as {
      stmts?: { stmt: Node; stmt_location?: number; stmt_len?: number }[]
    }
    const bytes = Buffer.from(text)
    const statements = stmts.map(({ stmt, stmt_location: start = 0, stmt_len: length }) =>
      statementOf(stmt, bytes.subarray(start, length === undefined ? undefined : start + length).toString()),
    )
    return { text, shape: {}, fingerprint: text, statements, refusal: null }
  } catch (error) {
    const message = error instanceof Error ? error.message : 'unreadable'
    return {
      text,
      shape: {},
      fingerprint: text,
      statements: [],
      refusal: { sqlstate: '42601', message, hint: undefined },
    }
  }
}

function word(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function statementOf(tree: Node, text: string): Statement {
  const [kind = '', body] = Object.entries(tree)[0] ?? []
  const node = body as Node
  const changes: SessionChange[] = []
  let output: Output = { kind: 'none' }
  let verb = kind.replace(/Stmt$/, '').toLowerCase()
  const inner = (query: unknown, source: string) => statementOf(query as Node, source)
  switch (kind) {
    case 'SelectStmt':
      output = { kind: 'columns', columns: [] }
      if (node['intoClause'] !== undefined) changes.push({ kind: 'catalogue' })
      break
    case 'InsertStmt':
    case 'UpdateStmt':
    case 'DeleteStmt':
    case 'MergeStmt':
      output = (node['returningList'] ?? node['returningClause']) ? { kind: 'columns', columns: [] } : { kind: 'none' }
      break
    case 'CopyStmt': {
      const toClient = node['is_from'] !== true && node['filename'] === undefined
      if (toClient)
        output = {
          kind: 'copy-out',
          columns: [],
          format: 'text',
          delimiter: '\t',
          nullText: '\\N',
          quote: '"',
          escape: '"',
          header: false,
          encoding: null,
        }
      break
    }
    case 'TransactionStmt':
      verb = word(node['kind']).replace('TRANS_STMT_', '').toLowerCase()
      break
    case 'VariableSetStmt':
      verb = 'set'
      if (!['application_name', 'extra_float_digits', 'client_min_messages'].includes(word(node['name'])))
        changes.push({ kind: 'resolution' })
      break
    case 'VariableShowStmt':
      verb = 'show'
      output = { kind: 'server' }
      break
    case 'ExplainStmt':
      output = { kind: 'server' }
      break
    case 'DiscardStmt':
      changes.push({ kind: 'discard' })
      break
    case 'PrepareStmt':
      changes.push({
        kind: 'prepare',
        name: word(node['name']),
        statement: inner(node['query'], text.replace(/^.*?\bas\b/is, '')),
      })
      break
    case 'ExecuteStmt':
      changes.push({ kind: 'execute', name: word(node['name']) })
      output = { kind: 'prepared', name: word(node['name']) }
      break
    case 'DeallocateStmt':
      changes.push({ kind: 'deallocate', name: node['name'] === undefined ? null : word(node['name']) })
      break
    case 'DeclareCursorStmt':
      verb = 'declare'
      changes.push({
        kind: 'declare',
        name: word(node['portalname']),
        statement: inner(node['query'], text.replace(/^.*?\bfor\b/is, '')),
      })
      break
    case 'ClosePortalStmt':
      verb = 'close'
      changes.push({ kind: 'close', name: node['portalname'] === undefined ? null : word(node['portalname']) })
      break
    case 'FetchStmt':
      output = { kind: 'cursor', name: word(node['portalname']) }
      break
    case 'ListenStmt':
    case 'NotifyStmt':
    case 'UnlistenStmt':
    case 'VacuumStmt':
    case 'CheckPointStmt':
    case 'LockStmt':
      break
    default:
      if (/Create|Alter|Drop|Rename|Grant|View|Index|Comment|Define|Refresh/.test(kind)) {
        changes.push({ kind: 'catalogue' })
        if (/Schema|Role|Drop|Create/.test(kind)) changes.push({ kind: 'resolution' })
      }
  }
  const effect: Effect = { verb, relation: null, columns: [], where: 'none', through: [] }
  return {
    text,
    verb,
    effects: [effect],
    functions: [],
    effect: kind === 'SelectStmt' ? 'read' : 'change',
    unknown: kind === 'DoStmt' || kind === 'CallStmt' ? 'a body' : null,
    output,
    changes,
    carries: [],
    compares: [],
    missing: [],
    transaction: kind === 'TransactionStmt',
    parameterCount: 0,
  }
}
