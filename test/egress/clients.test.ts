import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'

/** Loopback, and not what NO_PROXY names: a client inside has to go through the proxy to reach it. */
const address = '127.0.0.2'
const needs = [
  program('bwrap', 'apt-get install bubblewrap'),
  program('openssl'),
  program('curl'),
  program('npm'),
  program('python3'),
  program('git'),
  { name: 'a second loopback address', missing: process.platform === 'linux' ? undefined : 'Linux has it' },
]

describeWith('real clients through the egress proxy, confined', needs, () => {
  let place: Place
  let args: readonly string[] = []
  let work = ''
  let base: Record<'plain' | 'secure', string>
  const reached: string[] = []
  const servers: http.Server[] = []
  const files = new Map<string, { readonly type: string; readonly body: Buffer | string }>()

  const exec = async (command: readonly string[], more: readonly string[] = []) =>
    await place.run(['exec', '-r', 'web', ...args, ...more, '--', ...command], { cwd: work, deadlineMs: 120_000 })
  const sh = async (script: string) => await exec(['/bin/sh', '-c', script])

  beforeAll(async () => {
    place = new Place('', { PATH: process.env['PATH'] ?? '' })
    work = path.join(place.folder, 'work')
    mkdirSync(work)
    // npm behind a proxy looks for localhost in the certificate of a registry that is named by its address.
    execFileSync(
      'openssl',
      `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ../key.pem -out ca.pem -subj /CN=registry -addext subjectAltName=IP:${address},DNS:localhost`.split(
        ' ',
      ),
      { cwd: work, stdio: 'pipe' },
    )
    const answer: http.RequestListener = (request, response) => {
      reached.push(request.url ?? '')
      const found = files.get(request.url ?? '')
      response.writeHead(found === undefined ? 404 : 200, { 'content-type': found?.type ?? 'text/plain' })
      response.end(found?.body ?? 'not here')
    }
    const listen = async (server: http.Server) => {
      servers.push(server.listen(0, address))
      await once(server, 'listening')
      return (server.address() as AddressInfo).port
    }
    const plain = await listen(http.createServer(answer))
    const key = readFileSync(path.join(place.folder, 'key.pem'))
    const secure = await listen(https.createServer({ key, cert: readFileSync(path.join(work, 'ca.pem')) }, answer))
    base = { plain: `http://${address}:${plain}`, secure: `https://${address}:${secure}` }
    writeFileSync(
      place.policy,
      `version: 1\nresources:\n  web:\n    kind: egress\n    hosts: [ "${address}:${plain}", "${address}:${secure}" ]\n`,
    )
    args = await place.trusted()
    files.set('/file', { type: 'text/plain', body: 'fetched\n' })
  })
  afterAll(() => servers.forEach(server => server.close()))

  it('curl fetches from what is listed, by TLS and plain, and from nothing else', async () => {
    const ended = await sh(`curl -sS --cacert ca.pem ${base.secure}/file && curl -sS ${base.plain}/file`)
    expect(ended).toMatchObject({ code: 0, stdout: 'fetched\nfetched\n', stderr: '' })
    const other = await sh(`curl -sS https://${address}:9/`)
    expect([other.code, other.stderr]).toEqual([56, expect.stringContaining('403')])
    const around = await sh(`curl -sS -m 5 --noproxy '*' ${base.plain}/file`)
    expect(around.code).toBe(7)
    const record = await place.run([
      'sessions',
      'show',
      (await place.run(['sessions', 'list', '--json'])).stdout.match(/s_\w+/g)?.at(-1) ?? '',
    ])
    expect(record.stdout).toContain(`CONNECT ${address}`)
  })

  it('npm ci installs a package from the registry that is listed', async () => {
    const folder = path.join(place.folder, 'package')
    mkdirSync(folder)
    writeFileSync(path.join(folder, 'package.json'), '{"name":"small","version":"1.0.0","main":"index.js"}')
    writeFileSync(path.join(folder, 'index.js'), 'module.exports = "small works"')
    execFileSync('tar', ['czf', 'small.tgz', '-C', place.folder, 'package'], { cwd: place.folder })
    const tarball = readFileSync(path.join(place.folder, 'small.tgz'))
    const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
    const resolved = `${base.secure}/small/-/small-1.0.0.tgz`
    files.set('/small/-/small-1.0.0.tgz', { type: 'application/octet-stream', body: tarball })
    const version = { name: 'small', version: '1.0.0', dist: { tarball: resolved, integrity } }
    files.set('/small', {
      type: 'application/json',
      body: JSON.stringify({ name: 'small', 'dist-tags': { latest: '1.0.0' }, versions: { '1.0.0': version } }),
    })
    writeFileSync(path.join(work, 'package.json'), '{"name":"app","version":"1.0.0","dependencies":{"small":"1.0.0"}}')
    const flags = `--registry=${base.secure}/ --cafile=ca.pem --no-audit --no-fund --no-update-notifier`
    const installed = await sh(
      `npm install ${flags} && rm -rf node_modules && npm ci ${flags} && node -p 'require("small")'`,
    )
    expect(installed.stderr).not.toMatch(/ERR/)
    expect(installed.stdout).toMatch(/small works\n$/)
    expect(installed.code).toBe(0)
    expect(reached).toContain('/small/-/small-1.0.0.tgz')
  })

  it('pip installs a package from the index that is listed', async () => {
    const name = 'small_py-1.0-py3-none-any.whl'
    execFileSync('python3', [
      '-c',
      `import zipfile, sys
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    wheel.writestr('small_py.py', 'said = "small works"')
    wheel.writestr('small_py-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: small-py\\nVersion: 1.0\\n')
    wheel.writestr('small_py-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr('small_py-1.0.dist-info/RECORD', '')`,
      path.join(place.folder, name),
    ])
    files.set(`/files/${name}`, { type: 'application/zip', body: readFileSync(path.join(place.folder, name)) })
    files.set('/simple/small-py/', { type: 'text/html', body: `<a href="/files/${name}">${name}</a>` })
    const installed = await sh(
      `python3 -m pip install -q --disable-pip-version-check --no-cache-dir --target lib --cert ca.pem -i ${base.secure}/simple small-py && PYTHONPATH=lib python3 -c 'import small_py; print(small_py.said)'`,
    )
    expect(installed.stdout).toBe('small works\n')
    expect(installed.code).toBe(0)
  })

  it('git clones over the proxy', async () => {
    const bare = path.join(place.folder, 'repo.git')
    const git = (...words: string[]) =>
      execFileSync('git', ['-c', 'user.name=m', '-c', 'user.email=m@example.com', ...words], { stdio: 'pipe' })
    git('init', '-q', path.join(place.folder, 'repo'))
    writeFileSync(path.join(place.folder, 'repo', 'README'), 'cloned\n')
    git('-C', path.join(place.folder, 'repo'), 'add', '.')
    git('-C', path.join(place.folder, 'repo'), 'commit', '-qm', 'first')
    git('clone', '-q', '--bare', path.join(place.folder, 'repo'), bare)
    git('-C', bare, 'update-server-info')
    // The dumb protocol: files, as any web server gives them out.
    for (const file of execFileSync('find', ['.', '-type', 'f'], { cwd: bare, encoding: 'utf8' }).trim().split('\n'))
      files.set(`/repo.git/${file.slice(2)}`, {
        type: 'application/octet-stream',
        body: readFileSync(path.join(bare, file)),
      })
    files.set('/repo.git/info/refs?service=git-upload-pack', {
      type: 'text/plain',
      body: readFileSync(path.join(bare, 'info/refs')),
    })
    const cloned = await sh(
      `GIT_SSL_CAINFO=$PWD/ca.pem git clone -q ${base.secure}/repo.git cloned && cat cloned/README`,
    )
    expect(cloned).toMatchObject({ code: 0, stdout: 'cloned\n' })
  })
})
