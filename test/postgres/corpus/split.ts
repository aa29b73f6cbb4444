/** The statements of a psql script, without psql's own commands and without what they stand in for. */
export function splitScript(script: string): readonly string[] {
  const statements: string[] = []
  let text = ''
  let depth = 0
  let atomic = 0
  const end = () => {
    const statement = text.trim()
    if (statement !== '') statements.push(statement)
    text = ''
    depth = 0
    atomic = 0
  }
  // A backslash command takes the line; the data of an inline COPY stands between it and `\.`.
  const lines = script.split('\n')
  let skipping = false
  const kept: string[] = []
  for (const line of lines) {
    if (skipping) {
      if (line === '\\.') skipping = false
      continue
    }
    if (/^\s*copy\b.*\bfrom\s+stdin\b.*;\s*$/i.test(line)) skipping = true
    const command = line.search(/(?<![\\'"\w])\\(?!\.)[a-zA-Z;!?]/)
    if (command >= 0 && !/['$]/.test(line.slice(0, command)))
      kept.push(`${line.slice(0, command)}${/\\(g|gset|gexec|crosstabview|bind)/.test(line) ? ';' : ''}`)
    else kept.push(line)
  }
  const source = kept.join('\n')
  const token =
    /--[^\n]*|\/\*|"(?:[^"]|"")*"|\b[eE]'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|\$([A-Za-z_][A-Za-z0-9_]*)?\$|[()]|;|\bbegin\s+atomic\b|\bcase\b|\bend\b|[\s\S]/gi
  for (let match = token.exec(source); match !== null; match = token.exec(source)) {
    const [piece] = match
    const word = piece.toLowerCase()
    if (piece === '/*') {
      let nested = 1
      let at = token.lastIndex
      for (; at < source.length && nested > 0; at++) {
        if (source.startsWith('/*', at)) nested += 1
        else if (source.startsWith('*/', at)) nested -= 1
        else continue
        at += 1
      }
      text += source.slice(match.index, at)
      token.lastIndex = at
      continue
    }
    if (/^\$.*\$$/s.test(piece) && piece.length > 1) {
      const close = source.indexOf(piece, token.lastIndex)
      const at = close < 0 ? source.length : close + piece.length
      text += source.slice(match.index, at)
      token.lastIndex = at
      continue
    }
    if (piece === '(') depth += 1
    if (piece === ')') depth -= 1
    if (word.startsWith('begin') && word.length > 5) atomic += 1
    else if (atomic > 0 && word === 'case') atomic += 1
    else if (atomic > 0 && word === 'end') atomic -= 1
    if (piece === ';' && depth <= 0 && atomic === 0) end()
    else text += piece
  }
  end()
  return statements
}
