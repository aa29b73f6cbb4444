import type { ActionView } from '../policy/action.ts'
import type { AuditEvent } from './audit-event.ts'
import { boundedText } from './bounded-text.ts'
import {
  actorOf,
  classes,
  endpoint,
  shown,
  whyOf,
  type Json,
  type Mapped,
  type Origin,
  type Severity,
} from './ocsf-parts.ts'

type ActionEvent = Extract<AuditEvent, { kind: 'decision' | 'request' | 'approval' }>

const maxParameters = 100
const maxParameterBytes = 256

/** A command that was decided on: the datastore's class for databases, the API's for all else, with `security_control`. */
export function actionFields(event: ActionEvent, origin: Origin): Mapped {
  const { view, decision, by, resource } = event
  const database = view.kind === 'postgres'
  const known = database ? classes.datastoreActivity : classes.apiActivity
  const { text, more } = textOf(view, origin.text)
  const { approval, rule } = decision
  const state = states[decision.outcome]
  const query = { query_string: text, name: view.summary === '' ? view.kind : view.summary }
  return {
    class: known,
    activity: database ? datastoreActivity(view) : apiActivity(view),
    severity: state.severity,
    message: `${shown(by.subject)}: ${view.summary} on ${resource.name} ${state.words}`,
    status: state.status,
    detail: decision.message ?? approval?.reason ?? null,
    session: by.session,
    profiles: ['security_control'],
    fields: {
      actor: actorOf(by),
      src_endpoint: endpoint(origin.host, 'client'),
      dst_endpoint: { name: resource.name, svc_name: view.kind },
      action_id: state.action,
      action: state.action === 1 ? 'Allowed' : state.action === 2 ? 'Denied' : 'Observed',
      disposition_id: state.disposition.id,
      disposition: state.disposition.name,
      ...(rule === null
        ? {}
        : { authorizations: [{ decision: decision.outcome, policy: policyOf(rule, event.policyDigest) }] }),
      ...(database
        ? { database: { name: resource.name, type_id: 1, type: view.kind }, query_info: query }
        : { api: { operation: view.summary === '' ? view.kind : view.summary, service: { name: resource.name } } }),
      ...(event.kind === 'decision' && state.action === 2 ? { is_alert: true } : {}),
    },
    unmapped: {
      resource: resource.name,
      address: resource.address,
      connection: event.connection,
      outcome: decision.outcome,
      effect: view.effect,
      verbs: view.verbs.slice(0, maxParameters),
      reads: view.reads.slice(0, maxParameters),
      writes: view.writes.slice(0, maxParameters),
      ...(database ? {} : { text }),
      ...more,
      ...(decision.request === undefined ? {} : { request: decision.request }),
      ...(approval === undefined
        ? {}
        : {
            approval: {
              id: approval.id,
              by: approval.by,
              reason: approval.reason ?? null,
              edited: approval.edited,
              waited_ms: Math.round(approval.waitedMs),
            },
          }),
      ...(decision.asked === undefined || origin.text === 'summary' ? {} : { asked: boundedText(decision.asked).text }),
      ...whyOf(by.subject),
    },
  }
}

function policyOf(rule: { readonly name: string; readonly place: string }, digest: string | null): Json {
  return { name: rule.name, uid: rule.place, is_applied: true, ...(digest === null ? {} : { version: digest }) }
}

interface State {
  readonly words: string
  readonly status: Mapped['status']
  readonly severity: Severity
  /** `action_id`: 1 Allowed, 2 Denied, 3 Observed. */
  readonly action: 1 | 2 | 3
  readonly disposition: { readonly id: number; readonly name: string }
}

const states: Readonly<Record<ActionEvent['decision']['outcome'], State>> = {
  allowed: state('was allowed', 'success', 'informational', 1, 1, 'Allowed'),
  denied: state('was denied', 'failure', 'medium', 2, 2, 'Blocked'),
  held: state('waits for approval', 'other', 'low', 3, 14, 'Delayed'),
  approved: state('was approved', 'success', 'low', 1, 8, 'Approved'),
  rejected: state('was rejected', 'failure', 'medium', 2, 25, 'Rejected'),
  withdrawn: state('was withdrawn', 'failure', 'low', 2, 16, 'No Action'),
  'timed-out': state('found no approver in time', 'failure', 'medium', 2, 2, 'Blocked'),
}

function state(
  words: string,
  status: Mapped['status'],
  severity: Severity,
  action: State['action'],
  id: number,
  name: string,
): State {
  return { words, status, severity, action, disposition: { id, name } }
}

/** The strongest that the command does. */
function datastoreActivity({ verbs, effect }: ActionView): number {
  const has = (...words: readonly string[]) => verbs.some(verb => words.includes(verb.toLowerCase()))
  if (has('delete', 'drop', 'truncate')) return 7
  if (has('update', 'merge', 'alter', 'grant', 'revoke')) return 2
  if (has('insert', 'copy')) return effect === 'read' ? 1 : 5
  if (has('create')) return 6
  return effect === 'read' ? 1 : effect === 'change' ? 2 : 0
}

function apiActivity({ verbs, effect }: ActionView): number {
  const has = (...words: readonly string[]) => verbs.some(verb => words.includes(verb.toUpperCase()))
  if (has('DELETE')) return 4
  if (has('PUT', 'PATCH')) return 3
  if (has('POST')) return effect === 'read' ? 2 : 1
  return effect === 'read' ? 2 : effect === 'change' ? 3 : 0
}

function textOf(
  view: ActionView,
  wanted: Origin['text'],
): { readonly text: string; readonly more: Record<string, Json> } {
  if (wanted === 'summary')
    return { text: view.summary === '' ? view.kind : view.summary, more: { text_left_out: true } }
  const { text, more } = boundedText(view.text)
  const { parameters } = view
  if (parameters === undefined) return { text, more }
  const kept = parameters
    .slice(0, maxParameters)
    .map(value => (value === null ? null : boundedText(value, maxParameterBytes).text))
  return {
    text,
    more: {
      ...more,
      parameters: kept,
      ...(kept.length < parameters.length ? { parameters_count: parameters.length } : {}),
    },
  }
}
