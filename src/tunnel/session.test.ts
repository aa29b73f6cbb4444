import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Duplex } from 'node:stream'
import { afterEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { newFolder } from '../../test/support/folder.ts'
import { connectControl, listSessions } from '../control/client.ts'
import type { Credential } from '../credentials/credential.ts'
import { HeldCredential } from '../credentials/held-credential.ts'
import { unchanging } from '../credentials/static.ts'
import { AgentgateError } from '../errors.ts'
import { asPolicyDigest, asResourceName, asScopeName, newGrantId, newSessionId } from '../ids.ts'
import type { Action, Verdict } from '../policy/action.ts'
import type { Subject } from '../policy/subject.ts'
import type { Context, Protocol } from '../protocols/protocol.ts'
import type { RecordedEvent } from '../recording/event.ts'
import { Secret } from '../secret.ts'
import type { Clock } from './clock.ts'
import type { Enforcer } from './enforcer.ts'
import type { Recorder } from './recorder.ts'
import { Session, type SessionPlan } from './session.ts'

// A protocol of lines: each line is an action; what is allowed goes to the target, whose line comes back.
interface LineAction extends Action {
  readonly text: string
}
const isLine = (action: Action): action is LineAction => action.kind === 'lines'
const textOf = (action: Action) => (isLine(action) ? action.text : '')
const shapes = new Map<string, object>() // one a text, as a protocol keeps them
const parse = (text: string): LineAction => {
  const shape = shapes.get(text) ?? {}
  shapes.set(text, shape)
  return { kind: 'lines', shape, text }
}

const lines: Protocol = {
  kind: 'lines',
  label: 'lines',
  defaultPort: 7,
  socketName: 'lines',
  resourceSchema: z.object({}),
  scopeSchema: z.unknown(),
  whenSchema: z.object({}),
  matches: () => false,
  varies: () => false,
  view: action => ({
    kind: 'lines',
    summary: textOf(action),
    text: textOf(action),
    effect: 'change',
    verbs: [],
    reads: [],
    writes: [],
    attributes: {},
  }),
  parse: text => Promise.resolve(parse(text)),
  ask: action => ({ effects: [], shapeKey: null, askKey: textOf(action), editable: true }),
  decoder: () => ({ push: () => [], end: () => [] }),
  prepare: () => Promise.resolve(),
  probe: async (_, upstream) => {
    ;(await upstream()).destroy()
    return { label: 'a line server', warnings: [] }
  },
  endpoint: ({ host, port, unixSocket }) => ({
    address: unixSocket ?? `${host}:${port ?? 0}`,
    url: `lines://${host}:${port ?? 0}`,
    shown: `lines://${host}`,
    env: { LINES_PORT: String(port) },
    files: {},
    use: 'nc',
  }),
  accept: serveLines,
}

async function serveLines(client: Duplex, context: Context): Promise<void> {
  const upstream = await context.upstream()
  const gone = new AbortController()
  client.on('end', () => gone.abort()) // half-closed connections stay half-closed: this is how a client leaves
  client.on('close', () => gone.abort())
  const goodbye = () => {
    client.end(`ended: ${context.signal.reason instanceof AgentgateError ? context.signal.reason.message : '?'}\n`)
    upstream.destroy()
  }
  if (context.signal.aborted) {
    goodbye()
    return
  }
  context.signal.addEventListener('abort', goodbye, { once: true })
  const answers = createInterface({ input: upstream })[Symbol.asyncIterator]()
  for await (const text of createInterface({ input: client })) {
    const decision = await context.decide(parse(text), {
      connection: context.connection,
      holdsLocks: () => false,
      onHold: held => {
        client.write(`waiting for ${held.approvers}\n`)
        return gone.signal
      },
      revise: (action, edited) => Promise.resolve(edited === undefined ? action : parse(edited)),
    })
    try {
      context.commit()
    } catch (error) {
      client.write(`refused: ${error instanceof Error ? error.message : ''}\n`)
      continue
    }
    if (decision.kind === 'deny') {
      client.write(`refused: ${decision.message}\n`)
      continue
    }
    upstream.write(`${decision.action.text}\n`)
    if (decision.action.text === 'hang') continue
    const answer = await answers.next()
    client.write(`${String(answer.value)}\n`)
    void context.record({
      kind: 'outcome',
      connection: context.connection,
      action: decision.event,
      status: 'ok',
      tag: '',
      rows: null,
      milliseconds: 0,
      masked: [],
    })
  }
  upstream.destroy()
}

function enforcer(verdict: (text: string) => Verdict['kind']): Enforcer {
  const rule = { name: 'the rule', place: 'agentgate.yaml:1' }
  const approvers = { groups: [], count: 1, notSelf: false, withinSeconds: 60 }
  return {
    masks: [],
    needsClient: false,
    asks: () => false,
    rules: { deny: 1, approve: 1, masks: 0 },
    decide: action => {
      const kind = verdict(textOf(action))
      if (kind === 'deny') return { kind, rule, message: 'not here', hint: undefined, stable: true }
      return kind === 'allow'
        ? { kind, rule: null, masks: [], stable: true }
        : { kind, rule, approvers, masks: [], stable: true }
    },
  }
}

const standard = enforcer(text => (text.startsWith('drop') ? 'deny' : text.startsWith('pay') ? 'approve' : 'allow'))

class MemoryRecorder implements Recorder {
  readonly events: RecordedEvent[] = []
  full = false
  closed = ''
  append = (event: RecordedEvent) => this.events.push(event)
  commit(): void {
    if (this.full) throw new AgentgateError('RECORDING_FAILED', 'the disk is full')
  }
  result = (event: RecordedEvent) => void this.events.push(event)
  close = (reason: string) => {
    this.closed = reason
    return Promise.resolve()
  }
}

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function lineServer(): Promise<{ address: string; got: string[] }> {
  const got: string[] = []
  const server = net.createServer(socket => {
    socket.on('error', () => undefined)
    createInterface({ input: socket }).on('line', line => {
      got.push(line)
      if (line !== 'hang') socket.write(`echo ${line}\n`)
    })
  })
  server.listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  cleanups.push(() => server.close())
  return { address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`, got }
}

const subject: Subject = {
  principal: { name: 'maria', groups: [], source: 'os-user' },
  actor: null,
  confined: false,
  purpose: null,
  ticket: null,
}
const credential: Credential = { issuer: 'static', user: null, secret: null, certificate: null, expiresAt: null }

async function start(
  changes: Partial<SessionPlan> & {
    rules?: Enforcer
    address?: string
    maxConnections?: number
    protocol?: Protocol
  } = {},
) {
  const server = await lineServer()
  const runtime = newFolder('tunnel')
  const recorder = new MemoryRecorder()
  const id = newSessionId()
  cleanups.push(() => rmSync(runtime, { recursive: true, force: true }))
  const session = await Session.start({
    id,
    command: 'connect',
    subject,
    policy: { path: 'agentgate.yaml', digest: asPolicyDigest(`sha256:${'0'.repeat(64)}`)! },
    tunnels: [
      {
        protocol: changes.protocol ?? lines,
        credential: await HeldCredential.mint(unchanging(credential), {
          grant: newGrantId(),
          subject,
          scope: { name: 'read', settings: {} },
          ttlSeconds: 3600,
        }),
        resource: {
          name: asResourceName('lines-prod')!,
          kind: 'lines',
          address: changes.address ?? server.address,
          tls: { mode: 'off', name: undefined, ca: undefined },
          settings: {},
          scope: { name: asScopeName('read')!, settings: {} },
          credential,
        },
        enforcer: changes.rules ?? standard,
        clientSecret: new Secret('s'),
        maxConnections: changes.maxConnections ?? null,
        port: { wanted: 24_000, fixed: false },
        unixSocket: false,
      },
    ],
    leaseSeconds: 3600,
    runtimeFolder: path.join(runtime, id),
    recordingFolder: '/recordings/x',
    recorder,
    verifyProof: () => null,
    staysAfterExpiry: false,
    place: null,
    onPort: () => undefined,
    ...changes,
  })
  cleanups.push(() => session.close('test over'))
  return { session, recorder, server, runtime }
}

async function client(session: Session) {
  const socket = net.connect(Number(session.ready.tunnels[0]!.env['LINES_PORT']), '127.0.0.1')
  socket.on('error', () => undefined)
  const answers = createInterface({ input: socket })[Symbol.asyncIterator]()
  cleanups.push(() => socket.destroy())
  const next = async (): Promise<string> => String((await answers.next()).value)
  return {
    socket,
    next,
    ask: async (text: string) => {
      socket.write(`${text}\n`)
      return await next()
    },
  }
}

describe('decisions', () => {
  test('what is allowed reaches the target, what is refused does not, and the connection lives', async () => {
    const { session, server, recorder } = await start()
    const { ask } = await client(session)
    expect(await ask('hello')).toBe('echo hello')
    expect(await ask('drop all')).toBe('refused: not here')
    expect(await ask('again')).toBe('echo again')
    expect(server.got).toEqual(['hello', 'again'])
    expect(recorder.events.filter(event => event.kind === 'action').map(event => event.decision.outcome)).toEqual([
      'allowed',
      'denied',
      'allowed',
    ])
    expect(await session.status()).toMatchObject({ statements: 3, denied: 1, connections: 1 })
  })

  test('an action that cannot be recorded is not forwarded, and later ones are once it can', async () => {
    const { session, server, recorder } = await start()
    const { ask } = await client(session)
    recorder.full = true
    expect(await ask('hello')).toBe('refused: the disk is full')
    expect(server.got).toEqual([])
    recorder.full = false
    expect(await ask('hello')).toBe('echo hello')
  })

  test('no more connections at once than the policy has room for; one that closes makes room', async () => {
    const { session, recorder } = await start({ maxConnections: 1 })
    const first = await client(session)
    expect(await first.ask('hello')).toBe('echo hello')
    const second = await client(session)
    await once(second.socket, 'close')
    expect(recorder.events.findLast(event => event.kind === 'connection-end')).toMatchObject({
      reason: 'lines-prod takes 1 connection at once (limits.connections)',
    })
    expect(await first.ask('still there')).toBe('echo still there')
    first.socket.destroy()
    while ((await session.status()).connections > 0) await sleep(5)
    expect(await (await client(session)).ask('again')).toBe('echo again')
  })

  test('a protocol that finds its targets itself has no more places either, and one that closes makes room', async () => {
    const accept = async (client: Duplex, context: Context) => {
      client.on('end', () => client.end())
      for await (const text of createInterface({ input: client })) {
        const asker = { connection: context.connection, holdsLocks: () => false, onHold: () => AbortSignal.abort() }
        const revise = (action: LineAction) => Promise.resolve(action)
        const decision = await context.decide(parse(text), { ...asker, revise })
        context.commit()
        client.write(`${decision.kind === 'allow' ? 'yes' : decision.message}\n`)
      }
    }
    const { session } = await start({ maxConnections: 1, protocol: { ...lines, accept } })
    const [idle, first, second] = [await client(session), await client(session), await client(session)]
    expect(await first.ask('hello')).toBe('yes')
    expect(await second.ask('hello')).toBe('lines-prod takes 1 connection at once (limits.connections)')
    expect(await first.ask('again')).toBe('yes')
    first.socket.destroy()
    while ((await session.status()).connections > 2) await sleep(5)
    expect(await second.ask('and now')).toBe('yes')
    idle.socket.destroy()
  })

  test('a held action waits, and runs as the approver edited it', async () => {
    const { session, server, recorder } = await start()
    const { ask, next } = await client(session)
    expect(await ask('pay 100')).toBe('waiting for maria')
    const [request] = await session.approvals()
    expect(await session.answer(request!.id, { outcome: 'edit', text: 'drop all' })).toMatchObject({
      kind: 'refused',
      message: 'not here',
    })
    expect(await session.answer(request!.id, { outcome: 'edit', text: 'pay 1', reason: 'too much' })).toMatchObject({
      outcome: 'edited',
    })
    expect(await next()).toBe('echo pay 1')
    expect(server.got).toEqual(['pay 1'])
    const [held, approved] = recorder.events.filter(event => event.kind === 'action')
    expect(held).toMatchObject({ decision: { outcome: 'held', request: request!.id } })
    expect(approved).toMatchObject({
      view: { text: 'pay 1' },
      decision: { outcome: 'approved', asked: 'pay 100', approval: { by: 'maria', edited: true } },
    })
  })

  test('a client that goes away withdraws its request', async () => {
    const { session, recorder } = await start()
    const { ask, socket } = await client(session)
    await ask('pay 100')
    socket.destroy()
    await expect
      .poll(() => recorder.events.some(event => event.kind === 'action' && event.decision.outcome === 'withdrawn'))
      .toBe(true)
    expect(await session.approvals()).toEqual([])
  })

  test('a policy that changes while an action waits decides again on release', async () => {
    const { session, server } = await start()
    const { ask, next } = await client(session)
    await ask('pay 100')
    session.replacePolicy(
      asPolicyDigest(`sha256:${'1'.repeat(64)}`)!,
      new Map([['lines-prod', enforcer(() => 'deny')]]),
    )
    const [request] = await session.approvals()
    await session.answer(request!.id, { outcome: 'approve' })
    expect(await next()).toBe('refused: not here')
    expect(server.got).toEqual([])
  })

  test('still to be approved under the changed policy: it is shown again before it runs', async () => {
    const { session, server } = await start()
    const { ask, next } = await client(session)
    await ask('pay 100')
    session.replacePolicy(
      asPolicyDigest(`sha256:${'1'.repeat(64)}`)!,
      new Map([['lines-prod', enforcer(() => 'approve')]]),
    )
    const [first] = await session.approvals()
    await session.answer(first!.id, { outcome: 'approve' })
    expect(await next()).toBe('waiting for maria')
    expect(server.got).toEqual([])
    const [second] = await session.approvals()
    expect(second!.id).not.toBe(first!.id)
    await session.answer(second!.id, { outcome: 'approve' })
    expect(await next()).toBe('echo pay 100')
  })

  test('a verdict that was cached is forgotten with its policy', async () => {
    const { session } = await start()
    const { ask } = await client(session)
    expect(await ask('hello')).toBe('echo hello')
    session.replacePolicy(
      asPolicyDigest(`sha256:${'1'.repeat(64)}`)!,
      new Map([['lines-prod', enforcer(() => 'deny')]]),
    )
    expect(await ask('hello')).toBe('refused: not here')
  })
})

describe('the end', () => {
  function fakeClock() {
    const now = { wall: Date.now(), monotonic: 0 }
    const clock: Clock = { wall: () => now.wall, monotonic: () => now.monotonic }
    return { now, clock }
  }

  test('after expiry no new action starts; what runs may end; then the session is over', async () => {
    const { now, clock } = fakeClock()
    const { session, server } = await start({ clock })
    const { ask, socket, next } = await client(session)
    socket.write('hang\n')
    await expect.poll(() => server.got).toContain('hang')
    now.wall += 3601_000 // a laptop that slept
    for await (const event of session.events(new AbortController().signal)) if (event.event === 'expired') break
    expect(await ask('hello')).toMatch(/^refused: access ended at/)
    now.monotonic += 31_000
    expect(await next()).toMatch('ended: access ended at')
    expect(await session.finished).toMatchObject({ reason: 'expired', error: { code: 'EXPIRED', exitCode: 8 } })
  })

  test('a session in the background stays after expiry and tells whoever connects', async () => {
    const { now, clock } = fakeClock()
    const { session } = await start({ clock, staysAfterExpiry: true })
    now.wall += 3601_000
    expect(await session.finished).toMatchObject({ reason: 'expired' })
    const late = await client(session)
    expect(await late.next()).toMatch('ended: access ended at')
  })

  test('revoking cuts off what runs and says why', async () => {
    const { session, server, recorder } = await start()
    const { socket, next } = await client(session)
    socket.write('hang\n')
    await expect.poll(() => server.got).toContain('hang')
    await session.revoke('left the team')
    expect(await next()).toMatch('left the team')
    expect(await session.finished).toMatchObject({ reason: 'revoked', error: { exitCode: 8 } })
    expect(recorder.closed).toMatch('left the team')
  })

  test('a policy that no longer names the resource revokes', async () => {
    const { session } = await start()
    session.replacePolicy(asPolicyDigest(`sha256:${'1'.repeat(64)}`)!, new Map())
    expect(await session.finished).toMatchObject({ reason: 'revoked' })
  })

  test('a target that is not there: a clear error, and nothing stays open', async () => {
    const runtimeFolder = path.join(newFolder('tunnel'), 's')
    await expect(start({ address: '127.0.0.1:1', runtimeFolder })).rejects.toMatchObject({
      code: 'TARGET_UNREACHABLE',
      exitCode: 6,
    })
    expect(existsSync(runtimeFolder)).toBe(false)
  })
})

describe('the sockets', () => {
  test('another process lists, watches, answers and stops a session', async () => {
    const { session, runtime } = await start()
    const { ask, next } = await client(session)
    await ask('pay 100')
    const found = await listSessions(runtime)
    expect(found.map(each => each.session)).toEqual([session.id])
    const { control } = found[0]!
    expect(await control.status()).toMatchObject({ session: session.id, waiting: 1 })
    const events = control.events(new AbortController().signal)[Symbol.asyncIterator]()
    expect((await events.next()).value).toMatchObject({ event: 'ready', tunnels: [{ url: '', env: {} }] })
    expect((await events.next()).value).toMatchObject({ event: 'approval' })
    const [request] = await control.approvals()
    expect(await control.answer(request!.id, { outcome: 'approve' })).toMatchObject({ code: 'PASSPHRASE' })
    expect(await control.preview(request!.id, 'pay 2')).toMatchObject({ kind: 'ok', verdict: 'approve' })
    expect(await control.answer(request!.id, { outcome: 'reject', reason: 'no' })).toMatchObject({
      outcome: 'rejected',
    })
    expect(await next()).toMatch('refused: rejected by maria: no')
    await control.stop('enough')
    expect(await session.finished).toMatchObject({ reason: 'closed' })
  })

  test('session.sock tells but does not decide', async () => {
    const { session } = await start()
    const { ask } = await client(session)
    await ask('pay 100')
    const [request] = await session.approvals()
    const teller = connectControl(path.join(session.folder, 'session.sock'))
    expect(await teller.status()).toMatchObject({ waiting: 1 })
    await expect(teller.approvals()).rejects.toMatchObject({ code: 'SESSION_UNREACHABLE' })
    await expect(teller.answer(request!.id, { outcome: 'reject', reason: 'x' })).rejects.toMatchObject({
      code: 'SESSION_UNREACHABLE',
    })
    await expect(teller.stop('x')).rejects.toMatchObject({ code: 'SESSION_UNREACHABLE' })
    expect((await session.status()).waiting).toBe(1)
  })

  test('what a dead session left is removed, a live one is not', async () => {
    const { session, runtime } = await start()
    const dead = await start()
    const folder = path.join(runtime, 's_DEAD000000')
    const { mkdirSync } = await import('node:fs')
    mkdirSync(folder)
    const server = net.createServer().listen(path.join(folder, 'control.sock'))
    await new Promise(resolve => server.once('listening', resolve))
    // As after kill -9: the file stays, nobody listens.
    const { renameSync } = await import('node:fs')
    renameSync(path.join(folder, 'control.sock'), path.join(folder, 'kept'))
    await new Promise(resolve => server.close(resolve))
    renameSync(path.join(folder, 'kept'), path.join(folder, 'control.sock'))
    expect((await listSessions(runtime)).map(each => each.session)).toEqual([session.id])
    expect(existsSync(folder)).toBe(false)
    await dead.session.close('over')
  })
})
