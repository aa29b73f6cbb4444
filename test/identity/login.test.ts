import { createPublicKey } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import * as jose from 'jose'
import { Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { runProgram } from '../support/processes.ts'
import { audience, clientId, machine, newKey, TestProvider } from './provider.ts'

describeWith('login with a real OpenID provider', [program('openssl')], () => {
  const owned = new Owned()
  let idp: TestProvider
  let place: Place

  beforeAll(async () => {
    idp = owned.add(await TestProvider.start())
  })
  afterAll(async () => await owned.close())
  beforeEach(() => {
    idp.before = (request, response) => idp.interact(request, response)
    place = placeFor(idp)
  })

  const policyOf = (provider: TestProvider, more = '') => `version: 1
issuers:
  - { issuer: "${provider.issuer}", audience: "${audience}", client-id: ${clientId}${more} }
access:
  - { who: { group: eng }, resources: [ api ], scopes: [ all ] }
  - { who: { user: "${machine.id}" }, resources: [ api ], scopes: [ all ] }
resources:
  api: { kind: http, address: "127.0.0.1:9", tls: off, credential: { issuer: none }, scopes: { all: {} } }
`
  const placeFor = (provider: TestProvider, more = '') =>
    new Place(policyOf(provider, more), { NODE_EXTRA_CA_CERTS: provider.caFile, DBUS_SESSION_BUS_ADDRESS: '' })

  const start = async (at = place, more: readonly string[] = []) => {
    const running = at.start(['login', ...(await at.trusted()), ...more])
    const code = /code {2}(\S+)/
    return { running, code: async () => (await running.said(code, 'stderr'))[1] ?? '' }
  }
  const login = async (at = place, provider = idp) => {
    const { running, code } = await start(at)
    await provider.confirm(await code(), { kind: 'yes' })
    return await running.finished()
  }
  const whoami = async (at = place, env: Readonly<Record<string, string>> = {}) =>
    await at.run(['whoami', ...(await at.trusted())], { env })

  it('shows a code, waits, and knows who confirmed it', async () => {
    const { code, stdout, stderr } = await login()
    expect(code).toBe(0)
    expect(stdout).toMatch(/^logged in as maria@example\.com {2}\(eng, dba\) {2}until \S+.*, then renewed by itself\n$/)
    expect(stderr).toMatch(/^open {2}https:\/\/localhost:\d+\/device\ncode {2}\S+\nwaiting, 10 min at most/)
    const who = await whoami()
    expect(who.stdout).toMatch(/^maria@example\.com {2}\(eng, dba\) {2}by https:/)
    // What the policy gives to group eng is theirs: it is the target that does not answer.
    const connect = await place.run(['connect', 'api', '--json', ...(await place.trusted())])
    expect(connect.stderr).toMatch(/^error: cannot reach api at 127\.0\.0\.1:9/)
    // No keychain here: the file is for this user alone, and that was said.
    const file = path.join(place.home, 'state', 'logins.json')
    expect(stderr).toContain(`notice: no keychain here; the tokens are in ${file}`)
    expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  it('is somebody else for a policy only once logged in', async () => {
    const before = await whoami()
    expect(before).toMatchObject({ code: 3 })
    expect(before.stderr).toBe('error: you are not logged in\nhint:  agentgate login\n')
    const connect = await place.run(['connect', 'api', '--json', ...(await place.trusted())])
    expect(connect.code).toBe(3)
  })

  it('says in JSON what there is to do and what came of it', async () => {
    const { running } = await start(place, ['--json'])
    const [line] = await running.said(/\{"event":"device-code".*\n/)
    await idp.confirm(JSON.parse(line).code, { kind: 'yes' })
    const { stdout } = await running.finished()
    const last = JSON.parse(stdout.trim().split('\n').at(-1)!)
    expect(last).toMatchObject({
      event: 'logged-in',
      principal: 'maria@example.com',
      groups: ['eng', 'dba'],
      kept: 'file',
    })
    expect(stdout).not.toMatch(/eyJ/)
  })

  // RFC 8628 §3.5, each branch.
  it('waits for as long as nobody has confirmed', async () => {
    const { running, code } = await start()
    const shown = await code()
    const polls = () => idp.requests.filter(each => each === 'POST /token').length
    const before = polls()
    await expect.poll(polls, { timeout: 30_000 }).toBeGreaterThan(before + 1) // authorization_pending, each time
    await idp.confirm(shown, { kind: 'yes' })
    expect((await running.finished()).code).toBe(0)
  })

  it('ends when the provider no longer knows the code', async () => {
    const { running, code } = await start()
    await idp.confirm(await code(), { kind: 'expire' })
    const { code: exit, stderr } = await running.finished()
    expect({ exit, stderr }).toMatchObject({
      exit: 3,
      stderr: expect.stringMatching(/error: (nobody confirmed|.* refused the login)/),
    })
  })

  it('waits slower when told to', async () => {
    let told = 0
    let last = 0
    const gaps: number[] = []
    idp.before = (request, response) => {
      if (request.url !== '/token') return false
      const now = performance.now()
      if (last > 0) gaps.push(now - last)
      last = now
      if (told++ > 0) return false
      request.resume()
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"slow_down"}')
      return true
    }
    const { running, code } = await start()
    await idp.confirm(await code(), { kind: 'yes' })
    expect((await running.finished()).code).toBe(0)
    expect(gaps[0]).toBeGreaterThan(5900) // one second, and five more
  }, 60_000)

  it('ends when the person refuses', async () => {
    const { running, code } = await start()
    await idp.confirm(await code(), { kind: 'no' })
    expect(await running.finished()).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('refused in the browser'),
    })
    expect((await whoami()).code).toBe(3)
  })

  it('ends when the code has expired, by the provider’s word', async () => {
    idp.before = (request, response) => {
      if (request.url !== '/token') return false
      request.resume()
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"expired_token"}')
      return true
    }
    const { running } = await start()
    const { code, stderr } = await running.finished()
    expect(code).toBe(3)
    expect(stderr).toContain('error: nobody confirmed the code in time\nhint:  agentgate login')
  })

  it('ends when the code has expired and nobody says so', async () => {
    idp.before = (request, response) => {
      if (request.url !== '/device/auth') return false
      request.resume()
      response.writeHead(200, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          device_code: 'd',
          user_code: 'AAAA-BBBB',
          verification_uri: `${idp.issuer}/device`,
          expires_in: 2,
          interval: 1,
        }),
      )
      return true
    }
    idp.before = ((before: typeof idp.before) => (request, response) => {
      if (request.url !== '/token') return before(request, response)
      request.resume()
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"authorization_pending"}')
      return true
    })(idp.before)
    const { code, stderr } = await (await start()).running.finished()
    expect(code).toBe(3)
    expect(stderr).toContain('nobody confirmed the code in time')
  })

  it('never shows an address that is no web page', async () => {
    idp.before = (request, response) => {
      if (request.url !== '/device/auth') return false
      request.resume()
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(
          JSON.stringify({ device_code: 'd', user_code: 'A', verification_uri: 'file:///etc/passwd', expires_in: 60 }),
        )
      return true
    }
    const { code, stderr } = await (await start()).running.finished()
    expect(code).toBe(3)
    expect(stderr).toContain('an address that is not https')
  })

  it('logs in by the browser, with PKCE, on a loopback address', async () => {
    const running = place.start(['login', '--browser', ...(await place.trusted())])
    const [, address = ''] = await running.said(/open {2}(\S+)/, 'stderr')
    expect(address).toContain('code_challenge_method=S256')
    // A browser that follows where it is sent, and keeps cookies.
    const script = ['-sS', '-L', '--max-redirs', '12', '--cacert', idp.caFile, '-b', '', '-c', '/dev/null', address]
    const browser = await runProgram('curl', script)
    expect(browser.stdout).toContain('Back to the terminal')
    expect(await running.finished()).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('logged in as maria@example.com'),
    })
  })

  it('does not take a callback that somebody else sent', async () => {
    const running = place.start(['login', '--browser', ...(await place.trusted())])
    const [, address = ''] = await running.said(/open {2}(\S+)/, 'stderr')
    const redirect = new URL(address).searchParams.get('redirect_uri')!
    const forged = await fetch(`${redirect}?code=stolen&state=guessed&iss=${encodeURIComponent(idp.issuer)}`)
    expect(forged.status).toBe(404)
    // And the login goes on.
    const script = ['-sS', '-L', '--max-redirs', '12', '--cacert', idp.caFile, '-b', '', '-c', '/dev/null', address]
    await runProgram('curl', script)
    expect((await running.finished()).code).toBe(0)
  })

  it('takes its tokens back at the provider, and forgets them', async () => {
    await login()
    const file = path.join(place.home, 'state', 'logins.json')
    const refreshToken = refreshTokenIn(file)
    const { code, stdout } = await place.run(['logout'])
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: `logged out of ${idp.issuer}, and its tokens were taken back\n`,
    })
    expect(readFileSync(file, 'utf8')).not.toContain(refreshToken)
    expect((await whoami()).code).toBe(3)
    const again = await post(idp, { grant_type: 'refresh_token', refresh_token: refreshToken, client_id: clientId })
    expect(again).toMatchObject({ error: 'invalid_grant' })
  })

  it('renews by itself, once though many ask at a time, and keeps the rotated token', async () => {
    const short = owned.add(await TestProvider.start({ idTokenSeconds: 30 })) // always within a minute of its end
    const at = placeFor(short)
    await login(at, short)
    const file = path.join(at.home, 'state', 'logins.json')
    const before = readFileSync(file, 'utf8')
    const answers = await Promise.all([1, 2, 3, 4].map(async () => await whoami(at)))
    expect(answers.map(({ code }) => code)).toEqual([0, 0, 0, 0])
    expect(readFileSync(file, 'utf8')).not.toBe(before)
    expect((await whoami(at)).code).toBe(0)
  }, 60_000)

  it('is logged out once the provider no longer renews', async () => {
    const short = owned.add(await TestProvider.start({ idTokenSeconds: 30 }))
    const at = placeFor(short)
    await login(at, short)
    const file = path.join(at.home, 'state', 'logins.json')
    const refreshToken = refreshTokenIn(file)
    await post(short, { token: refreshToken, client_id: clientId }, '/token/revocation')
    expect(await whoami(at)).toMatchObject({ code: 3, stderr: expect.stringContaining('you are not logged in') })
  })

  it('uses what still counts while the provider is away, and loses nothing by it', async () => {
    const short = owned.add(await TestProvider.start({ idTokenSeconds: 30 }))
    const at = placeFor(short)
    await login(at, short)
    const file = path.join(at.home, 'state', 'logins.json')
    const before = readFileSync(file, 'utf8')
    short.before = request => {
      if (request.url !== '/token') return false
      request.socket.destroy()
      return true
    }
    expect((await whoami(at)).code).toBe(0)
    // Once it no longer counts by itself, it is said what is wrong, and the login is kept for when it is back.
    expect(readFileSync(file, 'utf8')).toBe(before)
    ageToken(file)
    const away = await whoami(at)
    expect(away).toMatchObject({ code: 6, stderr: expect.stringContaining('did not answer') })
    short.before = () => false
    expect((await whoami(at)).code).toBe(0)
  })

  it('does not take a renewed login that is somebody else’s', async () => {
    const short = owned.add(await TestProvider.start({ idTokenSeconds: 30 }))
    const at = placeFor(short)
    await login(at, short)
    const eve = await new jose.SignJWT({ email: 'eve@example.com', email_verified: true })
      .setProtectedHeader({ alg: 'ES256', kid: short.key.kid })
      .setIssuer(short.issuer)
      .setAudience(clientId)
      .setSubject('eve')
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(await jose.importJWK(short.key.private, 'ES256'))
    short.before = (request, response) => {
      if (request.url !== '/token') return false
      request.resume()
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ access_token: 'a', token_type: 'bearer', expires_in: 300, id_token: eve }))
      return true
    }
    expect(await whoami(at)).toMatchObject({ code: 3, stderr: expect.stringContaining('as somebody else’s') })
    expect(await whoami(at)).toMatchObject({ code: 3, stderr: expect.stringContaining('you are not logged in') })
  })

  it('logs out here though the provider is away, and says so', async () => {
    await login()
    idp.before = request => {
      request.socket.destroy()
      return true
    }
    const { code, stdout, stderr } = await place.run(['logout'])
    expect({ code, stdout }).toEqual({ code: 0, stdout: `logged out of ${idp.issuer}\n` })
    expect(stderr).toMatch(/^warning: removed here, but not taken back at the provider: .* did not answer/)
    idp.before = () => false
    expect((await whoami()).code).toBe(3)
  })

  it('says that the provider does not answer, at each step', async () => {
    const gone = (url: string) => {
      idp.before = request => {
        if (!(request.url ?? '').startsWith(url)) return false
        request.socket.destroy()
        return true
      }
    }
    for (const url of ['/.well-known', '/device/auth', '/token', '/jwks']) {
      const at = placeFor(idp)
      gone(url)
      const { running, code } = await start(at)
      const confirmed = code().then(
        async shown => await idp.confirm(shown, { kind: 'yes' }),
        () => undefined,
      )
      const { code: exit, stderr } = await running.finished()
      await confirmed
      expect({ url, exit, stderr }).toMatchObject({ exit: 6, stderr: expect.stringContaining('did not answer') })
    }
  }, 60_000)

  describe('a job’s own token', () => {
    const sign = async (
      claims: jose.JWTPayload,
      change: (jwt: jose.SignJWT) => jose.SignJWT = jwt => jwt,
      key = idp.key,
    ) =>
      await change(
        new jose.SignJWT({ groups: ['eng'], repository: 'acme/shop', ...claims })
          .setProtectedHeader({ alg: 'ES256', kid: key.kid })
          .setIssuer(idp.issuer)
          .setAudience(audience)
          .setSubject('repo:acme/shop')
          .setIssuedAt()
          .setExpirationTime('5m'),
      ).sign(await jose.importJWK(key.private, 'ES256'))
    const present = async (token: string, at = place) => await whoami(at, { AGENTGATE_ID_TOKEN: token })

    it('is taken from the environment or a file, without a login', async () => {
      const token = await sign({})
      expect(await present(token)).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/^repo:acme\/shop {2}\(eng\)/),
      })
      const file = path.join(place.folder, 'token')
      writeFileSync(file, `${token}\n`)
      expect((await whoami(place, { AGENTGATE_ID_TOKEN_FILE: file })).code).toBe(0)
    })

    const seconds = () => Math.floor(Date.now() / 1000)
    const b64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    it.each<[string, RegExp, () => Promise<string>]>([
      [
        'meant for somebody else',
        /meant for somebody else \(aud\)/,
        async () => await sign({}, jwt => jwt.setAudience('other')),
      ],
      ['expired', /it has expired/, async () => await sign({}, jwt => jwt.setExpirationTime(seconds() - 300))],
      ['from the future', /from the future/, async () => await sign({}, jwt => jwt.setNotBefore(seconds() + 600))],
      ['made later than now', /from the future/, async () => await sign({}, jwt => jwt.setIssuedAt(seconds() + 600))],
      [
        'of another issuer',
        /does not know who issued it/,
        async () => await sign({}, jwt => jwt.setIssuer('https://evil.example')),
      ],
      [
        'without an end',
        /its claim exp does not hold/,
        async () => {
          const { private: jwk, kid } = idp.key
          return await new jose.SignJWT({ sub: 'x' })
            .setProtectedHeader({ alg: 'ES256', kid })
            .setIssuer(idp.issuer)
            .setAudience(audience)
            .setIssuedAt()
            .sign(await jose.importJWK(jwk, 'ES256'))
        },
      ],
      [
        'of a key that is not the provider’s',
        /no key of its issuer signed it/,
        async () => await sign({}, jwt => jwt, newKey()),
      ],
      [
        'of a key that only says so',
        /its signature is wrong/,
        async () => await sign({}, jwt => jwt, { ...newKey(), kid: idp.key.kid }),
      ],
      [
        'without a signature (alg none)',
        /not signed in a way|malformed/,
        async () =>
          `${b64({ alg: 'none' })}.${b64({ iss: idp.issuer, aud: audience, sub: 'x', exp: seconds() + 300, iat: seconds() })}.`,
      ],
      [
        'signed by the public key as if it were a secret',
        /not signed in a way/,
        async () => {
          const { d: _, ...jwk } = idp.key.private
          const secret = new TextEncoder().encode(JSON.stringify(jwk))
          return await new jose.SignJWT({ sub: 'x' })
            .setProtectedHeader({ alg: 'HS256', kid: idp.key.kid })
            .setIssuer(idp.issuer)
            .setAudience(audience)
            .setIssuedAt()
            .setExpirationTime('5m')
            .sign(secret)
        },
      ],
      [
        'signed by the public key’s own text as if it were a secret',
        /not signed in a way/,
        async () => {
          const { d: _, ...jwk } = idp.key.private
          const text = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
          return await new jose.SignJWT({ sub: 'x' })
            .setProtectedHeader({ alg: 'HS256' })
            .setIssuer(idp.issuer)
            .setAudience(audience)
            .setIssuedAt()
            .setExpirationTime('5m')
            .sign(new TextEncoder().encode(text.toString()))
        },
      ],
      [
        'that brings its own key (jwk, jku)',
        /no key of its issuer signed it/,
        async () => {
          const own = newKey()
          const { d: _, ...jwk } = own.private
          return await new jose.SignJWT({ groups: ['eng'] })
            .setProtectedHeader({ alg: 'ES256', kid: own.kid, jwk: jwk, jku: 'https://evil.example/jwks' })
            .setIssuer(idp.issuer)
            .setAudience(audience)
            .setSubject('x')
            .setIssuedAt()
            .setExpirationTime('5m')
            .sign(await jose.importJWK(own.private, 'ES256'))
        },
      ],
      ['no token at all', /it is no JWT/, async () => 'hunter2'],
    ])('counts for nothing: %s', async (_name, why, make) => {
      const token = await make()
      const { code, stdout, stderr } = await present(token)
      expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
      expect(stderr).toMatch(why)
      expect(stderr).not.toContain(token.slice(-20))
    })

    it('counts with a clock that is a minute off', async () => {
      expect((await present(await sign({}, jwt => jwt.setExpirationTime(seconds() - 60)))).code).toBe(0)
    })

    it('counts only where what the policy requires of it holds', async () => {
      const at = placeFor(idp, ', require: { repository: "acme/*", ref: refs/heads/main }')
      expect((await present(await sign({ ref: 'refs/heads/main' }), at)).code).toBe(0)
      const { code, stderr } = await present(await sign({ ref: 'refs/heads/evil' }), at)
      expect(code).toBe(4)
      expect(stderr).toContain('the token’s ref is not what the policy requires')
      expect((await present(await sign({}), at)).code).toBe(4)
    })

    it('has the provider asked once, however many tokens name keys that there are not', async () => {
      const at = placeFor(idp)
      const asked = () => idp.requests.filter(each => each === 'GET /jwks').length
      const before = asked()
      for (let each = 0; each < 4; each++)
        expect((await present(await sign({}, jwt => jwt, newKey()), at)).stderr).toMatch(/no key of its issuer/)
      expect(asked() - before).toBe(1)
      // What it does sign is taken all the while.
      expect((await present(await sign({}), at)).code).toBe(0)
    })

    it('follows a provider that rotates its keys', async () => {
      expect((await present(await sign({}))).code).toBe(0) // the old key is kept
      ageKeys(place)
      const rotated = newKey()
      const { d: _, ...shown } = rotated.private
      idp.before = (request, response) => {
        if (request.url !== '/jwks') return false
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: [shown] }))
        return true
      }
      expect((await present(await sign({}, jwt => jwt, rotated))).code).toBe(0)
      ageKeys(place)
      // And the old one counts no longer, as its provider has withdrawn it.
      expect((await present(await sign({}))).stderr).toMatch(/no key of its issuer/)
    })

    it('is not believed where something else answers for the provider', async () => {
      const at = placeFor(idp)
      idp.before = (request, response) => {
        if (!(request.url ?? '').startsWith('/.well-known')) return false
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ issuer: 'https://other.example', jwks_uri: `${idp.issuer}/jwks` }))
        return true
      }
      expect(await present(await sign({}), at)).toMatchObject({
        code: 6,
        stderr: expect.stringContaining('is not that identity provider'),
      })
    })
  })

  it('lets a job in by a client of its own', async () => {
    const { code, stdout, stderr } = await whoami(place, {
      AGENTGATE_CLIENT_ID: machine.id,
      AGENTGATE_CLIENT_SECRET: machine.secret,
    })
    expect(stderr).toBe('')
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ci-job {2}by https/) })
    const wrong = await whoami(place, { AGENTGATE_CLIENT_ID: machine.id, AGENTGATE_CLIENT_SECRET: 'wrong' })
    expect(wrong.code).toBe(3)
    expect(wrong.stderr).not.toContain('wrong\n')
  })

  it('verifies the provider’s certificate, whatever the environment says', async () => {
    const { code, stderr } = await place.run(['login', ...(await place.trusted())], {
      env: { NODE_EXTRA_CA_CERTS: '', NODE_TLS_REJECT_UNAUTHORIZED: '0' },
    })
    expect(code).toBe(6)
    expect(stderr).toMatch(/did not answer .*(SELF_SIGNED|UNABLE_TO|CERT)/)
  })
})

/** As though the provider had last been asked for its keys a minute ago. */
function ageKeys(place: Place): void {
  const file = path.join(place.home, 'state', 'identity-keys.json')
  const state = JSON.parse(readFileSync(file, 'utf8')) as { providers: Record<string, { at: number }> }
  for (const provider of Object.values(state.providers)) provider.at -= 60_000
  writeFileSync(file, JSON.stringify(state))
}

/** An ID token that no longer counts by itself, as it would not some minutes later. */
function ageToken(file: string): void {
  const state = JSON.parse(readFileSync(file, 'utf8')) as { logins: Record<string, { secrets: { idToken: string } }> }
  for (const { secrets } of Object.values(state.logins)) {
    const [header = '', claims = ''] = secrets.idToken.split('.')
    const old = { ...JSON.parse(Buffer.from(claims, 'base64url').toString()), exp: 1 }
    secrets.idToken = `${header}.${Buffer.from(JSON.stringify(old)).toString('base64url')}.`
  }
  writeFileSync(file, JSON.stringify(state))
}

function refreshTokenIn(file: string): string {
  const { logins } = JSON.parse(readFileSync(file, 'utf8')) as {
    logins: Record<string, { secrets: { refreshToken: string } }>
  }
  return Object.values(logins)[0]!.secrets.refreshToken
}

async function post(idp: TestProvider, form: Record<string, string>, at = '/token'): Promise<unknown> {
  return await new Promise((resolve, reject) => {
    const request = https.request(`${idp.issuer}${at}`, {
      method: 'POST',
      ca: readFileSync(idp.caFile),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    })
    request.on('error', reject)
    request.on('response', response => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('end', () => resolve(text === '' ? undefined : JSON.parse(text)))
    })
    request.end(new URLSearchParams(form).toString())
  })
}
