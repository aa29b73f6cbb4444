import { randomBytes } from 'node:crypto'
import type { ErrorCode } from '../../../errors.ts'
import type { RuleRef } from '../../../policy/action.ts'
import { errorResponse } from '../wire/backend-messages.ts'
import { bindMessage, queryMessage } from '../wire/frontend-messages.ts'

/**
 * What goes to the server in place of what was refused: it fails, whatever state the server is in, so that the server
 * itself aborts the transaction, passes over what is behind, and says the true status. Its error never reaches the client.
 */
export const poisonQuery = queryMessage('refused by agentgate')
/** No client can have prepared a statement of this name. */
export const poisonBind = bindMessage({
  portal: '',
  statement: `refused by agentgate ${randomBytes(9).toString('hex')}`,
  formats: [],
  values: [],
  resultFormats: [],
})

export interface Refusal {
  readonly sqlstate: string
  readonly message: string
  readonly detail?: string | undefined
  readonly hint?: string | undefined
  /** Where in the text, in characters from 1. */
  readonly position?: number
}

export function refusalError(refusal: Refusal): Buffer {
  return errorResponse({ severity: 'ERROR', ...refusal })
}

/** A decision's refusal in the server's words (PG 18 docs Appendix A). */
export function denial(denied: {
  readonly code: ErrorCode
  readonly message: string
  readonly rule: RuleRef | null
  readonly hint: string | undefined
}): Refusal {
  return {
    sqlstate: sqlstateOf(denied.code),
    message: `refused by agentgate: ${denied.message}`,
    detail: denied.rule === null ? undefined : `rule "${denied.rule.name}" (${denied.rule.place})`,
    hint: denied.hint,
  }
}

export function sqlstateOf(code: ErrorCode): string {
  switch (code) {
    case 'APPROVAL_WITHDRAWN':
    case 'APPROVAL_TIMEOUT':
      return '57014' // query_canceled
    case 'EXPIRED':
    case 'REVOKED':
      return '57P01' // admin_shutdown
    case 'TARGET_UNREACHABLE':
    case 'TLS_FAILED':
      return '08001' // sqlclient_unable_to_establish_sqlconnection
    case 'TARGET_REFUSED':
      return '08004' // sqlserver_rejected_establishment_of_sqlconnection
    case 'CLIENT_AUTH':
      return '28P01' // invalid_password
    case 'PROTOCOL':
      return '08P01' // protocol_violation
    case 'RECORDING_FAILED':
      return '58030' // io_error
    case 'INTERNAL':
      return 'XX000' // internal_error
    default:
      return '42501' // insufficient_privilege
  }
}

export const abortedTransaction: Refusal = {
  sqlstate: '25P02',
  message: 'current transaction is aborted, commands ignored until end of transaction block',
}
