import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  lstatSync,
  lchownSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import net from 'node:net'
import tls from 'node:tls'
import dgram from 'node:dgram'
import os from 'node:os'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { isRunning, runningWith, startProgram, until } from '../../support/processes.ts'
import { Terminal } from '../../support/terminal.ts'

export type Who = 'root' | 'plain'

/** Nobody's on this machine; only numbers are needed to be someone. */
const plainId = 4242
export const secret = 'SECRET-7f3a'
const proxyPort = 13_128
const proxySecret = 'ag_proxy-of-the-test'
export const metadataAddress = '169.254.169.254'

/** A machine as an agent finds it: secrets in a home, servers, a multiplexer, a victim; all the same user's. */
export class World {
  readonly who: Who
  readonly uid: number
  readonly base: string
  readonly home: string
  readonly work: string
  readonly state: string
  readonly elsewhere: string
  readonly runtime: string
  readonly out: string
  readonly policy: string
  readonly tag: string
  readonly inherited: string
  /** Where agentgate itself is installed. */
  readonly program: string
  port = 0
  udpPort = 0
  /** Of a server with many names: `listed.test` is welcome, any other gets the secret. */
  tlsPort = 0
  victim = 0
  victimToKill = 0
  tmux = false
  confined = false
  /** The key of a segment of System V's shared memory. */
  readonly shm = 0x41470000 + Math.floor(Math.random() * 0xffff)
  /** Something still writes its heart beat. */
  beats = false
  terminal: Terminal | undefined
  terminalPath = ''
  /** Of an X server that lets everyone in. */
  display = ''
  /** Where that one's pointer was left. */
  pointer = ''
  #servers: { close(): unknown }[] = []
  #processes: ChildProcess[] = []

  constructor(who: Who) {
    this.who = who
    this.uid = who === 'root' ? 0 : plainId
    this.base = mkdtempSync(path.join(os.tmpdir(), `agentgate-escape-${who}-`))
    this.tag = path.basename(this.base)
    chmodSync(this.base, 0o755)
    this.home = path.join(this.base, 'home')
    this.work = path.join(this.base, 'work')
    this.out = path.join(this.base, 'out')
    this.state = path.join(this.work, 'agh')
    this.policy = path.join(this.work, 'ops', 'agentgate.yaml')
    this.inherited = path.join(this.base, 'inherited')
    this.program = path.join(this.work, 'node_modules/agentgate/dist/agentgate.js')
    this.elsewhere = `/opt/${this.tag}`
    this.runtime = `/run/${this.tag}`
    this.#files()
  }

  #files(): void {
    for (const folder of [this.home, this.work, this.out, this.state, this.elsewhere, this.runtime])
      mkdirSync(folder, { recursive: true, mode: 0o755 })
    const put = (file: string, content = `${secret} of ${file}\n`) => {
      mkdirSync(path.dirname(file), { recursive: true })
      writeFileSync(file, content)
    }
    for (const name of secretsOfHome) put(path.join(this.home, name))
    put(path.join(this.home, '.gitconfig'), `[user]\n\tname = Maria\n[http]\n\textraheader = ${secret}\n`)
    put(this.program, '// agentgate\n')
    put(path.join(this.home, '.local/bin/tool'), '#!/bin/sh\necho tool\n')
    put(path.join(this.work, '.env'))
    put(path.join(this.work, 'packages/api/.env.local'))
    put(path.join(this.base, 'linked-secret'))
    symlinkSync('../linked-secret', path.join(this.work, '.env.production'))
    put(path.join(this.work, 'db-password'))
    put(path.join(this.work, '.envrc'), 'export A=1\n')
    put(path.join(this.work, '.husky/pre-commit'), 'true\n')
    put(path.join(this.work, '.bashrc'), 'true\n')
    put(this.policy, 'version: 1\n')
    put(path.join(this.state, 'state/trust.json'))
    put(path.join(this.base, 'outside.txt'), 'outside\n')
    put(path.join(this.inherited))
    put(`/dev/shm/${this.tag}`)
    spawnSync('git', ['init', '-q', this.work], { env: { PATH: process.env['PATH'] } })
    writeFileSync(
      path.join(this.work, '.git/config'),
      `[core]\n\trepositoryformatversion = 0\n[http "https://github.com/"]\n\textraheader = AUTHORIZATION: basic ${secret}\n`,
    )
    const tool = path.join(this.elsewhere, 'suid-id')
    cpSync('/usr/bin/id', tool)
    for (const tree of [
      this.home,
      this.work,
      this.out,
      this.runtime,
      this.elsewhere,
      this.inherited,
      path.join(this.base, 'outside.txt'),
      `/dev/shm/${this.tag}`,
    ])
      giveTo(tree, this.uid)
    chownSync(tool, 0, 0)
    chmodSync(tool, 0o4755)
  }

  get env(): Record<string, string> {
    return {
      PATH: '/usr/local/bin:/usr/bin:/bin',
      HOME: this.home,
      LANG: 'C.UTF-8',
      DATABASE_URL: `postgresql://admin:${secret}@db`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: secret,
      AWS_WEB_IDENTITY_TOKEN_FILE: path.join(this.elsewhere, 'token'),
      SSH_AUTH_SOCK: path.join(this.base, 'agent.sock'),
      DOCKER_HOST: `unix://${path.join(this.elsewhere, 'docker.sock')}`,
      DBUS_SESSION_BUS_ADDRESS: `unix:path=${path.join(this.runtime, 'bus')}`,
      XDG_RUNTIME_DIR: this.runtime,
      TMUX: `/tmp/tmux-${this.uid}/${this.tag},1,0`,
    }
  }

  /** As this world's user, in its working folder. */
  command(file: string, args: readonly string[]): readonly [string, readonly string[]] {
    return this.who === 'root'
      ? [file, args]
      : ['setpriv', ['--reuid', String(this.uid), '--regid', String(this.uid), '--clear-groups', file, ...args]]
  }

  /** Without walls; but what root mounts stays its own, as this is somebody's machine. */
  bare(file: string, args: readonly string[]): readonly [string, readonly string[]] {
    return this.who === 'root'
      ? ['unshare', ['--mount', '--propagation', 'private', file, ...args]]
      : this.command(file, args)
  }

  async start(): Promise<void> {
    writeFileSync(path.join(this.elsewhere, 'token'), secret)
    const answer = (socket: net.Socket) => {
      socket.on('error', () => undefined)
      socket.end(`${secret}\n`)
    }
    const listen = async (where: net.ListenOptions) => {
      const server = net.createServer(answer)
      server.listen(where)
      await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject))
      this.#servers.push(server)
      if (where.path !== undefined && !where.path.startsWith('\0')) {
        chownSync(where.path, this.uid, this.uid)
        chmodSync(where.path, 0o777)
      }
      return server
    }
    const tcp = await listen({ host: '0.0.0.0', port: 0 })
    this.port = (tcp.address() as net.AddressInfo).port
    await listen({ host: '::1', port: this.port }).catch(() => undefined)
    for (const file of [
      path.join(this.base, 'agent.sock'),
      path.join(this.home, '.gnupg/S.gpg-agent'),
      path.join(this.elsewhere, 'docker.sock'),
      path.join(this.elsewhere, 'other.sock'),
      path.join(this.runtime, 'bus'),
      path.join(this.work, 'dev.sock'),
      path.join(this.state, 'control.sock'),
    ])
      await listen({ path: file })
    await this.#metadata(listen)
    this.tlsPort = await this.#manyNames()
    for (const [kind, address] of [
      ['udp4', '127.0.0.1'],
      ['udp6', '::1'],
    ] as const) {
      const udp = dgram.createSocket(kind).on('message', (_, from) => udp.send(secret, from.port, from.address))
      await new Promise<void>(resolve => udp.bind(this.udpPort, address, () => resolve()))
      this.udpPort = udp.address().port
      this.#servers.push(udp)
    }

    const ctypes = `import ctypes; ctypes.CDLL(None).syscall(29, ${this.shm}, 4096, 0o1600)`
    const [python, words] = this.command('/usr/bin/python3', ['-c', ctypes])
    spawnSync(python, words)
    // Holds a secret in its environment, in memory, and in a file that has no name any more.
    const hold = `
import os, socket, threading, time
held = open('${this.out}/held', 'w+'); held.write('${secret} held'); held.flush(); os.unlink('${this.out}/held')
kept = '${secret} in memory' * 1000
def serve(name):
    server = socket.socket(socket.AF_UNIX); server.bind(name); server.listen()
    while True:
        client, _ = server.accept(); client.sendall(b'${secret}'); client.close()
for name in ('\\0${this.tag}', '\\0/tmp/.X11-unix/${this.tag}'):
    threading.Thread(target=serve, args=(name,), daemon=True).start()
time.sleep(0.2)
print('up', flush=True)
time.sleep(600)`
    this.victim = await this.#spawn('/usr/bin/python3', ['-c', hold])
    this.victimToKill = await this.#spawn('/bin/sh', ['-c', 'echo up; exec sleep 600'])
    const [tmux, args] = this.command('tmux', ['-L', this.tag, '-f', '/dev/null', 'new-session', '-d', '/bin/sh'])
    this.tmux = spawnSync(tmux, args, { env: { ...this.env, TMUX: '', TERM: 'xterm' }, cwd: this.work }).status === 0
    await this.#desktop()
    this.terminal = new Terminal('/bin/sh', ['-c', 'tty; exec sleep 600'], { cwd: this.base, env: this.env })
    await this.terminal.shows(/\/dev\/pts\/\d+/)
    this.terminalPath = /\/dev\/pts\/\d+/.exec(this.terminal.shown)?.[0] ?? ''
    chownSync(this.terminalPath, this.uid, this.uid)
  }

  async #manyNames(): Promise<number> {
    const [key, cert] = [path.join(this.base, 'key.pem'), path.join(this.base, 'cert.pem')]
    const words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=many'.split(' ')
    spawnSync('openssl', [...words, '-keyout', key, '-out', cert])
    const server = tls.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, socket => {
      socket.on('error', () => undefined)
      const listed = typeof socket.servername === 'string' && socket.servername === 'listed.test'
      socket.end(listed ? 'welcome\n' : `${secret}\n`)
    })
    server.on('tlsClientError', () => undefined)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    this.#servers.push(server)
    return (server.address() as net.AddressInfo).port
  }

  /** Where a cloud's machines get their identity from; nothing here answers there by itself. */
  async #metadata(listen: (where: net.ListenOptions) => Promise<unknown>): Promise<void> {
    spawnSync('ip', ['address', 'add', `${metadataAddress}/32`, 'dev', 'lo'])
    // Where two worlds are open, the first one's answers.
    await listen({ host: metadataAddress, port: 80 }).catch(() => undefined)
  }

  /** Another multiplexer, a keychain on a bus of its own, a screen; root's, as they want an account's name. */
  async #desktop(): Promise<void> {
    const display = spawn(
      'Xvfb',
      ['-ac', '-noreset', '-nolisten', 'tcp', '-displayfd', '3', '-screen', '0', '640x480x24'],
      {
        stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      },
    )
    this.#processes.push(display)
    const [number] = (await once(display.stdio[3] as Readable, 'data')) as [Buffer]
    this.display = `:${number.toString().trim()}`
    if (this.who !== 'root') return
    spawnSync('screen', ['-dmS', this.tag, '/bin/sh'], { env: { ...this.env, TERM: 'xterm' }, cwd: this.work })
    const bus = spawn(
      'dbus-daemon',
      ['--session', '--nofork', '--print-address', `--address=unix:path=${this.runtime}/keys`],
      {
        env: this.env,
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )
    this.#processes.push(bus)
    await once(bus.stdout, 'data')
    const env = {
      ...this.env,
      DBUS_SESSION_BUS_ADDRESS: `unix:path=${this.runtime}/keys`,
      XDG_DATA_HOME: `${this.base}/keyring`,
    }
    const keyring = spawn('gnome-keyring-daemon', ['--foreground', '--unlock', '--components=secrets'], {
      env,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    this.#processes.push(keyring)
    keyring.stdin.end('passphrase')
    const owned = ['--print-reply', '--dest=org.freedesktop.DBus', '/', 'org.freedesktop.DBus.NameHasOwner']
    // Asked for before, the bus would start another, which nobody has unlocked.
    await until('the keychain is on the bus', () =>
      spawnSync('dbus-send', [`--bus=${env.DBUS_SESSION_BUS_ADDRESS}`, ...owned, 'string:org.freedesktop.secrets'])
        .stdout.toString()
        .includes('true'),
    )
    await until(
      'the keychain keeps a secret',
      () =>
        spawnSync('secret-tool', ['store', '--label=x', 'service', this.tag], { env, input: secret, timeout: 3000 })
          .status === 0,
    )
  }

  async #spawn(file: string, args: readonly string[]): Promise<number> {
    const [program, words] = this.command(file, args)
    const child = spawn(program, words, {
      env: { ...this.env, VICTIM: secret },
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: this.work,
    })
    this.#processes.push(child)
    await new Promise(resolve => child.stdout.once('data', resolve))
    return child.pid ?? 0
  }

  /** Runs every attempt, straight or behind the walls; what each said, by name. */
  async run(
    attempts: readonly { readonly name: string; readonly code: string }[],
    walls: { driver: string } | null,
  ): Promise<Record<string, string>> {
    const plan = path.join(this.work, 'attempts.json')
    const runner = path.join(this.work, 'runner.py')
    const {
      who,
      base,
      home,
      work,
      state,
      elsewhere,
      runtime,
      out,
      policy,
      port,
      udpPort,
      victim,
      victimToKill,
      tag,
      uid,
      terminalPath,
      shm,
      program,
      display,
      tlsPort,
    } = this
    const world = {
      who,
      base,
      home,
      work,
      state,
      elsewhere,
      runtime,
      out,
      policy,
      port,
      udpPort,
      victim,
      victimToKill,
      tag,
      uid,
      terminalPath,
      shm,
      program,
      display,
      tlsPort,
      proxy: proxyPort,
      proxySecret,
    }
    writeFileSync(plan, JSON.stringify({ world, attempts }))
    cpSync(path.join(import.meta.dirname, 'runner.py'), runner)
    const words = ['/usr/bin/python3', runner, plan]
    const confined = {
      command: words,
      confined: {
        state: this.state,
        policyFiles: [this.policy],
        secretFiles: [path.join(this.work, 'db-password')],
        program: this.program,
        egress: {
          port: proxyPort,
          hosts: [`listed.test:${this.tlsPort}`],
          names: { 'listed.test': '127.0.0.1' },
          resolved: path.join(this.out, 'resolved'),
          secret: proxySecret,
        },
      },
    }
    const [file, args] =
      walls === null
        ? this.bare(words[0] ?? '', words.slice(1))
        : this.command(process.execPath, [walls.driver, JSON.stringify(confined)])
    const leaked = openSync(this.inherited, 'r')
    try {
      const running = startProgram(file, args, {
        cwd: this.work,
        env: this.env,
        stdio: ['ignore', 'pipe', 'pipe', leaked, leaked, leaked, leaked, leaked, leaked, leaked],
      })
      const ended = await running.finished(240_000)
      if (!ended.stdout.startsWith('{'))
        throw new Error(`no answers: ${ended.stdout.slice(0, 500)} ${ended.stderr.slice(0, 2000)}`)
      return JSON.parse(ended.stdout) as Record<string, string>
    } finally {
      closeSync(leaked)
    }
  }

  /** Looks at what goes on after the attempts have ended. */
  async settle(): Promise<void> {
    const beat = () => this.read(path.join(this.work, 'beat'))
    const before = beat()
    const lives = () => runningWith(`${this.work}/runner.py`).length > 0
    await until('what lives beats, or nothing lives', () => beat() !== before || !lives())
    this.beats = beat() !== before
    const asked = spawnSync('xdotool', ['getmouselocation'], { env: { ...this.env, DISPLAY: this.display } })
    this.pointer = asked.stdout.toString()
  }

  read(file: string): string {
    try {
      return readFileSync(file, 'utf8')
    } catch {
      return ''
    }
  }

  has(file: string): boolean {
    return existsSync(file)
  }

  runs(pid: number): boolean {
    return isRunning(pid)
  }

  async stop(): Promise<void> {
    const [tmux, args] = this.command('tmux', ['-L', this.tag, 'kill-server'])
    if (this.tmux) spawnSync(tmux, args, { env: { PATH: this.env['PATH'] } })
    this.terminal?.close()
    if (this.who === 'root') spawnSync('screen', ['-S', this.tag, '-X', 'quit'], { env: this.env })
    spawnSync('ip', ['address', 'del', `${metadataAddress}/32`, 'dev', 'lo'])
    for (const server of this.#servers) server.close()
    // The X server takes its lock file and socket with it where it is asked to end.
    for (const child of this.#processes) child.kill(child.spawnfile === 'Xvfb' ? 'SIGTERM' : 'SIGKILL')
    spawnSync('ipcrm', ['-M', String(this.shm)])
    // What an attempt may have left running: known by this world's own path, as a number from inside means nothing here.
    for (const pid of runningWith(`${this.base}/`)) process.kill(pid, 'SIGKILL')
    await until('the processes ended', () => !isRunning(this.victim), 5000)
    for (const place of [this.base, this.elsewhere, this.runtime, `/dev/shm/${this.tag}`])
      rmSync(place, { recursive: true, force: true })
  }
}

function giveTo(place: string, uid: number): void {
  lchownSync(place, uid, uid)
  if (lstatSync(place).isDirectory()) for (const name of readdirSync(place)) giveTo(path.join(place, name), uid)
}

export const secretsOfHome: readonly string[] = [
  ...['.ssh/id_ed25519', '.aws/credentials', '.kube/config', '.config/gcloud/credentials.db', '.docker/config.json'],
  ...[
    '.gnupg/private-keys-v1.d/k.key',
    '.azure/msal_token_cache.json',
    '.netrc',
    '.npmrc',
    '.pgpass',
    '.my.cnf',
    '.pypirc',
  ],
  ...['.aws/cli/cache/a.json', '.aws/sso/cache/b.json', '.config/gcloud/access_tokens.db', '.kube/cache/oidc-login/t'],
  ...[
    '.terraform.d/credentials.tfrc.json',
    '.config/doctl/config.yaml',
    '.databrickscfg',
    '.oci/config',
    '.cache/huggingface/token',
  ],
  ...['.git-credentials', '.config/gh/hosts.yml', '.cargo/credentials.toml', '.m2/settings.xml', '.vault-token'],
  ...[
    '.local/share/keyrings/login.keyring',
    '.mozilla/firefox/p/cookies.sqlite',
    '.config/google-chrome/Default/Cookies',
  ],
  ...[
    '.bash_history',
    '.bashrc',
    '.profile',
    '.claude/.credentials.json',
    '.claude.json',
    '.config/agentgate/config.yaml',
  ],
  ...['.local/state/agentgate/trust.json', '.local/share/agentgate/recordings/r', '.password-store/a.gpg'],
  ...['Documents/notes.txt', 'other-project/.env', '.config/Code/User/globalStorage/state.vscdb', 'snap/firefox/c'],
]
