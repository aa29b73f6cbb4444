import { hash } from 'node:crypto'
import http from 'node:http'
import fs from 'node:fs'
import type net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { signed } from '../../src/recording/sync/sigv4.ts'
import { findProgram, type Need } from '../support/needs.ts'
import { freePort } from '../support/port.ts'
import { startProgram, until, type Running } from '../support/processes.ts'

const cache =
  process.env['AGENTGATE_TEST_CACHE'] ??
  path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'agentgate-test')
const program = findProgram('versitygw', cache)
const motoServer = findProgram('moto_server', path.join(cache, 'moto', 'bin'))

export const s3: Need = {
  name: 'VersityGW',
  missing: program === undefined ? 'test/recording/servers/setup.sh' : undefined,
}

/** Mocks AWS itself: its token service, and what VersityGW's S3 lacks. */
export const moto: Need = {
  name: 'moto',
  missing: motoServer === undefined ? 'test/recording/servers/setup.sh' : undefined,
}

export const bucket = 'acme-agentgate'
export const s3Environment = { AWS_ACCESS_KEY_ID: 'tester', AWS_SECRET_ACCESS_KEY: 'a secret of the tests' } as const

/** A VersityGW over a folder, which can go away and come back at the same port. */
export class S3Server implements AsyncDisposable {
  readonly folder: string
  readonly port: number
  readonly #options: readonly string[]
  #running: Running | undefined

  private constructor(folder: string, port: number, options: readonly string[]) {
    this.folder = folder
    this.port = port
    this.#options = options
  }

  /** @param options of its `posix` store */
  static async start(folder: string, options: readonly string[] = []): Promise<S3Server> {
    fs.mkdirSync(path.join(folder, bucket), { recursive: true })
    const server = new S3Server(folder, await freePort(), options)
    await server.up()
    return server
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`
  }

  async up(): Promise<void> {
    this.#running = startProgram(
      program ?? '',
      ['--port', `127.0.0.1:${this.port}`, '--quiet', 'posix', ...this.#options, this.folder],
      {
        env: {
          PATH: process.env['PATH'] ?? '',
          ROOT_ACCESS_KEY: s3Environment.AWS_ACCESS_KEY_ID,
          ROOT_SECRET_KEY: s3Environment.AWS_SECRET_ACCESS_KEY,
        },
      },
    )
    await until('the S3 server', async () => await answers(this.endpoint), 20_000)
  }

  async down(): Promise<void> {
    this.#running?.child.kill('SIGKILL')
    await this.#running?.finished()
    this.#running = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down()
  }
}

/** A moto that has the bucket. */
export async function startMoto(): Promise<{ readonly port: number; readonly endpoint: string } & AsyncDisposable> {
  const port = await freePort()
  const running = startProgram(motoServer ?? '', ['-H', '127.0.0.1', '-p', String(port)])
  const endpoint = `http://127.0.0.1:${port}`
  await until('moto', async () => await answers(endpoint), 60_000)
  return {
    port,
    endpoint,
    [Symbol.asyncDispose]: async () => {
      running.child.kill('SIGKILL')
      await running.finished()
    },
  }
}

/** Makes a bucket. */
export async function makeBucket(endpoint: string, name: string, headers: Readonly<Record<string, string>> = {}) {
  const made = await s3Request(endpoint, 'PUT', `/${name}`, headers)
  if (made.status !== 200) throw new Error(`no bucket ${name}: ${made.status} ${await made.text()}`)
}

/** A request of the tests' own, signed with their key. */
export async function s3Request(
  endpoint: string,
  method: string,
  place: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const [pathname = '', query = ''] = place.split('?')
  const { host } = new URL(endpoint)
  const request = { method, host, path: pathname, query, headers, sha256: hash('sha256', '') }
  const credentials = {
    accessKeyId: s3Environment.AWS_ACCESS_KEY_ID,
    secretAccessKey: s3Environment.AWS_SECRET_ACCESS_KEY,
    sessionToken: undefined,
  }
  const { host: _, ...rest } = signed(request, credentials, 'us-east-1', new Date())
  return await fetch(`${endpoint}${place}`, { method, headers: rest })
}

async function answers(endpoint: string): Promise<boolean> {
  return await new Promise(resolve => {
    http
      .get(endpoint, response => {
        response.resume()
        resolve(true)
      })
      .on('error', () => resolve(false))
  })
}

/** What to do with a request: let it through, refuse it with a status, or cut it after so many bytes of its body. */
export type Fault =
  | { readonly kind: 'pass' }
  | { readonly kind: 'status'; readonly status: number; readonly code?: string }
  | { readonly kind: 'cut' }
  /** Done by the server, of which nobody hears. */
  | { readonly kind: 'deaf' }

/** Stands before a server and does to each request what `fault` says. */
export async function faultyProxy(
  to: number,
  fault: (request: http.IncomingMessage) => Fault,
): Promise<{ readonly endpoint: string } & AsyncDisposable> {
  const proxy = http.createServer((request, response) => {
    const what = fault(request)
    if (what.kind === 'cut') {
      request.once('data', () => request.socket.destroy())
      return
    }
    if (what.kind === 'status') {
      request.resume()
      response.writeHead(what.status).end(`<Error><Code>${what.code ?? 'SlowDown'}</Code></Error>`)
      return
    }
    const { method, url, headers } = request
    const onward = http.request({ host: '127.0.0.1', port: to, method, path: url, headers }, answer => {
      if (what.kind === 'deaf') {
        answer.resume().once('end', () => request.socket.destroy())
        return
      }
      response.writeHead(answer.statusCode ?? 0, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  proxy.listen(0, '127.0.0.1')
  await new Promise(resolve => proxy.once('listening', resolve))
  const { port } = proxy.address() as net.AddressInfo
  return {
    endpoint: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      proxy.closeAllConnections()
      await new Promise(resolve => proxy.close(resolve))
    },
  }
}
