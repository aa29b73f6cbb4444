import { execFile, type ExecFileException } from 'node:child_process'
import { open } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { AgentgateError, hasErrno } from '../errors.ts'
import { Secret } from '../secret.ts'
import { Keychain, keychainTrouble } from './keychain.ts'
import type { Environment } from './paths.ts'

/** Where a secret is to be had, as the policy file says it. Holds no secret itself. */
export type SecretReference =
  | { readonly kind: 'env'; readonly written: string; readonly variable: string }
  | { readonly kind: 'file'; readonly written: string; readonly path: string }
  | { readonly kind: 'keychain'; readonly written: string; readonly service: string; readonly account: string }
  | { readonly kind: 'exec'; readonly written: string; readonly argv: readonly [string, ...string[]] }

/** Text with references in it: `${env:DATABASE_URL}`, or `postgres://app:${env:PASSWORD}@db/shop`. */
export interface SecretTemplate {
  readonly parts: readonly (string | SecretReference)[]
}

export type TemplateResult =
  { readonly kind: 'ok'; readonly template: SecretTemplate } | { readonly kind: 'wrong'; readonly message: string }

const forms = '${env:NAME}, ${file:PATH}, ${keychain:SERVICE/ACCOUNT} or ${exec:COMMAND}'
const maxSecretBytes = 1 << 20
const execTimeoutMs = 30_000

/** Reads text with references; every `${` must be one. Messages name forms, never the text. */
export function parseSecretTemplate(text: string): TemplateResult {
  const parts: (string | SecretReference)[] = []
  let at = 0
  while (at < text.length) {
    const start = text.indexOf('${', at)
    if (start === -1) break
    const end = text.indexOf('}', start)
    if (end === -1) return { kind: 'wrong', message: 'a reference that is not closed with }' }
    const reference = parseReference(text.slice(start, end + 1))
    if (typeof reference === 'string') return { kind: 'wrong', message: reference }
    if (start > at) parts.push(text.slice(at, start))
    parts.push(reference)
    at = end + 1
  }
  if (at < text.length) parts.push(text.slice(at))
  return { kind: 'ok', template: { parts } }
}

export function referencesOf(template: SecretTemplate): readonly SecretReference[] {
  return template.parts.filter(part => typeof part !== 'string')
}

function parseReference(written: string): SecretReference | string {
  const inner = written.slice(2, -1)
  const colon = inner.indexOf(':')
  const kind = colon === -1 ? inner : inner.slice(0, colon)
  const rest = colon === -1 ? '' : inner.slice(colon + 1)
  switch (kind) {
    case 'env':
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(rest))
        return '${env:…} takes the name of a variable, such as ${env:DATABASE_URL}'
      return { kind, written, variable: rest }
    case 'file':
      if (rest.trim() === '' || rest.includes('\0')) return '${file:…} takes a path, such as ${file:./ca.pem}'
      return { kind, written, path: rest }
    case 'keychain': {
      const slash = rest.lastIndexOf('/')
      if (slash < 1 || slash === rest.length - 1)
        return '${keychain:…} takes a service and an account, such as ${keychain:agentgate/db-prod}'
      return { kind, written, service: rest.slice(0, slash), account: rest.slice(slash + 1) }
    }
    case 'exec': {
      const argv = splitWords(rest)
      if (argv === undefined) return '${exec:…} has a quote that is not closed'
      const [program, ...others] = argv
      if (program === undefined || program === '')
        return '${exec:…} takes a command, such as ${exec:op read op://vault/db/password}'
      return { kind, written, argv: [program, ...others] }
    }
    default:
      return `an unknown reference; expected ${forms}`
  }
}

/** Words as a shell would split them, with '…', "…" and \, and nothing else of a shell: no variables, no globs, no pipes. */
function splitWords(text: string): string[] | undefined {
  const words: string[] = []
  let word = ''
  let open = false
  let quote: '' | '"' | "'" = ''
  for (let index = 0; index < text.length; index++) {
    const character = text.charAt(index)
    if (quote !== '') {
      if (character === quote) quote = ''
      else if (character === '\\' && quote === '"' && index + 1 < text.length) word += text.charAt(++index)
      else word += character
    } else if (character === '"' || character === "'") {
      quote = character
      open = true
    } else if (character === '\\' && index + 1 < text.length) {
      word += text.charAt(++index)
      open = true
    } else if (/\s/.test(character)) {
      if (open) words.push(word)
      word = ''
      open = false
    } else {
      word += character
      open = true
    }
  }
  if (quote !== '') return undefined
  if (open) words.push(word)
  return words
}

export interface ResolveOptions {
  readonly env: Environment
  /** Relative paths and commands start here: the policy's folder. */
  readonly folder: string
  /** What needs the secret, to name it in errors: `db-prod`. */
  readonly subject: string
  readonly signal?: AbortSignal | undefined
}

/**
 * Fetches what a template refers to. Only ever called for a policy that is trusted: `exec` runs what the file says.
 * @throws AgentgateError SECRET_UNRESOLVED, which names the reference and never a value.
 */
export async function resolveSecret(template: SecretTemplate, options: ResolveOptions): Promise<Secret> {
  const parts = await Promise.all(
    template.parts.map(async part => (typeof part === 'string' ? part : await fetchReference(part, options))),
  )
  return new Secret(parts.join(''))
}

async function fetchReference(reference: SecretReference, options: ResolveOptions): Promise<string> {
  const value = await read(reference, options)
  if (value === '') throw unresolved(reference, options, 'is empty')
  return value
}

async function read(reference: SecretReference, options: ResolveOptions): Promise<string> {
  switch (reference.kind) {
    case 'env': {
      const value = options.env[reference.variable]
      if (value === undefined)
        throw unresolved(reference, options, 'is not set', `set it: export ${reference.variable}=…`)
      return value
    }
    case 'file':
      return await readSecretFile(reference, options)
    case 'keychain':
      return await readKeychain(reference, options)
    case 'exec':
      return await runCommand(reference, options)
    default:
      return reference satisfies never
  }
}

function unresolved(
  reference: SecretReference,
  options: ResolveOptions,
  why: string,
  hint?: string,
  cause?: unknown,
): AgentgateError {
  return new AgentgateError('SECRET_UNRESOLVED', `${options.subject}: ${reference.written} ${why}`, { hint, cause })
}

async function readSecretFile(reference: SecretReference & { kind: 'file' }, options: ResolveOptions): Promise<string> {
  const home = options.env['HOME'] ?? os.homedir()
  const written = reference.path.startsWith('~/') ? path.join(home, reference.path.slice(2)) : reference.path
  const file = path.resolve(options.folder, written)
  try {
    const handle = await open(file, 'r')
    try {
      const found = await handle.stat()
      if (!found.isFile()) throw unresolved(reference, options, 'is not a file')
      if (found.size > maxSecretBytes) throw unresolved(reference, options, `is larger than ${maxSecretBytes} bytes`)
      return withoutLastNewline(await handle.readFile('utf8'))
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR'))
      throw unresolved(reference, options, 'does not exist', `it is looked for at ${file}`, error)
    if (hasErrno(error, 'EACCES', 'EPERM'))
      throw unresolved(reference, options, 'may not be read', `ls -l ${file}`, error)
    throw error
  }
}

async function runCommand(reference: SecretReference & { kind: 'exec' }, options: ResolveOptions): Promise<string> {
  const [program, ...args] = reference.argv
  return await new Promise<string>((resolve, reject) => {
    const child = execFile(
      program,
      args,
      {
        cwd: options.folder,
        env: { ...options.env },
        encoding: 'utf8',
        maxBuffer: maxSecretBytes,
        timeout: execTimeoutMs,
        killSignal: 'SIGKILL',
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
      (error, stdout) => {
        if (error === null) resolve(stdout.trim())
        // What it printed may hold the secret, and its own words are the library's: neither is shown.
        else reject(unresolved(reference, options, execFailure(error), `run it yourself: ${program}`))
      },
    )
    child.stdin?.on('error', () => undefined)
    child.stdin?.end()
  })
}

function execFailure(error: ExecFileException): string {
  if (error.code === 'ENOENT') return 'did not run: no such program'
  if (error.code === 'EACCES') return 'did not run: the program may not be executed'
  if (error.code === 'ABORT_ERR') return 'was stopped'
  if (error.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') return `printed more than ${maxSecretBytes} bytes`
  if (error.killed === true) return `did not end within ${execTimeoutMs / 1000} s`
  return typeof error.code === 'number' ? `failed with exit code ${error.code}` : 'was ended by a signal'
}

async function readKeychain(
  reference: SecretReference & { kind: 'keychain' },
  options: ResolveOptions,
): Promise<string> {
  const read = await new Keychain(options.env, reference.service).get(reference.account)
  if (read.kind === 'unavailable')
    throw unresolved(
      reference,
      options,
      `could not be read: ${read.why === 'off' ? 'AGENTGATE_KEYCHAIN is off' : `the keychain ${keychainTrouble(read.why)}`}`,
      'see what is wrong with it: agentgate doctor; or use ${exec:…} with your keychain’s own command',
    )
  if (read.secret === null) throw unresolved(reference, options, 'is not in the keychain')
  return read.secret
}

function withoutLastNewline(text: string): string {
  return text.replace(/\r?\n$/, '')
}
