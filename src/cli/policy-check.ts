import { checkPolicy, showDefault, standings, type Standing } from '../policy/check.ts'
import { compileText } from '../policy/load.ts'
import { findPolicy, readPolicyFiles } from '../policy/policy-files.ts'
import { problemEvent, renderProblem, type Problem } from '../policy/problem.ts'
import type { Io } from './command.ts'
import { counted } from './counted.ts'
import { paintFor, wantsColour, type Paint } from './paint.ts'
import { loadProtocols } from './protocols.ts'
import { table, tabbed } from './table.ts'

interface CheckOptions {
  readonly path: string | undefined
  readonly json: boolean
}

/** Prints every problem, and what holds by default. Returns the exit code. */
export async function runCheck(options: CheckOptions, io: Io): Promise<number> {
  const found = findPolicy({ path: options.path, cwd: io.cwd, env: io.env })
  const files = readPolicyFiles(found, io.cwd)
  const compiled = await compileText(files, await loadProtocols())
  const problems = compiled.kind === 'wrong' ? compiled.problems : checkPolicy(compiled.policy)
  const holds = compiled.kind === 'wrong' ? [] : standings(compiled.policy)
  const errors = problems.filter(problem => problem.severity === 'error').length
  const warnings = problems.length - errors
  const exitCode = errors > 0 ? 2 : 0

  if (options.json) {
    const write = (event: object) => void io.stdout.write(`${JSON.stringify(event)}\n`)
    for (const problem of problems) write(problemEvent(problem))
    for (const standing of holds) write({ event: 'default', ...standing })
    write({ event: 'checked', path: files.path, digest: files.digest, errors, warnings })
    return exitCode
  }
  const paint = paintFor(wantsColour(io.stdout, io.env, io.argv))
  for (const problem of problems) io.stdout.write(`${paintProblem(problem, paint)}\n`)
  if (problems.length > 0) io.stdout.write(`${counted(errors, 'error')}, ${counted(warnings, 'warning')}\n`)
  else io.stdout.write(`${files.name} is fine: ${counted(holds.length, 'resource')}\n`)
  if (holds.length > 0) {
    if (io.stdout.isTTY) io.stdout.write('\nwhere no rule says anything:\n')
    io.stdout.write(showStandings(holds, io, paint))
  }
  return exitCode
}

function paintProblem(problem: Problem, paint: Paint): string {
  const text = renderProblem(problem)
  const word = `${problem.severity}:`
  const at = text.indexOf(word)
  const painted = problem.severity === 'error' ? paint.red(word) : paint.yellow(word)
  return text.slice(0, at) + painted + text.slice(at + word.length)
}

function showStandings(holds: readonly Standing[], io: Io, paint: Paint): string {
  const rows = holds.map(({ resource, kind, scopes, people, agents, agentScopes }) => [
    resource,
    kind,
    scopes.join(', '),
    showDefault(people),
    agentScopes?.length === 0 ? 'nothing' : showDefault(agents),
    agentScopes === null ? 'what access says' : agentScopes.join(', ') || 'none',
  ])
  const columns = ['RESOURCE', 'KIND', 'SCOPES', 'PEOPLE MAY', 'AGENTS MAY', 'AGENTS’ SCOPES'].map(title => ({ title }))
  return io.stdout.isTTY ? table(columns, rows, io.stdout.columns, paint) : tabbed(rows)
}
