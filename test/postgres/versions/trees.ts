/** Parts of a tree that say where something stands in the text, or how PostgreSQL prints it back. */
const places =
  /location$|^(stmt_len|list_start|list_end|rexpr_list_start|rexpr_list_end|version|funcformat|jumble_args|is_enforced)$/
/** Whatever these are, the statement is the same: they were named or counted anew, or their default is written down. */
const renamed =
  /^(relkind|objtype|mode|strategy|options|objfuncargs|matched|matchKind|opt|admin_opt|grantor|params|concurrent|pubobjects|tables|tableAction|action|for_all_tables|generated_kind|initially_valid|skip_validation|isall|stxstattarget|kind|roleSpec)$/

/** A parse tree of any version as far as it says what is read: to be compared with that of another. */
export function meaning(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(meaning)
  if (typeof value !== 'object' || value === null) return value
  const node = value as Record<string, Record<string, unknown> | undefined>
  if (node['A_Const'] !== undefined) return constant(node['A_Const'])
  const { String: string, Integer: integer, Float: float, Boolean: boolean, TypeCast: cast, StatsElem: element } = node
  if (string !== undefined) return { text: string['str'] ?? string['sval'] ?? '' }
  if (integer !== undefined) return { text: String(integer['ival'] ?? 0) }
  if (float !== undefined) return { text: float['str'] ?? float['fval'] }
  if (boolean !== undefined) return { text: boolean['boolval'] === true ? '1' : '0' }
  if (element !== undefined)
    return element['name'] === undefined
      ? meaning(element['expr'])
      : { ColumnRef: { fields: [{ text: element['name'] }] } }
  // Up to 14, TRUE is the text of a boolean.
  if (cast !== undefined && JSON.stringify(cast['typeName']).includes('"bool"')) {
    const inner = meaning(cast['arg'])
    if (inner === 'text t') return 'true'
    if (inner === 'text f') return 'false'
  }
  // Its new attributes stand in a node of another name.
  if (node['subtype'] === ('AT_AlterConstraint' as unknown)) return { alter: 'constraint' }
  const kept: Record<string, unknown> = {}
  for (const key of Object.keys(node).sort()) {
    if (places.test(key) || renamed.test(key)) continue
    const part = meaning(node[key])
    if (part === '' || part === false || part === 0) continue
    if (key === 'returningClause') kept['returningList'] = (part as { exprs?: unknown }).exprs
    else kept[key] = key === 'names' || key === 'funcname' ? bare(part) : part
  }
  return kept
}

function constant(node: Record<string, unknown>): string {
  const value = (node['val'] ?? node) as Record<string, Record<string, unknown> | undefined>
  const of = (...names: readonly string[]) => names.map(name => value[name]).find(found => found !== undefined)
  if (node['isnull'] === true || value['Null'] !== undefined) return 'null'
  const number = of('Integer', 'ival')
  if (number !== undefined) return `number ${String(number['ival'] ?? 0)}`
  const float = of('Float', 'fval')
  if (float !== undefined) return `number ${String(float['str'] ?? float['fval'])}`
  const bits = of('BitString', 'bsval')
  if (bits !== undefined) return `bits ${String(bits['str'] ?? bits['bsval'])}`
  const truth = value['boolval']
  if (truth !== undefined) return truth['boolval'] === true ? 'true' : 'false'
  const text = of('String', 'sval')
  const shown = String(text?.['str'] ?? text?.['sval'] ?? '')
  // The form of NORMALIZE is a keyword, printed in another case.
  return `text ${/^nfk?[cd]$/i.test(shown) ? shown.toUpperCase() : shown}`
}

/**
 * Names that the grammar looks up in pg_catalog in one version and by the search path in another; agentgate reads either as
 * whatever bears the name. EXTRACT has a function of its own since 14, and both are PostgreSQL's.
 */
const either = new Set(['json', 'substring', 'extract', 'date_part'])

function bare(names: unknown): unknown {
  const texts = (names as { text?: unknown }[]).map(({ text }) => text)
  const [schema, name] = texts
  if (texts.length === 2 && schema === 'pg_catalog' && either.has(String(name)))
    return name === 'date_part' ? 'extract' : name
  return texts.length === 1 && either.has(String(schema)) ? schema : names
}
