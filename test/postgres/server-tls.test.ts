import { X509Certificate } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Secret } from '../../src/secret.ts'
import { startupPacket } from '../../src/protocols/postgres/wire/startup.ts'
import { findProgram } from '../support/needs.ts'
import { until } from '../support/processes.ts'
import { plainAnalyser } from './support/plain-analyser.ts'
import { errorText, RawClient } from './support/raw-client.ts'
import { servers, startServer, type TestServer } from './support/server.ts'
import { openTunnel, type TestTunnel, type TunnelOptions } from './support/tunnel.ts'

// What stands between agentgate and a server over TLS: each way that it can be wrong, against a server with ssl = on.

const name = 'db.internal'
const hasOpenssl = findProgram('openssl') !== undefined

/** Authorities and certificates, made by openssl. */
class Certificates {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-certificates-'))

  constructor() {
    for (const authority of ['ours', 'other']) {
      this.#openssl(
        `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ${authority}.key -out ${authority}.crt -subj /CN=${authority}`,
      )
    }
    const named = `subjectAltName=DNS:${name}`
    this.#sign('good', 'ours', `/CN=${name}`, named)
    this.#sign('expired', 'ours', `/CN=${name}`, named, true)
    this.#sign('client', 'ours', '/CN=postgres')
    this.#sign('stranger', 'other', '/CN=postgres')
  }

  pem(file: string): string {
    return readFileSync(path.join(this.folder, file), 'utf8')
  }

  pair(of: string): { certificate: string; key: Secret } {
    return { certificate: this.pem(`${of}.crt`), key: new Secret(this.pem(`${of}.key`)) }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }

  #openssl(args: string): void {
    execFileSync('openssl', args.split(' '), { cwd: this.folder, stdio: 'pipe' })
  }

  #sign(
    file: string,
    authority: string,
    subject: string,
    extension = 'basicConstraints=CA:FALSE',
    isExpired = false,
  ): void {
    this.#openssl(
      `req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${file}.key -out ${file}.csr -subj ${subject}`,
    )
    writeFileSync(path.join(this.folder, `${file}.ext`), extension)
    if (!isExpired) {
      this.#openssl(
        `x509 -req -in ${file}.csr -CA ${authority}.crt -CAkey ${authority}.key -CAcreateserial -days 2 -extfile ${file}.ext -out ${file}.crt`,
      )
      return
    }
    // Only `ca` takes dates of the past.
    writeFileSync(path.join(this.folder, 'index.txt'), '')
    writeFileSync(
      path.join(this.folder, 'ca.conf'),
      '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nrand_serial=yes\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n',
    )
    this.#openssl(
      `ca -batch -notext -config ca.conf -in ${file}.csr -cert ${authority}.crt -keyfile ${authority}.key -startdate 20190101000000Z -enddate 20200101000000Z -extfile ${file}.ext -out ${file}.crt`,
    )
  }
}

describe.each(servers)('TLS to $name', ({ available, binaries }) => {
  const isHere = available && hasOpenssl
  let certificates: Certificates
  let server: TestServer
  let base: TunnelOptions

  /** Has the server speak TLS with this certificate from now on. */
  async function serve(certificate: string): Promise<void> {
    const admin = new pg.Client({ connectionString: server.url.reveal() })
    await admin.connect()
    const { rows } = await admin.query('show data_directory')
    const folder = rows[0].data_directory as string
    const { uid, gid } = statSync(folder)
    for (const [from, to] of [
      [`${certificate}.crt`, 'server.crt'],
      [`${certificate}.key`, 'server.key'],
      ['ours.crt', 'root.crt'],
    ] as const) {
      const file = path.join(folder, to)
      copyFileSync(path.join(certificates.folder, from), file)
      chmodSync(file, 0o600)
      chownSync(file, uid, gid)
    }
    await admin.query("alter system set ssl_ca_file = 'root.crt'")
    await admin.query("alter system set ssl = 'on'")
    await admin.query('select pg_reload_conf()')
    await admin.end()
    const { fingerprint256 } = new X509Certificate(certificates.pem(`${certificate}.crt`))
    await until('the server shows its certificate', async () => (await fingerprint()) === fingerprint256)
  }

  /** Of the certificate that the server shows; undefined: none. */
  async function fingerprint(): Promise<string | undefined> {
    const socket = net.connect(server.port, '127.0.0.1')
    socket.write(Buffer.from('0000000804d2162f', 'hex'))
    const [answer] = (await once(socket, 'data')) as [Buffer]
    if (answer.toString() !== 'S') {
      socket.destroy()
      return undefined
    }
    const secured = tls.connect({ socket, rejectUnauthorized: false })
    await once(secured, 'secureConnect')
    const { fingerprint256 } = secured.getPeerCertificate()
    secured.destroy()
    return fingerprint256
  }

  beforeAll(async () => {
    if (!isHere) return
    certificates = new Certificates()
    server = await startServer(binaries)
    base = {
      address: `127.0.0.1:${server.port}`,
      user: server.user,
      password: server.password,
      analyser: await plainAnalyser(),
      masker: { rows: () => ({ maskedColumns: [], mask: rows => rows }), copy: () => undefined },
    }
  })
  afterAll(async () => {
    if (!isHere) return
    await server.remove()
    certificates.remove()
  })
  beforeEach(context => {
    if (!isHere) context.skip()
  })

  const verifyFull = (more: Partial<TestTunnelTls> = {}) =>
    ({ mode: 'verify-full', name, ca: certificates.pem('ours.crt'), ...more }) as const
  type TestTunnelTls = NonNullable<TunnelOptions['tls']>

  /** One connection through a tunnel: what a query gives, or what the client is told. */
  async function through(
    more: Partial<TunnelOptions>,
    sql = 'select ssl::text from pg_stat_ssl where pid = pg_backend_pid()',
  ) {
    const tunnel: TestTunnel = await openTunnel({ ...base, ...more })
    try {
      const client = await RawClient.connect({ port: tunnel.port, password: tunnel.secret })
      const said = await client.query(sql)
      client.close()
      return said.find(line => line.startsWith('D ')) ?? said.join()
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    } finally {
      await tunnel.close()
    }
  }

  test('a server without TLS is refused where it has to be verified', async () => {
    expect(await fingerprint()).toBeUndefined()
    for (const mode of ['verify-full', 'verify-ca', 'require'] as const)
      expect(await through({ tls: verifyFull({ mode }) })).toMatch(
        /^08001 agentgate: db: the server at .* offers no TLS$/,
      )
    expect(await through({})).toBe('D false')
  })

  describe('with a good certificate', () => {
    beforeAll(async () => {
      if (isHere) await serve('good')
    })

    test('its name and authority are as expected', async () => {
      expect(await through({ tls: verifyFull() })).toBe('D true')
      expect(await through({ tls: verifyFull({ mode: 'verify-ca', name: undefined }) })).toBe('D true')
      expect(await through({ tls: { mode: 'require', name: undefined, ca: undefined } })).toBe('D true')
    })

    test('another name is refused, whatever NODE_TLS_REJECT_UNAUTHORIZED says', async () => {
      process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
      try {
        expect(await through({ tls: verifyFull({ name: 'other.internal' }) })).toBe(
          `08001 agentgate: db: the server's certificate is for ${name}, not other.internal`,
        )
        expect(await through({ tls: verifyFull({ name: undefined }) })).toBe(
          `08001 agentgate: db: the server's certificate is for ${name}, not 127.0.0.1`,
        )
      } finally {
        delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
      }
    })

    test('an authority that is not trusted is refused', async () => {
      for (const ca of [certificates.pem('other.crt'), undefined])
        expect(await through({ tls: verifyFull({ ca }) })).toMatch(
          /^08001 agentgate: db: TLS with .* failed: no authority that is trusted here has signed its certificate$/,
        )
    })

    test('the password is proven on this very channel: whoever stands between gets nothing', async () => {
      // Takes both ends of TLS, with a certificate of its own, and passes what is said.
      const outer = net.createServer(socket => {
        socket.on('error', () => undefined)
        socket.once('data', () => {
          socket.write('S')
          const secured = new tls.TLSSocket(socket, {
            isServer: true,
            cert: certificates.pem('client.crt'),
            key: certificates.pem('client.key'),
          })
          const target = net.connect(server.port, '127.0.0.1')
          target.write(Buffer.from('0000000804d2162f', 'hex'))
          target.once('data', () => {
            const inner = tls.connect({ socket: target, rejectUnauthorized: false })
            for (const end of [secured, inner, target]) end.on('error', () => undefined)
            secured.pipe(inner).pipe(secured)
          })
        })
      })
      outer.listen(0, '127.0.0.1')
      await once(outer, 'listening')
      const address = `127.0.0.1:${(outer.address() as net.AddressInfo).port}`
      try {
        const said = await through({ address, tls: { mode: 'require', name: undefined, ca: undefined } })
        expect(said).toMatch(/SCRAM channel binding check failed/)
      } finally {
        outer.close()
      }
    })

    test('a client certificate stands in for a password, and only the right one', async () => {
      const admin = new pg.Client({ connectionString: server.url.reveal() })
      await admin.connect()
      const { rows } = await admin.query('show hba_file')
      const file = rows[0].hba_file as string
      const before = readFileSync(file, 'utf8')
      // Over TLS by certificate alone; without, as before.
      writeFileSync(file, `hostssl all all 127.0.0.1/32 cert\n${before}`)
      await admin.query('select pg_reload_conf()')
      const tlsSettings = verifyFull()
      try {
        await expect
          .poll(async () => await through({ tls: tlsSettings }), { timeout: 10_000 })
          .toMatch(/^28000 connection requires a valid client certificate/)
        const certificate = certificates.pair('client')
        expect(await through({ tls: tlsSettings, password: null, certificate })).toBe('D true')
        const stranger = certificates.pair('stranger')
        expect(await through({ tls: tlsSettings, password: null, certificate: stranger })).toMatch(
          /^08001 agentgate: db: the server hung up after TLS: it seems not to accept/,
        )
      } finally {
        writeFileSync(file, before)
        await admin.query('select pg_reload_conf()')
        await admin.end()
      }
    })
  })

  test('an expired certificate is refused', async () => {
    await serve('expired')
    expect(await through({ tls: verifyFull() })).toMatch(
      /^08001 agentgate: db: TLS with .* failed: its certificate has expired$/,
    )
  })

  describe('on the local listener', () => {
    const hello = (code: string) => Buffer.from(`00000008${code}`, 'hex')

    test('GSSENCRequest first is declined, then TLS or clear text goes on', async () => {
      const tunnel = await openTunnel(base)
      for (const isSecured of [true, false]) {
        const socket = net.connect(tunnel.port, '127.0.0.1')
        socket.write(hello('04d21630'))
        expect(((await once(socket, 'data')) as [Buffer])[0].toString()).toBe('N')
        let stream: net.Socket = socket
        if (isSecured) {
          socket.write(hello('04d2162f'))
          expect(((await once(socket, 'data')) as [Buffer])[0].toString()).toBe('S')
          stream = tls.connect({ socket, rejectUnauthorized: false })
        }
        const client = new RawClient(stream)
        await client.logIn({ port: 0, password: tunnel.secret })
        expect(await client.query('select 1')).toContain('D 1')
        client.close()
      }
      await tunnel.close()
    })

    test('direct TLS without ALPN is turned away', async () => {
      const tunnel = await openTunnel(base)
      const direct = new RawClient(tls.connect({ port: tunnel.port, host: '127.0.0.1', rejectUnauthorized: false }))
      direct.send(startupPacket(0, [['user', 'x']]))
      const told = await direct.next().then(
        ({ type, body }) => `${type} ${errorText(body)}`,
        (error: unknown) => String(error),
      )
      expect(told).toMatch(/ended|ALPN/)
      await tunnel.close()
    })
  })
})
