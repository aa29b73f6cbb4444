import type { AuditEvent } from '../audit/audit-event.ts'
import { AgentgateError } from '../errors.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import { Paths } from '../config/paths.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { escapeLine } from './ui/escape.ts'
import { version } from './version.ts'

/** A command waits so long for its events to arrive; after that they wait in the outbox. */
const patienceMilliseconds = 2_000

/** Tells what a command did, where the policy here is trusted and says that somebody wants to know. */
export async function tellAudit(
  event: AuditEvent,
  globals: Pick<Globals, 'policy' | 'policyDigest'>,
  io: Io,
): Promise<void> {
  const loaded = await trustedPolicy(globals, io)
  const plan = loaded?.policy.audit ?? null
  if (loaded === undefined || plan === null) return
  const { AuditLog } = await import('../audit/audit-log.ts')
  const log = new AuditLog({
    root: new Paths(io.env).auditDir(),
    plan,
    folder: loaded.folder,
    env: io.env,
    version,
    onWarning: text => io.stderr.write(`warning: ${escapeLine(text)}\n`),
  })
  log.emit(event)
  log.commit()
  await log.close(patienceMilliseconds)
}

async function trustedPolicy(
  globals: Pick<Globals, 'policy' | 'policyDigest'>,
  io: Io,
): Promise<LoadedPolicy | undefined> {
  try {
    const [{ loadPolicy }, { loadProtocols }] = await Promise.all([
      import('../policy/load.ts'),
      import('./protocols.ts'),
    ])
    const loaded = await loadPolicy({
      path: globals.policy,
      digest: globals.policyDigest,
      cwd: io.cwd,
      env: io.env,
      kinds: await loadProtocols(),
    })
    loaded.requireTrusted()
    return loaded
  } catch (error) {
    // Nowhere to tell it: the command itself needs no policy.
    if (error instanceof AgentgateError) return undefined
    throw error
  }
}
