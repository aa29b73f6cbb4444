import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { AgentgateError } from '../errors.ts'
import { newGrantId } from '../ids.ts'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { loadProtocols } from './protocols.ts'
import { escapeLine } from './ui/escape.ts'

interface Finding {
  readonly state: 'ok' | 'warn' | 'fail'
  readonly text: string
  readonly hint?: string | undefined
}

export function configure(command: Command, io: Io): void {
  command.argument('[resources...]', 'which to look at; all where none is named').action(async (names: string[]) => {
    const globals = readGlobals(command, io)
    const findings = [...machine(), ...(await policyAndTargets(names, globals.policy, globals.policyDigest, io))]
    for (const finding of findings)
      io.stdout.write(globals.json ? `${JSON.stringify(finding)}\n` : `${lineOf(finding)}\n`)
    if (findings.some(finding => finding.state === 'fail')) io.exitCode = 1
  })
}

function lineOf({ state, text, hint }: Finding): string {
  return `${state.padEnd(4)}  ${escapeLine(text)}${hint === undefined ? '' : `       ${escapeLine(hint)}`}`
}

function machine(): Finding[] {
  const findings: Finding[] = [{ state: 'ok', text: `node ${process.versions.node}` }]
  const bwrap = spawnSync('bwrap', ['--unshare-pid', '--ro-bind', '/', '/', 'true'], { timeout: 5000 })
  findings.push(
    bwrap.status === 0
      ? { state: 'ok', text: 'confinement: bubblewrap works' }
      : {
          state: 'warn',
          text: 'confinement: bubblewrap is missing or does not work, so exec refuses',
          hint: 'apt-get install bubblewrap',
        },
  )
  const scope = ptraceScope()
  if (scope === '0')
    findings.push({
      state: 'warn',
      text: 'ptrace_scope 0: a process of yours can read another’s memory',
      hint: 'sysctl kernel.yama.ptrace_scope=1',
    })
  return findings
}

function ptraceScope(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'utf8').trim()
  } catch {
    return undefined // this kernel has no such setting
  }
}

async function policyAndTargets(
  names: readonly string[],
  path: string | undefined,
  digest: string | undefined,
  io: Io,
): Promise<Finding[]> {
  const [{ loadPolicy }, { openResource }, { HeldCredential }, { osUser }, { connectTo }] = await Promise.all([
    import('../policy/load.ts'),
    import('../credentials/open-resource.ts'),
    import('../credentials/held-credential.ts'),
    import('../identity/os-user.ts'),
    import('../tunnel/tunnel.ts'),
  ])
  const protocols = await loadProtocols()
  const findings: Finding[] = []
  try {
    const loaded = await loadPolicy({ path, digest, cwd: io.cwd, env: io.env, kinds: protocols })
    findings.push({ state: 'ok', text: `policy ${loaded.trust.kind} (${loaded.digest.slice(0, 15)}…)` })
    const resources =
      names.length > 0 ? names.map(name => loaded.policy.resource(name)) : [...loaded.policy.resources.values()]
    for (const resource of resources) {
      try {
        const [scope] = resource.scopes.keys()
        const protocol = protocols.get(resource.kind)
        if (scope === undefined || protocol === undefined) continue
        const { issuer, ...target } = await openResource(loaded, resource.name, scope, { env: io.env })
        // As a session would have it: what the issuer cannot do shows here.
        const held = await HeldCredential.mint(issuer, {
          grant: newGrantId(),
          subject: {
            principal: await osUser(),
            actor: null,
            confined: false,
            purpose: 'agentgate doctor',
            ticket: null,
          },
          scope: target.scope,
          ttlSeconds: 60,
        })
        try {
          const served = { ...target, credential: held.current }
          await protocol.prepare(served)
          const { label, warnings } = await protocol.probe(
            served,
            async () => await connectTo(target.name, target.address),
          )
          findings.push({ state: 'ok', text: `${resource.name}: reachable, ${label}` })
          for (const warning of warnings) findings.push({ state: 'warn', text: `${resource.name}: ${warning}` })
        } finally {
          const failed = await held.end()
          if (failed !== undefined) findings.push(failure(failed, `${resource.name}: `))
        }
      } catch (error) {
        findings.push(failure(error, `${resource.name}: `))
      }
    }
  } catch (error) {
    findings.push(failure(error, 'policy: '))
  }
  return findings
}

function failure(error: unknown, what: string): Finding {
  if (!(error instanceof AgentgateError)) throw error
  return { state: 'fail', text: `${what}${error.message}`, hint: error.hint }
}
