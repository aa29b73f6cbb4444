import { spawn } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { principalOf } from '../identity/claims.ts'
import { chooseIssuer } from '../identity/identify.ts'
import { keychainTrouble } from '../config/keychain.ts'
import type { IdentityIssuer } from '../identity/identity-issuer.ts'
import { KnownBrokers } from '../identity/known-brokers.ts'
import { LoginStore, type LoginTokens } from '../identity/login-store.ts'
import { Provider, type DevicePrompt } from '../identity/provider.ts'
import { TokenVerifier, type VerifiedToken } from '../identity/verify-token.ts'
import { loginsFor } from '../identity/showing-client.ts'
import type { Io } from './command.ts'
import { showUntil } from './duration.ts'
import { envSwitch, type Globals } from './globals.ts'
import { wantsColour } from './paint.ts'
import { loginPlace } from './login-place.ts'
import { tellAudit } from './tell-audit.ts'
import { escapeLine } from './ui/escape.ts'
import { qrLines } from './ui/qr-code.ts'

const browserWaitMs = 5 * 60_000

export interface LoginOptions {
  /** Of a broker. */
  readonly address: string | undefined
  /** A part of its address. */
  readonly issuer: string | undefined
  readonly ca: string | undefined
  readonly browser: boolean
}

/** Logs in and keeps what came of it. */
export async function login(options: LoginOptions, globals: Globals, io: Io): Promise<void> {
  const { broker, use, issuers } = await loginPlace(options.address, options.ca, globals, io)
  const issuer = chooseIssuer(issuers, options.issuer)
  const provider = await Provider.discover(issuer)
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort()
  process.once('SIGINT', interrupt)
  let result: LoginTokens
  try {
    if (options.browser) result = await byBrowser(provider, globals, io, interrupted.signal)
    else if (provider.canUseDevices)
      result = await provider.loginByDevice(prompt => show(prompt, globals, io), interrupted.signal)
    else
      throw new AgentgateError('LOGIN_FAILED', `${issuer.issuer} knows no login by code`, {
        hint: 'agentgate login --browser',
      })
  } finally {
    process.off('SIGINT', interrupt)
  }
  const paths = new Paths(io.env)
  const { claims, expiresAt } = await verifiedNow(result, issuer, paths)
  const principal = principalOf(claims, issuer)
  const forBroker = broker === undefined ? null : loginsFor(broker, io.env)
  const place = await new LoginStore(paths, io.env).save({ ...result, broker: forBroker })
  if (broker !== undefined && (use || forBroker !== null))
    new KnownBrokers(paths).remember({ address: broker.address, ca: broker.ca ?? null }, use)
  const renewed = result.refreshToken !== null
  const user = { name: principal.name, groups: principal.groups }
  await tellAudit({ kind: 'login', user, issuer: issuer.issuer, refused: null }, globals, io)
  if (place.kind === 'file' && place.why !== 'off') {
    const trouble = place.why === 'none' ? 'no keychain here' : `the keychain ${keychainTrouble(place.why)}`
    io.stderr.write(`notice: ${trouble}; the tokens are in ${place.path}, for you alone to read\n`)
  }
  if (globals.json) {
    const event = { event: 'logged-in', at: new Date().toISOString(), issuer: issuer.issuer, principal: principal.name }
    const at = broker === undefined ? {} : { broker: broker.address }
    io.stdout.write(
      `${JSON.stringify({ ...event, ...at, groups: principal.groups, expiresAt: expiresAt.toISOString(), renewed, kept: place.kind })}\n`,
    )
    return
  }
  const groups = principal.groups.length === 0 ? '' : `  (${principal.groups.join(', ')})`
  const until = showUntil(expiresAt, new Date())
  const at = broker === undefined ? '' : ` at ${broker.address}`
  io.stdout.write(
    `${escapeLine(`logged in as ${principal.name}${at}${groups}`)}  until ${until}${renewed ? ', then renewed by itself' : ''}\n`,
  )
  const named = io.env['AGENTGATE_BROKER'] ?? ''
  if (use && named !== '' && named !== broker?.address)
    io.stderr.write(`notice: AGENTGATE_BROKER is ${escapeLine(named)}, and goes before it\n`)
}

/** As every later use of it will: what would not count then is not kept. */
async function verifiedNow(login: LoginTokens, issuer: IdentityIssuer, paths: Paths): Promise<VerifiedToken> {
  try {
    return await new TokenVerifier(paths).verify(login.idToken.reveal(), [issuer], each => each.clientId)
  } catch (error) {
    if (!(error instanceof AgentgateError) || error.code !== 'NOT_LOGGED_IN') throw error
    // It has just been made for us, so that to log in once more is no help.
    throw new AgentgateError('LOGIN_FAILED', `${issuer.issuer} let you in, but ${error.message}`, {
      hint: 'check this machine’s clock, and what the client is registered as at the provider',
      cause: error,
    })
  }
}

function show(prompt: DevicePrompt, globals: Globals, io: Io): void {
  const { address, wholeAddress, code, expiresAt } = prompt
  if (globals.json)
    io.stdout.write(
      `${JSON.stringify({ event: 'device-code', at: new Date().toISOString(), address, wholeAddress, code, expiresAt: expiresAt.toISOString() })}\n`,
    )
  const opened = openBrowser(wholeAddress ?? address, io)
  io.stderr.write(`open  ${escapeLine(address)}\ncode  ${escapeLine(code)}\n`)
  const { isTTY, columns, rows } = io.stderr
  const colour = wantsColour(io.stderr, io.env)
  const picture = qrLines(wholeAddress ?? address, { isTTY, columns, rows, colour, env: io.env })
  if (picture !== undefined) io.stderr.write(`\n${picture.map(line => `  ${line}\n`).join('')}\n`)
  const minutes = Math.max(1, Math.round((expiresAt.getTime() - Date.now()) / 60_000))
  io.stderr.write(`waiting, ${minutes} min at most${opened ? ' (a browser was opened)' : ''}; ctrl-c to stop\n`)
}

async function byBrowser(provider: Provider, globals: Globals, io: Io, signal: AbortSignal): Promise<LoginTokens> {
  const server = http.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  // RFC 8252 §7.3: the address, not a name, and whichever port is free.
  const redirect = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`
  try {
    return await provider.loginByBrowser(redirect, async address => {
      const back = callback(
        server,
        redirect,
        new URL(address),
        AbortSignal.any([signal, AbortSignal.timeout(browserWaitMs)]),
      )
      if (globals.json)
        io.stdout.write(`${JSON.stringify({ event: 'browser', at: new Date().toISOString(), address })}\n`)
      const opened = openBrowser(address, io)
      io.stderr.write(
        `open  ${escapeLine(address)}\nwaiting${opened ? ' (a browser was opened)' : ''}; ctrl-c to stop\n`,
      )
      return await back
    })
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

/** The answer to what was asked; whatever else comes there gets nothing, and ends nothing. */
async function callback(server: http.Server, redirect: string, asked: URL, signal: AbortSignal): Promise<URL> {
  const state = asked.searchParams.get('state')
  return await new Promise((resolve, reject) => {
    const over = () => reject(new AgentgateError('LOGIN_FAILED', 'nobody came back from the browser'))
    signal.addEventListener('abort', over, { once: true })
    server.on('request', (request, response) => {
      const url = new URL(request.url ?? '/', redirect)
      if (request.method !== 'GET' || url.pathname !== '/callback' || url.searchParams.get('state') !== state) {
        response.writeHead(404).end()
        return
      }
      response
        .writeHead(200, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' })
        .end('Back to the terminal: it says whether you are logged in. This page can be closed.\n', () => resolve(url))
    })
  })
}

/** Only where a person looks at a screen; whether it worked is theirs to see. */
function openBrowser(address: string, io: Io): boolean {
  if (!io.stderr.isTTY || envSwitch(io.env['CI'])) return false
  const mac = process.platform === 'darwin'
  if (!mac && (io.env['DISPLAY'] ?? io.env['WAYLAND_DISPLAY'] ?? '') === '') return false
  const child = spawn(mac ? '/usr/bin/open' : 'xdg-open', [address], { stdio: 'ignore', detached: true })
  child.on('error', () => undefined)
  child.unref()
  return true
}
