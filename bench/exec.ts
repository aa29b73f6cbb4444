/**
 * What confinement costs: `npm run build && node bench/run.js exec [rounds]`. Start-up beside the bare command, bare bubblewrap and,
 * where it is installed, Anthropic's sandbox-runtime; bytes through the sockets carried in beside loopback TCP.
 */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { Child } from '../src/agent/child.ts'
import { Confinement } from '../src/agent/confinement/confinement.ts'
import { findBubblewrap } from '../src/agent/confinement/bubblewrap.ts'
import { childEnvironment } from '../src/agent/environment.ts'
import { profileFor } from '../src/agent/profile.ts'
import { keepResult, median, quantile } from './result.ts'

const rounds = Number(process.argv[2] ?? 30)
const bulkBytes = 1 << 30
const bulkRounds = 5
const agentgate = path.resolve('bin/agentgate')
const bwrap = findBubblewrap(process.env)
if (!existsSync('dist/agentgate.js')) throw new Error('no bundle: run npm run build first')
if (bwrap === undefined) throw new Error('no bubblewrap: apt-get install bubblewrap')
const cache = process.env['AGENTGATE_TEST_CACHE'] ?? path.join(os.homedir(), '.cache', 'agentgate-test')
const sandboxRuntime = path.join(cache, 'sandbox-runtime', 'node_modules', '.bin', 'srt')

const folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-bench-'))
const work = path.join(folder, 'work')
const home = path.join(folder, 'home')
const state = path.join(folder, 'state')
for (const each of [work, home, state]) mkdirSync(each, { mode: 0o700 })
const env = {
  PATH: '/usr/local/bin:/usr/bin:/bin',
  HOME: home,
  AGENTGATE_HOME: state,
  AGENTGATE_BROKER: 'none',
  LANG: 'C.UTF-8',
}
const policy = path.join(folder, 'agentgate.yaml')
writeFileSync(policy, 'version: 1\nresources:\n  tools: { kind: tools }\n')
const digest = execFileSync(agentgate, ['policy', 'digest', '--policy', policy], { env, encoding: 'utf8' })
const trusted = ['--policy', policy, '--policy-digest', /sha256:[0-9a-f]{64}/.exec(digest)?.[0] ?? '']

async function run(file: string, args: readonly string[]): Promise<void> {
  const child = spawn(file, args, { cwd: work, env, stdio: 'ignore' })
  const code = await new Promise(resolve => child.once('error', resolve).once('close', resolve))
  if (code !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${String(code)}`)
}

function confine(): Confinement {
  return Confinement.prepare({
    workingFolder: work,
    home,
    env,
    agentgateFolders: [state],
    scratchRoot: state,
    policyFiles: [policy],
    secretFiles: [],
    readable: [],
    writable: [],
    policyReadable: [],
    policyWritable: [],
    profile: profileFor('generic', 'true'),
    hook: null,
    program: agentgate,
  })
}

function start(confinement: Confinement, file: string, args: readonly string[], out: NodeJS.WriteStream): Child {
  return Child.start({
    file,
    args,
    environment: childEnvironment({ parent: env, pass: [], workingFolder: work }),
    workingFolder: work,
    stdin: process.stdin,
    stdout: out,
    stderr: process.stderr,
    enclosure: confinement,
    helper: confinement.carryIn,
    onTerminal: () => undefined,
  })
}

/** All that `exec` does to have a child behind walls, with no tunnel to open. */
async function walls(): Promise<void> {
  const confinement = confine()
  try {
    const child = start(confinement, '/bin/true', [], process.stdout)
    confinement.finish()
    child.release([], 'AGENTGATE_SESSION=bench')
    const { code } = await child.finished
    if (code !== 0) throw new Error(`confined, true ended with ${code}`)
  } finally {
    confinement.remove()
  }
}

/** Installed, and with what it needs (ripgrep, socat). */
async function runsSandboxRuntime(): Promise<boolean> {
  if (!existsSync(sandboxRuntime)) return false
  return await run(sandboxRuntime, ['true']).then(
    () => true,
    () => false,
  )
}

const bare = [
  '--unshare-all',
  '--die-with-parent',
  '--ro-bind',
  '/',
  '/',
  '--dev',
  '/dev',
  '--proc',
  '/proc',
  '/bin/true',
]
const exec = (...more: string[]) => ['exec', '-r', 'tools', '-q', ...trusted, ...more, '--', '/bin/true']
const starts: readonly (readonly [string, () => Promise<void>])[] = [
  ['the command alone', async () => await run('/bin/true', [])],
  ['bare bubblewrap', async () => await run(bwrap, bare)],
  ['agentgate’s walls', walls],
  ['agentgate exec --unconfined', async () => await run(agentgate, exec('--unconfined'))],
  ['agentgate exec', async () => await run(agentgate, exec())],
  ...((await runsSandboxRuntime())
    ? [['sandbox-runtime', async () => await run(sandboxRuntime, ['true'])] as const]
    : []),
]

async function startUp(): Promise<Map<string, number[]>> {
  const taken = new Map(starts.map(([name]) => [name, [] as number[]]))
  for (let round = -2; round < rounds; round++)
    for (const [name, once] of starts) {
      const began = performance.now()
      await once()
      // The first two fill caches.
      if (round >= 0) taken.get(name)?.push(performance.now() - began)
    }
  return taken
}

/** Reads until the end, and says on a file how many bytes a second that were. */
const reader = String.raw`
const [where, file] = process.argv.slice(1)
const socket = require('node:net').connect(/^\d+$/.test(where) ? { host: '127.0.0.1', port: Number(where) } : where)
let bytes = 0, began = 0
socket.on('connect', () => { began = performance.now(); socket.resume() })
socket.on('data', part => { bytes += part.length })
socket.on('end', () => require('node:fs').writeFileSync(file, String(bytes / (performance.now() - began) * 1000)))
`
const chunk = Buffer.alloc(256 << 10, 'x')

function serve(client: net.Socket): void {
  let left = bulkBytes
  const more = () => {
    while (left > 0) {
      left -= chunk.length
      if (!client.write(chunk)) return
    }
    client.end()
  }
  client.on('drain', more).on('error', () => undefined)
  more()
}

async function bulk(): Promise<Map<string, number[]>> {
  const rates = new Map<string, number[]>()
  const result = path.join(work, 'rate')
  const keep = (name: string) => {
    rates.set(name, [...(rates.get(name) ?? []), Number(readFileSync(result, 'utf8')) / 2 ** 20])
    rmSync(result)
  }
  for (let round = 0; round < bulkRounds; round++) {
    const server = net.createServer(serve).listen(0, '127.0.0.1')
    await new Promise(resolve => server.once('listening', resolve))
    await run(process.execPath, ['-e', reader, String((server.address() as net.AddressInfo).port), result])
    keep('loopback TCP')
    server.close()
    for (const [name, place] of [
      ['carried-in TCP', '15432'],
      ['carried-in unix socket', '/run/agentgate/bulk.sock'],
    ] as const) {
      const confinement = confine()
      try {
        const child = start(confinement, process.execPath, ['-e', reader, place, result], process.stdout)
        const listener = await confinement.carryIn.open({
          port: { wanted: 15_432, fixed: true },
          unixSocket: '/run/agentgate/bulk.sock',
          maxConnections: 10,
          onConnection: serve,
        })
        confinement.finish()
        child.release([], 'AGENTGATE_SESSION=bench')
        await child.finished
        await listener.close()
        keep(name)
      } finally {
        confinement.remove()
      }
    }
  }
  return rates
}

try {
  const taken = await startUp()
  const rates = await bulk()
  const alone = median(taken.get('the command alone') ?? [])
  const straight = median(rates.get('loopback TCP') ?? [])
  const file = keepResult({
    name: 'exec',
    title: 'Confinement',
    tables: [
      {
        title: 'Start-up',
        note: `Milliseconds from start to end of \`/bin/true\`, ${rounds} times each in turn. Walls are made within a running process; \`agentgate exec\` starts one, reads the policy, opens a tunnel and a recording too.`,
        columns: ['', 'p50', 'p99', 'over the command alone'],
        rows: [...taken].map(([name, values]) => [
          name,
          median(values).toFixed(1),
          quantile(values, 0.99).toFixed(1),
          (median(values) - alone).toFixed(1),
        ]),
      },
      {
        title: 'Bytes through a tunnel’s socket',
        note: `MiB a second of 1 GiB from a node server outside to a node client, ${bulkRounds} times each in turn; the client of the first is not confined.`,
        columns: ['', 'median', 'least', 'most', 'ratio'],
        rows: [...rates].map(([name, values]) => [
          name,
          median(values).toFixed(0),
          Math.min(...values).toFixed(0),
          Math.max(...values).toFixed(0),
          (median(values) / straight).toFixed(2),
        ]),
      },
    ],
    measurements: { startMs: Object.fromEntries(taken), mibPerSecond: Object.fromEntries(rates) },
  })
  console.table(
    Object.fromEntries(
      [...taken].map(([name, values]) => [name, { p50: median(values), p99: quantile(values, 0.99) }]),
    ),
  )
  console.table(Object.fromEntries([...rates].map(([name, values]) => [name, { median: median(values) }])))
  console.log(file)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
