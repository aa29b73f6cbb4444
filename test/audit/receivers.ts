import { execFileSync } from 'node:child_process'
import { createHmac, timingSafeEqual } from 'node:crypto'
import fs from 'node:fs'
import type http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import path from 'node:path'
import { findProgram, type Need } from '../support/needs.ts'
import { startProgram, until, type Running } from '../support/processes.ts'

/** A certificate for 127.0.0.1 that signs itself, and its key. */
export class Certificate {
  readonly certificateFile: string
  readonly keyFile: string

  constructor(folder: string, name: string, address = 'IP:127.0.0.1') {
    this.certificateFile = path.join(folder, `${name}.pem`)
    this.keyFile = path.join(folder, `${name}.key`)
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'].concat([
        ...['-keyout', this.keyFile, '-out', this.certificateFile, '-subj', `/CN=${name}`],
        ...['-addext', `subjectAltName=${address}`],
      ]),
      { stdio: 'pipe' },
    )
  }

  get pem(): string {
    return fs.readFileSync(this.certificateFile, 'utf8')
  }

  get key(): string {
    return fs.readFileSync(this.keyFile, 'utf8')
  }
}

export interface Received {
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

export type Answer =
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string }
  /** The connection is cut once the body is there, before an answer. */
  | 'cut'
  /** No answer at all. */
  | 'silence'

/** A webhook's other end, which answers as it is told to. */
export class Receiver implements AsyncDisposable {
  readonly taken: Received[] = []
  /** All that was sent, whatever the answer was. */
  readonly seen: Received[] = []
  answer: (request: Received, count: number) => Answer = () => ({ status: 200 })
  readonly #server: https.Server

  private constructor(certificate: Certificate) {
    this.#server = https.createServer({ cert: certificate.pem, key: certificate.key }, (request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('error', () => undefined)
      request.on('end', () => {
        const received = { headers: request.headers, body: Buffer.concat(chunks).toString('utf8') }
        this.seen.push(received)
        const answer = this.answer(received, this.seen.length)
        if (answer === 'silence') return
        if (answer === 'cut') {
          request.socket.destroy()
          return
        }
        if (answer.status >= 200 && answer.status < 300) this.taken.push(received)
        response.writeHead(answer.status, answer.headers).end(answer.body)
      })
    })
  }

  static async start(certificate: Certificate): Promise<Receiver> {
    const receiver = new Receiver(certificate)
    receiver.#server.listen(0, '127.0.0.1')
    await new Promise(resolve => receiver.#server.once('listening', resolve))
    return receiver
  }

  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as net.AddressInfo).port}/in`
  }

  /** The ids of events in bodies of the format `json`. */
  uids(of: readonly Received[] = this.taken): string[] {
    return of.flatMap(({ body }) =>
      (JSON.parse(body) as { metadata: { uid: string } }[]).map(({ metadata }) => metadata.uid),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(resolve => this.#server.close(resolve))
  }
}

/** As docs/siem.md tells receivers to. */
export function signatureHolds({ headers, body }: Received, key: string, now: number): boolean {
  const timestamp = String(headers['agentgate-timestamp'])
  const expected = Buffer.from(`v1=${createHmac('sha256', key).update(`v1.${timestamp}.${body}`).digest('hex')}`)
  const given = Buffer.from(String(headers['agentgate-signature']))
  return (
    given.length === expected.length &&
    timingSafeEqual(given, expected) &&
    Math.abs(now / 1000 - Number(timestamp)) < 300
  )
}

const rsyslogd = findProgram('rsyslogd', '/usr/sbin')

export const rsyslog: Need = {
  name: 'rsyslog',
  missing:
    rsyslogd === undefined || !fs.existsSync('/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so')
      ? 'apt-get install rsyslog rsyslog-openssl'
      : undefined,
}

/** A real rsyslog that takes syslog over TLS and writes each message's parts, as JSON, to a file. */
export class Rsyslog implements AsyncDisposable {
  readonly port: number
  readonly #folder: string
  #running: Running

  private constructor(folder: string, port: number, running: Running) {
    this.#folder = folder
    this.port = port
    this.#running = running
  }

  static async start(folder: string, certificate: Certificate): Promise<Rsyslog> {
    fs.mkdirSync(folder, { recursive: true })
    const port = await freePort()
    fs.writeFileSync(
      path.join(folder, 'rsyslog.conf'),
      `global(workDirectory="${folder}" maxMessageSize="64k"
  defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile="${certificate.certificateFile}"
  defaultNetstreamDriverCertFile="${certificate.certificateFile}"
  defaultNetstreamDriverKeyFile="${certificate.keyFile}")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
template(name="parts" type="list") {
  constant(value="{") property(name="pri" outname="pri" format="jsonf") constant(value=",")
  property(name="app-name" outname="app" format="jsonf") constant(value=",")
  property(name="msgid" outname="msgid" format="jsonf") constant(value=",")
  property(name="protocol-version" outname="version" format="jsonf") constant(value=",")
  property(name="msg" outname="msg" format="jsonf") constant(value="}\\n")
}
input(type="imtcp" port="${port}" address="127.0.0.1")
action(type="omfile" file="${path.join(folder, 'received')}" template="parts")
`,
    )
    const server = new Rsyslog(folder, port, launch(folder))
    await server.#listening()
    return server
  }

  async #listening(): Promise<void> {
    await until('rsyslog listens', async () => {
      if (this.#running.child.exitCode !== null) throw new Error(`rsyslog ended: ${this.#running.stderr()}`)
      return await new Promise(resolve => {
        const socket = net.connect(this.port, '127.0.0.1', () => {
          socket.destroy()
          resolve(true)
        })
        socket.on('error', () => resolve(false))
      })
    })
  }

  messages(): { pri: string; app: string; msgid: string; version: string; msg: string }[] {
    const file = path.join(this.#folder, 'received')
    if (!fs.existsSync(file)) return []
    return fs
      .readFileSync(file, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line) as never)
  }

  async kill(): Promise<void> {
    this.#running.child.kill('SIGKILL')
    await this.#running.finished()
  }

  async restart(): Promise<void> {
    this.#running = launch(this.#folder)
    await this.#listening()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}

function launch(folder: string): Running {
  fs.rmSync(path.join(folder, 'pid'), { force: true })
  return startProgram(rsyslogd ?? '', ['-n', '-f', path.join(folder, 'rsyslog.conf'), '-i', path.join(folder, 'pid')])
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}
