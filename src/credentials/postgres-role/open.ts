import { AgentgateError } from '../../errors.ts'
import type { OpenIssuer } from '../issuer-kind.ts'

export const openPostgresRole: OpenIssuer<'postgres-role'> = (_written, resource) =>
  Promise.reject(
    new AgentgateError('DENIED', `${resource}: issuer postgres-role comes with the broker, which is not here yet`, {
      hint: 'use issuer: static with a role of few privileges until then',
    }),
  )
