/** What went wrong, as a word that callers branch on. docs/errors.md lists them all; a test holds the two equal. */
export const errorCodes = {
  INTERNAL: 1,
  USAGE: 2,
  NO_SUCH_RESOURCE: 2,
  NO_SUCH_SCOPE: 2,
  NO_SUCH_SESSION: 2,
  NO_SUCH_APPROVAL: 2,
  NO_POLICY: 2,
  POLICY_INVALID: 2,
  POLICY_UNTRUSTED: 4,
  POLICY_CHANGED: 2,
  PASSPHRASE: 4,
  SECRET_UNRESOLVED: 2,
  PORT_TAKEN: 2,
  STATE_UNSAFE: 2,
  NOT_LOGGED_IN: 3,
  LOGIN_FAILED: 3,
  IDP_UNREACHABLE: 6,
  BROKER_UNREACHABLE: 6,
  STORE_FAILED: 6,
  RATE_LIMITED: 6,
  NO_SUCH_GRANT: 2,
  DENIED: 4,
  APPROVAL_REJECTED: 5,
  APPROVAL_TIMEOUT: 5,
  APPROVAL_WITHDRAWN: 5,
  TARGET_UNREACHABLE: 6,
  TARGET_REFUSED: 6,
  TLS_FAILED: 6,
  VERIFICATION_FAILED: 7,
  EXPIRED: 8,
  REVOKED: 8,
  RECORDING_FAILED: 1,
  PROTOCOL: 1,
  CLIENT_AUTH: 4,
  UNCONFINED: 125,
  NOT_STARTED: 125,
  SESSION_UNREACHABLE: 6,
  BUCKET_FAILED: 6,
  RECORDING_LOCKED: 4,
  CONTENT_ERASED: 4,
} as const

export type ErrorCode = keyof typeof errorCodes

export interface ErrorOptions {
  /** What to do next, best as a command to paste. */
  readonly hint?: string | undefined
  /** Where the code's usual exit code is not the right one (`exec` uses those of env(1)). */
  readonly exitCode?: number | undefined
  readonly cause?: unknown
}

/** An error for people: lower case, no period, no stack, never a secret, a value of a statement or a library's text. */
export class AgentgateError extends Error {
  override readonly name = 'AgentgateError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly exitCode: number

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint
    this.exitCode = options.exitCode ?? errorCodes[code]
  }
}

/** The peer (client or target) sent what its protocol does not allow here; the connection ends. */
export class ProtocolError extends AgentgateError {
  readonly protocol: string
  constructor(protocol: string, what: string) {
    super('PROTOCOL', `${protocol}: ${what}`)
    this.protocol = protocol
  }
}

/** Whether an unknown thrown value is a Node.js system error with this code. */
export function hasErrno(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
}
