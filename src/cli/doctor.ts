import type { Command } from 'commander'
import type { Io } from './command.ts'
import type { Finding } from './doctor-finding.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import { escapeLine } from './ui/escape.ts'

/** Columns for what was found, before what to do about it. */
const textWidth = 78

export function configure(command: Command, io: Io): void {
  command.argument('[resources...]', 'which to look at; all where none is named').action(async (names: string[]) => {
    const [{ machineFindings }, { brokerFindings }, { policyFindings }] = await Promise.all([
      import('./doctor-machine.ts'),
      import('./doctor-broker.ts'),
      import('./doctor-policy.ts'),
    ])
    const globals = readGlobals(command, io)
    let exitCode = 0
    // Each is shown once it is known: a target that does not answer takes its time.
    const tell = (finding: Finding) => {
      io.stdout.write(globals.json ? `${JSON.stringify({ event: 'check', ...finding })}\n` : `${lineOf(finding)}\n`)
      if (finding.state === 'fail' && exitCode === 0) exitCode = finding.exitCode ?? 2
    }
    for await (const finding of machineFindings(io.env)) tell(finding)
    let broker = false
    for await (const finding of brokerFindings(globals, io)) {
      broker = true
      tell(finding)
    }
    for await (const finding of policyFindings(names, globals, io))
      // A machine that goes to a broker needs none of its own.
      if (!broker || finding.code !== 'NO_POLICY') tell(finding)
    io.exitCode = exitCode
  })
  examples(command, [
    ['agentgate doctor', 'this machine, its broker, the policy here, and every target in it'],
    ['agentgate doctor db-prod', 'the same, of the targets only db-prod'],
    ['agentgate doctor --json', 'one finding a line'],
  ])
  exitCodes(command, [
    [0, 'nothing fails; there may be warnings'],
    ['2, 3, 4, 6', 'of the first that fails: set-up or policy, login, trust, a target'],
  ])
}

function lineOf({ state, text, hint }: Finding): string {
  const found = `${state.padEnd(4)}  ${escapeLine(text)}`
  if (hint === undefined) return found
  // What to do stands behind, as in a table, where that leaves both readable.
  return found.length <= textWidth
    ? `${found.padEnd(textWidth)}  ${escapeLine(hint)}`
    : `${found}\n      ${escapeLine(hint)}`
}
