import type { AuditEvent } from '../audit/audit-event.ts'
import type { SendToBroker } from '../audit/sinks/broker.ts'
import type { AuditPlan } from '../policy/audit-settings.ts'
import type { BrokerAddress } from '../control/broker-address.ts'
import { AgentgateError } from '../errors.ts'
import { Paths } from '../config/paths.ts'
import { brokerHere } from './broker-client.ts'
import type { Io } from './command.ts'
import type { Globals } from './globals.ts'
import { trustedPolicyHere } from './policy-here.ts'
import { escapeLine } from './ui/escape.ts'
import { version } from './version.ts'

/** A command waits so long for its events to arrive; after that they wait in the outbox. */
const patienceMilliseconds = 2_000

type Asked = Pick<Globals, 'policy' | 'policyDigest'>

/** Tells what a command did, where the policy here is trusted and says that somebody wants to know. */
export async function tellAudit(event: AuditEvent, globals: Asked, io: Io): Promise<void> {
  const loaded = await trustedPolicy(globals, io)
  const plan = loaded?.policy.audit ?? null
  if (loaded !== undefined && plan !== null) await deliver([event], plan, loaded.folder, undefined, io)
}

/** Tells of recordings: the broker, where one is named here, which knows who wants to know; else as `tellAudit`. */
export async function tellOfRecordings(events: readonly AuditEvent[], globals: Asked, io: Io): Promise<void> {
  if (events.length === 0) return
  const at = brokerHere(io, globals)
  if (at !== undefined) {
    await tellBroker(events, at, undefined, io)
    return
  }
  const loaded = await trustedPolicy(globals, io)
  const plan = loaded?.policy.audit ?? null
  if (loaded !== undefined && plan !== null) await deliver(events, plan, loaded.folder, undefined, io)
}

/** @param send as whom; else as who is logged in here */
export async function tellBroker(
  events: readonly AuditEvent[],
  at: BrokerAddress,
  send: SendToBroker | undefined,
  io: Io,
): Promise<void> {
  const { brokerPlan } = await import('../policy/audit-settings.ts')
  await deliver(events, brokerPlan({ name: 'broker', broker: at.address, ca: at.ca }), '', send, io)
}

async function deliver(
  events: readonly AuditEvent[],
  plan: AuditPlan,
  folder: string,
  send: SendToBroker | undefined,
  io: Io,
): Promise<void> {
  const [{ AuditLog }, { brokerSink }] = await Promise.all([
    import('../audit/audit-log.ts'),
    import('../audit/sinks/broker.ts'),
  ])
  const log = new AuditLog({
    root: new Paths(io.env).auditDir(),
    plan,
    folder,
    env: io.env,
    version,
    open: sink => (send === undefined || !('broker' in sink) ? undefined : brokerSink(sink.broker, send)),
    onWarning: text => io.stderr.write(`warning: ${escapeLine(text)}\n`),
  })
  for (const event of events) log.emit(event)
  log.commit()
  await log.close(patienceMilliseconds)
}

async function trustedPolicy(globals: Asked, io: Io) {
  try {
    return await trustedPolicyHere(globals, io)
  } catch (error) {
    // Nowhere to tell it: the command itself needs no policy.
    if (error instanceof AgentgateError) return undefined
    throw error
  }
}
