import os from 'node:os'
import type { AuditLog } from '../audit/audit-log.ts'
import { auditedRecorder } from '../audit/audited-recorder.ts'
import { tellRecovered } from '../audit/recovered.ts'
import path from 'node:path'
import { clientSecret, newSessionSecret } from '../config/client-secret.ts'
import type { Environment, Paths } from '../config/paths.ts'
import { portsOfOthers, rememberedPort, rememberPort } from '../config/ports.ts'
import { HeldCredential } from '../credentials/held-credential.ts'
import { openResource } from '../credentials/open-resource.ts'
import { AgentgateError } from '../errors.ts'
import { newGrantId, newSessionId, type GrantId, type ResourceName, type ScopeName } from '../ids.ts'
import { hashKey } from '../masking/hash-key.ts'
import { proofVerifier } from '../policy/approver-key.ts'
import type { LoadedPolicy } from '../policy/load.ts'
import { planForBroker } from '../policy/audit-settings.ts'
import type { Granted, Policy, PolicyKinds } from '../policy/policy.ts'
import { longestRetention } from '../policy/retention.ts'
import type { Subject } from '../policy/subject.ts'
import type { LocalCopies, SyncPlace } from '../policy/sync-place.ts'
import { watchPolicy } from '../policy/watch.ts'
import type { Protocol, ServedResource } from '../protocols/protocol.ts'
import { openRecorder, type Recorder, type RecorderEncryption, type RecorderOptions } from '../recording/recorder.ts'
import { recover } from '../recording/recover.ts'
import { newSessionKey } from '../recording/session-key.ts'
import type { Enforcer } from './enforcer.ts'
import { loadBrokerPolicy } from './broker-policy.ts'
import type { BrokerSession, Followed } from './broker-session.ts'
import { enforcerOf } from './policy-enforcer.ts'
import { SeenShapes } from './seen-shapes.ts'
import type { ListenerPlace } from './listener.ts'
import { Session, type SessionPlan, type TunnelPlan } from './session.ts'

export interface StartOptions {
  readonly command: 'connect' | 'exec'
  /** At least one. The first of a kind gives the child PGHOST and the like. */
  readonly resources: readonly { readonly name: string; readonly scope: string | undefined }[]
  readonly policy: LoadedPolicy
  readonly protocols: ReadonlyMap<string, Protocol>
  readonly subject: Subject
  readonly paths: Paths
  readonly env: Environment
  /** Shorter than the policy allows, where asked for. */
  readonly ttlSeconds: number | undefined
  /** `--port`: for the first resource; a port that is taken is then an error. */
  readonly port: number | undefined
  readonly listen: { readonly tcp: boolean; readonly unixSocket: boolean }
  /** Where listeners are opened; absent: on this machine's loopback. */
  readonly place?: ListenerPlace | undefined
  readonly staysAfterExpiry: boolean
  /** Told once it is open, with what it holds. */
  readonly onOpened?: ((session: Session, held: readonly HeldGrant[]) => void) | undefined
  /** What was run, without secrets, for the record. */
  readonly argv: readonly string[]
  readonly version: string
  /** Where the policy came from, to follow its changes. */
  /** Where a broker granted it: credentials and policy are the broker's, and so is the word on how long it lasts. */
  readonly broker?: BrokerSession | undefined
  readonly watch:
    { readonly path: string | undefined; readonly cwd: string; readonly digest: string | undefined } | undefined
}

export interface HeldGrant {
  readonly grant: GrantId
  readonly resource: ResourceName
  readonly scope: ScopeName
  readonly credential: HeldCredential
}

/**
 * Opens tunnels to resources for a subject, recorded, under a trusted policy whose changes take effect while it runs.
 * @throws AgentgateError for whatever is wrong; nothing is left behind.
 */
export async function startSession(options: StartOptions): Promise<Session> {
  const { policy, subject } = options
  policy.requireTrusted()
  if (options.resources.length === 0)
    throw new AgentgateError('USAGE', 'no resource was named', { hint: 'agentgate connect RESOURCE' })
  const grants = options.resources.map(({ name, scope }) => policy.policy.grant(subject, name, scope))
  const allowedSeconds = Math.min(...grants.map(grant => grant.ttlSeconds))
  const leaseSeconds = Math.min(allowedSeconds, options.ttlSeconds ?? allowedSeconds)
  const tunnels: PlannedTunnel[] = []
  try {
    for (const [index, grant] of grants.entries())
      tunnels.push(await planTunnel(options, grant, leaseSeconds, index === 0 ? options.port : undefined))
    const session = await openSession(options, grants, tunnels, leaseSeconds)
    options.onOpened?.(
      session,
      tunnels.map(({ grant, resource, credential }) => ({
        ...{ grant, credential, resource: resource.name, scope: resource.scope.name },
      })),
    )
    return session
  } catch (error) {
    // Where the session had begun, it has ended them itself, and this waits for the same end.
    await Promise.all(tunnels.map(async ({ credential }) => await credential.end()))
    await options.broker?.end('it could not be opened').catch(() => undefined)
    throw error
  }
}

async function openSession(
  options: StartOptions,
  grants: readonly Granted[],
  tunnels: readonly TunnelPlan[],
  leaseSeconds: number,
): Promise<Session> {
  const { policy, subject, paths } = options
  const id = options.broker?.id ?? newSessionId()
  const late: { session?: Session } = {}
  // What a crash left is sealed now; it never stands in the way of a new session.
  const recordings = paths.recordingsDir()
  const retainSeconds = longestRetention(grants.map(({ resource }) => resource.retainSeconds))
  const { keepResultBytes, keepSessionBytes, sync, local, durability, encryptTo, spoolBytes, fsync } =
    policy.policy.recording
  const encryption = await encryptionFor(id, encryptTo, paths)
  const audit = await openAudit(options, text => late.session?.notice('warning', text))
  void recover(recordings)
    .then(async found => {
      if (audit !== null) tellRecovered(audit, found)
      if (sync !== null) await syncLeft(recordings, options.env)
      await options.broker?.indexLate(recordings)
    })
    .catch(() => undefined)
  const recorderOptions: RecorderOptions = {
    folder: recordings,
    key: options.broker?.recording?.key ?? newSessionKey(),
    certificate: options.broker?.recording?.certificate,
    start: {
      kind: 'session-start',
      session: id,
      subject,
      resources: tunnels.map(({ resource }) => ({
        name: resource.name,
        kind: resource.kind,
        scope: resource.scope.name,
        address: resource.address,
      })),
      policyDigest: policy.digest,
      placement: 'local',
      command: options.argv,
      host: os.hostname(),
      version: options.version,
      retainSeconds,
    },
    limits: { keepResultBytes, keepSessionBytes, spoolBytes, fsync },
    encryption,
    onWarning: text => late.session?.notice('warning', text),
  }
  const open = (wanted: RecorderOptions) => {
    const recorder = openRecorder(wanted)
    return options.broker?.watch(recorder, encryption === undefined, wanted.onWarning) ?? recorder
  }
  // Locked as long as it is kept, which a resource may say for itself.
  const place = sync === null || retainSeconds === null ? sync : { ...sync, retainSeconds }
  const plan = place === null ? null : { place, local, durability }
  const recorder = await openRecording(recorderOptions, options.env, plan, open, audit)
  const session = await Session.start({
    id,
    command: options.command,
    subject,
    policy: { path: policy.path, digest: policy.digest },
    tunnels,
    leaseSeconds,
    renewLease: options.broker === undefined ? undefined : async () => (await options.broker?.extend()) ?? leaseSeconds,
    remoteApprovals: options.broker?.approvals,
    runtimeFolder: paths.runtimeDir(id),
    recordingFolder: recorder.path,
    recorder,
    verifyProof: pinnedVerifier(paths),
    staysAfterExpiry: options.staysAfterExpiry,
    place: options.place ?? null,
    onPort: (resource, port) => {
      const grant = grants.find(each => each.resource.name === resource)
      if (grant !== undefined && options.command === 'connect')
        rememberPort(paths, policy.path, grant.resource.name, port)
    },
  })
  late.session = session
  follow(options, session, grants)
  followBroker(options, session, grants)
  return session
}

/** @throws AgentgateError POLICY_INVALID: one of the recipients is none */
async function encryptionFor(
  session: string,
  recipients: readonly string[],
  paths: Paths,
): Promise<RecorderEncryption | undefined> {
  if (recipients.length === 0) return undefined
  const { newContentKey } = await import('../recording/encryption/content-key.ts')
  try {
    const { key, wrapped } = await newContentKey(session, recipients)
    return { key, wrapped, liveKeyFile: path.join(paths.runtimeRoot(), `${session}.key`) }
  } catch (cause) {
    throw new AgentgateError('POLICY_INVALID', 'recording.encrypt-to has a recipient that age does not know', {
      hint: 'recipients come from age-keygen: age1…',
      cause,
    })
  }
}

interface SyncPlan {
  readonly place: SyncPlace
  readonly local: LocalCopies
  readonly durability: 'local' | 'bucket'
}

async function recordAndSync(
  recorderOptions: RecorderOptions,
  { place, local, durability }: SyncPlan,
  env: Environment,
  open: (options: RecorderOptions) => Recorder,
): Promise<Recorder> {
  const { openSyncedRecorder } = await import('../recording/sync/synced-recorder.ts')
  return await openSyncedRecorder(recorderOptions, place, env, open, { local, durability })
}

async function openRecording(
  recorderOptions: RecorderOptions,
  env: Environment,
  sync: SyncPlan | null,
  open: (options: RecorderOptions) => Recorder,
  audit: AuditLog | null,
): Promise<Recorder> {
  try {
    const recorder = await (sync === null ? open(recorderOptions) : recordAndSync(recorderOptions, sync, env, open))
    return audit === null ? recorder : auditedRecorder(recorder, recorderOptions.start, audit)
  } catch (error) {
    await audit?.close(0)
    throw error
  }
}

async function openAudit(options: StartOptions, onWarning: (text: string) => void): Promise<AuditLog | null> {
  const { policy, paths, env, version } = options
  const plan = policy.policy.audit
  if (plan === null) return null
  const { AuditLog } = await import('../audit/audit-log.ts')
  const at = { root: paths.auditDir(), env, version, onWarning }
  const toBroker = options.broker?.auditSink
  if (toBroker === undefined) return new AuditLog({ ...at, plan, folder: policy.folder })
  const { settings, sink } = toBroker
  // One outbox for all sessions that this broker granted, whatever its policy says of the places.
  return new AuditLog({ ...at, plan: planForBroker(plan, settings), folder: '', open: () => sink })
}

/** What earlier sessions could not upload, once each (`sessions sync` says why not); then what need not stay here goes. */
async function syncLeft(recordings: string, env: Environment): Promise<void> {
  const { syncAll } = await import('../recording/sync/sync-all.ts')
  for await (const _ of syncAll(recordings, env));
  const { removeLocalCopies } = await import('../recording/sync/local-copies.ts')
  for await (const _ of removeLocalCopies(recordings, env, Date.now()));
}

/** A passphrase set later counts from then on; the key first seen stays, whoever writes another into its file. */
function pinnedVerifier(paths: Paths): SessionPlan['verifyProof'] {
  let verifier = proofVerifier(paths)
  return () => (verifier ??= proofVerifier(paths))
}

type PlannedTunnel = TunnelPlan & { readonly grant: GrantId }

async function planTunnel(
  options: StartOptions,
  grant: Granted,
  leaseSeconds: number,
  askedPort: number | undefined,
): Promise<PlannedTunnel> {
  const { policy, subject, paths, protocols } = options
  const { name, kind } = grant.resource
  const protocol = protocols.get(kind)
  if (protocol === undefined) throw new AgentgateError('POLICY_INVALID', `${name}: this version does not speak ${kind}`)
  const opened =
    options.broker?.resource(name) ?? (await openResource(policy, name, grant.scope.name, { env: options.env }))
  const { issuer, ...target } = opened
  const fixed = askedPort ?? grant.resource.port ?? undefined
  const enforcer = enforcerOf(policy.policy, subject, name, grant.scope.name)
  const secret = options.command === 'exec' ? newSessionSecret() : clientSecret(paths, policy.path, name)
  const maskKey = hashKey(paths)
  // Last, as from here on there is something to end.
  const id = newGrantId()
  const credential = await HeldCredential.mint(issuer, {
    grant: id,
    subject,
    scope: target.scope,
    ttlSeconds: leaseSeconds,
  })
  const resource: ServedResource = {
    ...target,
    maskKey,
    get credential() {
      return credential.current
    },
  }
  return {
    grant: id,
    protocol,
    resource,
    credential,
    enforcer,
    clientSecret: secret,
    maxConnections: grant.resource.limits.connections,
    shapes: SeenShapes.of(paths, name, target.address),
    port: options.listen.tcp
      ? { wanted: fixed ?? freePortFrom(options, name, protocol), fixed: fixed !== undefined }
      : null,
    unixSocket: options.listen.unixSocket,
  }
}

/** The port this resource had last time, else one near the kind's own that no other resource is remembered with. */
function freePortFrom(options: StartOptions, name: ResourceName, protocol: Protocol): number {
  const { paths, policy } = options
  const remembered = rememberedPort(paths, policy.path, name)
  if (remembered !== undefined) return remembered
  const others = portsOfOthers(paths, policy.path, name)
  let port = protocol.defaultPort < 10_000 ? protocol.defaultPort + 10_000 : protocol.defaultPort
  while (others.has(port)) port += 1
  return port
}

/** Applies a changed policy to a live session, as soon as it counts. */
function follow(options: StartOptions, session: Session, grants: readonly Granted[]): void {
  if (options.watch === undefined) return
  const ended = new AbortController()
  void session.finished.then(() => ended.abort())
  const kinds: PolicyKinds = options.protocols
  watchPolicy(options.policy, {
    ...options.watch,
    env: options.env,
    kinds,
    signal: ended.signal,
    onChange: loaded => {
      session.replacePolicy(loaded.digest, enforcersOf(loaded.policy, options.subject, grants))
      session.notice('info', `policy changed: ${loaded.digest.slice(0, 19)}… is in effect`)
    },
    onNotice: text => session.notice('warning', text),
  })
}

/** The broker's word on a session that it granted. */
function followBroker(options: StartOptions, session: Session, grants: readonly Granted[]): void {
  const { broker, policy, env, protocols } = options
  if (broker === undefined) return
  const followed: Followed = {
    finished: session.finished,
    hold: why => session.hold(why),
    sync: seconds => session.syncLease(seconds),
    answer: async (id, answer, by, reason) => await session.answerFromBroker(id, answer, by, reason),
    check: async (id, text) => await session.preview(id, text),
    revoke: async reason => await session.revoke(reason),
    replacePolicy: async content => {
      try {
        const loaded = await loadBrokerPolicy(content, policy.folder, env, protocols)
        session.replacePolicy(loaded.digest, enforcersOf(loaded.policy, options.subject, grants))
        session.notice('info', `the broker’s policy changed: ${loaded.digest.slice(0, 19)}… is in effect`)
      } catch (error) {
        if (!(error instanceof AgentgateError)) throw error
        // What cannot be enforced here must not be gone around.
        await session.revoke(`the broker’s new policy cannot be used here: ${error.message}`)
      }
    },
  }
  void broker.follow(followed)
}

function enforcersOf(policy: Policy, subject: Subject, grants: readonly Granted[]): ReadonlyMap<string, Enforcer> {
  const enforcers = new Map<string, Enforcer>()
  for (const { resource, scope } of grants)
    if (mayStill(policy, subject, resource.name, scope.name))
      enforcers.set(resource.name, enforcerOf(policy, subject, resource.name, scope.name))
  return enforcers
}

function mayStill(policy: Policy, subject: Subject, resource: ResourceName, scope: ScopeName): boolean {
  try {
    policy.grant(subject, resource, scope)
    return true
  } catch (error) {
    if (error instanceof AgentgateError) return false // no longer there, or no longer theirs: the session loses it
    throw error
  }
}
