/** What was run, for the record; of a child only its name, as its arguments may hold what is secret. */
export function recordedArgv(argv: readonly string[]): string[] {
  const end = argv.indexOf('--')
  const own = ['agentgate', ...(end === -1 ? argv : argv.slice(0, end))]
  const program = end === -1 ? undefined : argv[end + 1]
  return program === undefined ? own : [...own, '--', program, ...(argv.length > end + 2 ? ['…'] : [])]
}
