import type { Refusal } from './refusal.ts'
import { isSafeEncoding } from './text-encoding.ts'

/** Of no consequence for what statements do, so not decided on. */
const harmless = new Set([
  'application_name',
  'bytea_output',
  'client_encoding',
  'client_min_messages',
  'datestyle',
  'default_transaction_isolation',
  'default_transaction_read_only',
  'extra_float_digits',
  'geqo',
  'idle_in_transaction_session_timeout',
  'idle_session_timeout',
  'intervalstyle',
  'jit',
  'lc_messages',
  'lc_monetary',
  'lc_numeric',
  'lc_time',
  'lock_timeout',
  'statement_timeout',
  'tcp_keepalives_count',
  'tcp_keepalives_idle',
  'tcp_keepalives_interval',
  'tcp_user_timeout',
  'timezone',
  'transaction_timeout',
  'work_mem',
  'xmloption',
])

export interface StartupParameters {
  /** To be sent to the server, user and database apart. */
  readonly forwarded: readonly (readonly [string, string])[]
  /** Settings that matter, each as the statement that would make it: decided on as such. */
  readonly statements: readonly string[]
}

/** What of a client's StartupMessage goes to the server. */
export function readStartupParameters(
  parameters: ReadonlyMap<string, string>,
): StartupParameters | { readonly refusal: Refusal } {
  const forwarded: [string, string][] = []
  const settings: [string, string][] = []
  for (const [name, value] of parameters) {
    switch (name) {
      case 'user':
      case 'database':
        break
      case 'replication': {
        const off = ['', 'false', 'off', 'no', '0', 'f', 'n'].includes(value.toLowerCase())
        if (!off)
          return {
            refusal: {
              sqlstate: '42501',
              message: 'refused by agentgate: a replication connection is not decided on statement by statement',
              hint: 'connect to the server directly for replication',
            },
          }
        break
      }
      case 'options': {
        const read = readOptions(value)
        if ('refusal' in read) return read
        settings.push(...read.settings)
        forwarded.push([name, value])
        break
      }
      default:
        settings.push([name, value])
        forwarded.push([name, value])
    }
  }
  const statements: string[] = []
  for (const [name, value] of settings) {
    const plain = name.toLowerCase()
    if (!/^[a-z_][a-z0-9_.]*$/.test(plain))
      return { refusal: { sqlstate: '42704', message: 'refused by agentgate: a start-up parameter of that name' } }
    if (plain === 'client_encoding' && !isSafeEncoding(value.replaceAll(/^'|'$/g, '')))
      return {
        refusal: {
          sqlstate: '22023', // invalid_parameter_value
          message: `refused by agentgate: client_encoding ${/^[\w-]{1,40}$/.test(value) ? value : ''} has characters that can hide a quote`,
          hint: 'set client_encoding to UTF8 (PGCLIENTENCODING=UTF8)',
        },
      }
    if (!harmless.has(plain)) statements.push(`SET ${quoted(plain)} TO '${value.replaceAll("'", "''")}'`)
  }
  return { forwarded, statements }
}

const quoted = (name: string) =>
  name
    .split('.')
    .map(part => `"${part}"`)
    .join('.')

/** Command-line switches as the server splits and reads them (src/backend/utils/init/postinit.c, pg_split_opts). */
function readOptions(text: string): { readonly settings: [string, string][] } | { readonly refusal: Refusal } {
  const words = splitOptions(text)
  const settings: [string, string][] = []
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ''
    let setting: string | undefined
    if (word === '-c') setting = words[++index]
    else if (word.startsWith('-c')) setting = word.slice(2)
    else if (word.startsWith('--')) setting = word.slice(2)
    const equals = setting?.indexOf('=') ?? -1
    if (setting === undefined || equals < 1)
      return {
        refusal: {
          sqlstate: '22023',
          message: 'refused by agentgate: start-up options other than -c name=value',
          hint: 'write settings as PGOPTIONS="-c name=value"',
        },
      }
    // In names on the command line, a dash stands for an underscore.
    settings.push([setting.slice(0, equals).replaceAll('-', '_'), setting.slice(equals + 1)])
  }
  return { settings }
}

function splitOptions(text: string): string[] {
  const words: string[] = []
  let word: string | undefined
  for (let index = 0; index < text.length; index++) {
    const char = text.charAt(index)
    if (/[ \t\n\v\f\r]/.test(char)) {
      if (word !== undefined) words.push(word)
      word = undefined
      continue
    }
    if (char === '\\') index += 1
    word = (word ?? '') + text.charAt(index)
  }
  if (word !== undefined) words.push(word)
  return words
}
