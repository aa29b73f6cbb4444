import fs from 'node:fs'
import http from 'node:http'
import { hash } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import type { SessionId } from '../../src/ids.ts'
import { Copies } from '../../src/recording/sync/copies.ts'
import { openTarget } from '../../src/recording/sync/place.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { syncAll } from '../../src/recording/sync/sync-all.ts'
import { openSyncedRecorder } from '../../src/recording/sync/synced-recorder.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import { describeWith } from '../support/needs.ts'
import { agentgateBin } from '../support/agentgate.ts'
import { runProgram, until } from '../support/processes.ts'
import { bucket, faultyProxy, makeBucket, moto, s3, s3Environment, S3Server, startMoto } from './s3-server.ts'
import { recordStatement, sampleStart, temporaryFolder } from './sample.ts'

// The AWS SDK's chain reads the environment and the home folder of the process: each test gives it its own.

const key = s3Environment.AWS_ACCESS_KEY_ID
const secret = s3Environment.AWS_SECRET_ACCESS_KEY
const nextYear = () => new Date(Date.now() + 365 * 24 * 3_600_000).toISOString()

let home: ReturnType<typeof temporaryFolder>
let local: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  home = temporaryFolder()
  local = temporaryFolder()
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) vi.stubEnv(name, undefined)
  vi.stubEnv('HOME', home.path)
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true')
})
afterEach(() => {
  vi.unstubAllEnvs()
  home[Symbol.dispose]()
  local[Symbol.dispose]()
})

function inHome(name: string, text: string, mode = 0o600): string {
  const file = path.join(home.path, name)
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, text, { mode })
  return file
}

/** Records something and ends, so that all of it is uploaded; the folder of the recording, and what was said. */
async function record(endpoint: string): Promise<{ readonly folder: string; readonly warnings: readonly string[] }> {
  const warnings: string[] = []
  const recorder = await openSyncedRecorder(
    {
      folder: local.path,
      start: sampleStart(),
      key: newSessionKey(),
      limits: { segmentBytes: 1500 },
      onWarning: text => warnings.push(text),
    },
    { to: `s3://${bucket}/team`, endpoint },
    process.env,
  )
  for (let count = 0; count < 6; count++) {
    recordStatement(recorder, `select ${count}`, Buffer.alloc(400, count))
    recorder.commit()
  }
  await recorder.close('done', 0)
  return { folder: recorder.path, warnings }
}

async function synced(): Promise<readonly object[]> {
  const results: object[] = []
  for await (const result of syncAll(local.path, process.env)) results.push(result)
  return results
}

/** Answers with what `answer` makes of each request. */
async function serve(
  answer: (request: http.IncomingMessage) => object | string | null,
): Promise<{ readonly url: string; readonly asked: string[] } & AsyncDisposable> {
  const asked: string[] = []
  const server = http.createServer((request, response) => {
    asked.push(`${request.method ?? ''} ${request.url ?? ''}`)
    const said = answer(request)
    if (said === null) response.writeHead(401).end()
    else response.end(typeof said === 'string' ? said : JSON.stringify(said))
  })
  server.listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

describeWith('credentials for S3', [s3, moto], () => {
  let aws: Awaited<ReturnType<typeof startMoto>>
  let disk: ReturnType<typeof temporaryFolder>
  let server: S3Server
  beforeAll(async () => {
    disk = temporaryFolder()
    server = await S3Server.start(disk.path)
    aws = await startMoto()
    await makeBucket(aws.endpoint, bucket)
  }, 90_000)
  afterAll(async () => {
    await aws[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
    disk[Symbol.dispose]()
  })

  async function expectUploaded(endpoint = server.endpoint): Promise<void> {
    const { folder, warnings } = await record(endpoint)
    expect(await synced()).toMatchObject([{ state: 'synced', waiting: 0, error: null }])
    expect(warnings).toEqual([])
    using fetched = temporaryFolder()
    const target = await openTarget({ to: `s3://${bucket}/team`, endpoint }, process.env)
    const copies = new Copies(target, new AbortController().signal)
    const copy = await copies.fetch(path.basename(folder) as SessionId, fetched.path, 'all')
    expect(await verifyRecording(copy, Date.now())).toMatchObject({ result: 'whole' })
    // And what is shipped, which has the SDK bundled.
    const env = { ...process.env, AGENTGATE_HOME: path.join(home.path, 'agentgate'), AWS_ENDPOINT_URL_S3: endpoint }
    const listed = await runProgram(agentgateBin, ['sessions', 'list', '--from', `s3://${bucket}/team`], { env })
    expect(listed).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining(path.basename(folder)) as string,
    })
  }

  /** The same at moto, which takes any key: these were to be shown. */
  async function expectUploadedWith(keyId: RegExp, token: RegExp): Promise<void> {
    const shown = new Set<string>()
    await using proxy = await faultyProxy(aws.port, ({ headers }) => {
      const [, id = ''] = /Credential=([^/]+)\//.exec(headers.authorization ?? '') ?? []
      if (keyId.test(id) && token.test(String(headers['x-amz-security-token']))) return { kind: 'pass' }
      shown.add(id)
      return { kind: 'status', status: 403, code: 'InvalidAccessKeyId' }
    })
    await expectUploaded(proxy.endpoint)
    expect([...shown]).toEqual([])
  }

  const keys = `aws_access_key_id = ${key}\naws_secret_access_key = ${secret}\n`

  it.each<[name: string, prepare: () => void]>([
    [
      'the environment',
      () => {
        vi.stubEnv('AWS_ACCESS_KEY_ID', key)
        vi.stubEnv('AWS_SECRET_ACCESS_KEY', secret)
      },
    ],
    ['the default profile', () => inHome('.aws/credentials', `[default]\n${keys}`)],
    [
      'a named profile',
      () => {
        inHome('.aws/credentials', `[default]\naws_access_key_id = x\naws_secret_access_key = y\n[work]\n${keys}`)
        vi.stubEnv('AWS_PROFILE', 'work')
      },
    ],
    ['a profile of ~/.aws/config', () => inHome('.aws/config', `[default]\n${keys}`)],
    [
      'files elsewhere',
      () => vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', inHome('elsewhere/credentials', `[default]\n${keys}`)),
    ],
    [
      'a command',
      () => {
        const said = { Version: 1, AccessKeyId: key, SecretAccessKey: secret, Expiration: nextYear() }
        const command = inHome('give', `#!/bin/sh\ncat <<'END'\n${JSON.stringify(said)}\nEND\n`, 0o700)
        inHome('.aws/config', `[default]\ncredential_process = ${command}\n`)
      },
    ],
  ])(
    'come from %s',
    async (_, prepare) => {
      prepare()
      await expectUploaded()
    },
    30_000,
  )

  it('come from a container’s endpoint, with its token', async () => {
    await using container = await serve(({ headers }) =>
      headers.authorization === 'let me in'
        ? { AccessKeyId: key, SecretAccessKey: secret, Token: 'T1', Expiration: nextYear() }
        : null,
    )
    vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', `${container.url}/credentials`)
    vi.stubEnv('AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE', inHome('token', 'let me in'))
    await expectUploadedWith(/^tester$/, /^T1$/)
    expect(container.asked[0]).toBe('GET /credentials')
  }, 30_000)

  it('come from an EC2 instance’s metadata', async () => {
    await using instance = await serve(({ method, url, headers }) => {
      if (method === 'PUT' && url === '/latest/api/token') return 'session'
      if (headers['x-aws-ec2-metadata-token'] !== 'session') return null
      if (url === '/latest/meta-data/iam/security-credentials/') return 'recorder'
      return {
        ...{ Code: 'Success', Type: 'AWS-HMAC', LastUpdated: new Date().toISOString() },
        ...{ AccessKeyId: key, SecretAccessKey: secret, Token: 'T1', Expiration: nextYear() },
      }
    })
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', undefined)
    vi.stubEnv('AWS_EC2_METADATA_SERVICE_ENDPOINT', instance.url)
    await expectUploadedWith(/^tester$/, /^T1$/)
    expect(instance.asked).toContain('GET /latest/meta-data/iam/security-credentials/recorder')
  }, 30_000)

  it('come from who logged in by SSO', async () => {
    await using portal = await serve(({ headers }) =>
      headers['x-amz-sso_bearer_token'] === 'logged in'
        ? {
            roleCredentials: {
              accessKeyId: key,
              secretAccessKey: secret,
              sessionToken: 'T1',
              expiration: Date.now() + 3_600_000,
            },
          }
        : null,
    )
    const start = 'https://acme.awsapps.com/start'
    inHome(
      '.aws/config',
      `[default]\nsso_start_url = ${start}\nsso_region = eu-central-1\nsso_account_id = 123456789012\nsso_role_name = recorder\n`,
    )
    inHome(
      `.aws/sso/cache/${hash('sha1', start)}.json`,
      JSON.stringify({ startUrl: start, region: 'eu-central-1', accessToken: 'logged in', expiresAt: nextYear() }),
    )
    vi.stubEnv('AWS_ENDPOINT_URL_SSO', portal.url)
    await expectUploadedWith(/^tester$/, /^T1$/)
    expect(portal.asked[0]).toMatch(/^GET \/federation\/credentials\?/)
  }, 30_000)

  it('are fetched again when they run out in the middle of an upload', async () => {
    let token = 0
    await using container = await serve(() => {
      token += 1
      return { AccessKeyId: key, SecretAccessKey: secret, Token: `T${token}`, Expiration: nextYear() }
    })
    vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', `${container.url}/credentials`)
    const taken = new Map<string, number>()
    await using proxy = await faultyProxy(aws.port, ({ headers }) => {
      const shown = String(headers['x-amz-security-token'])
      taken.set(shown, (taken.get(shown) ?? 0) + 1)
      const isOver = shown !== `T${token}` || (token < 3 && (taken.get(shown) ?? 0) > 3)
      return isOver ? { kind: 'status', status: 400, code: 'ExpiredToken' } : { kind: 'pass' }
    })
    await expectUploaded(proxy.endpoint)
    expect([...taken.keys()].slice(0, 3)).toEqual(['T1', 'T2', 'T3'])
  }, 30_000)

  it.each<[name: string, prepare: () => void, says: RegExp]>([
    ['none at all', () => undefined, /there are no AWS credentials \(/],
    [
      'a profile that is not there',
      () => {
        inHome('.aws/credentials', `[default]\n${keys}`)
        vi.stubEnv('AWS_PROFILE', 'nobody')
      },
      /there are no AWS credentials \(/,
    ],
    [
      'a command that fails with a secret in its words',
      () => inHome('.aws/config', `[default]\ncredential_process = echo hunter2 && exit 1\n`),
      /AWS credentials/,
    ],
    [
      'an endpoint that is away',
      () => vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', 'http://127.0.0.1:1/credentials'),
      /AWS credentials/,
    ],
  ])(
    '%s is said, and everything stays here',
    async (_, prepare, says) => {
      prepare()
      const { folder, warnings } = await record(server.endpoint)
      await until('a warning', () => warnings.length > 0)
      expect(warnings.join()).toMatch(says)
      expect(warnings.join()).not.toContain('hunter2')
      const [result] = await synced()
      expect(result).toMatchObject({ state: 'failed', uploaded: 0, error: expect.stringMatching(says) as unknown })
      expect(await verifyRecording(folder, Date.now())).toMatchObject({ result: 'whole' })
    },
    60_000,
  )

  const role = 'arn:aws:iam::123456789012:role/recorder'

  it('come from AWS’s token service for a web identity token, as Kubernetes and CI give it', async () => {
    vi.stubEnv('AWS_ROLE_ARN', role)
    vi.stubEnv('AWS_WEB_IDENTITY_TOKEN_FILE', inHome('token', 'e30.e30.e30'))
    vi.stubEnv('AWS_ENDPOINT_URL_STS', aws.endpoint)
    await expectUploadedWith(/^ASIA/, /./)
  }, 60_000)

  it('come from AWS’s token service for a role that a profile assumes', async () => {
    inHome('.aws/credentials', `[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = x\n`)
    inHome('.aws/config', `[profile recorder]\nrole_arn = ${role}\nsource_profile = base\n`)
    vi.stubEnv('AWS_PROFILE', 'recorder')
    vi.stubEnv('AWS_ENDPOINT_URL_STS', aws.endpoint)
    await expectUploadedWith(/^ASIA/, /./)
  }, 60_000)
})

describe('the environment’s own keys', () => {
  it('do without the SDK', async () => {
    const { awsCredentials } = await import('../../src/recording/sync/aws-credentials.ts')
    const source = awsCredentials({ AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_SESSION_TOKEN: '' }, 'x')
    expect(await source(true)).toEqual({ accessKeyId: 'a', secretAccessKey: 'b', sessionToken: undefined })
  })
})
