import type { AuditEvent } from './audit-event.ts'
import { actionFields } from './ocsf-action.ts'
import { boundedText } from './bounded-text.ts'
import {
  actorOf,
  classes,
  endpoint,
  severities,
  shown,
  textOr,
  userOf,
  whyOf,
  type Json,
  type Mapped,
  type Origin,
  type Severity,
} from './ocsf-parts.ts'

/** The version of the schema that events are written by (https://schema.ocsf.io/1.5.0). */
export const ocsfVersion = '1.5.0'

/** An audit event as one OCSF event: a fixed mapping, docs/siem.md. */
export function toOcsf(event: AuditEvent, origin: Origin): { readonly [key: string]: Json } {
  const { class: known, activity, severity, status, detail, session, fields, unmapped, ...mapped } = map(event, origin)
  const activityName = known.activities[activity] ?? 'Other'
  return {
    class_uid: known.uid,
    class_name: known.name,
    category_uid: known.category.uid,
    category_name: known.category.name,
    activity_id: activity,
    activity_name: activityName,
    type_uid: known.uid * 100 + activity,
    type_name: `${known.name}: ${activityName}`,
    time: origin.at,
    severity_id: severities[severity].id,
    severity: severities[severity].name,
    status_id: status === 'success' ? 1 : status === 'failure' ? 2 : 99,
    status: status === 'success' ? 'Success' : status === 'failure' ? 'Failure' : 'Other',
    ...(textOr(detail, '') === '' ? {} : { status_detail: detail ?? '' }),
    message: mapped.message,
    metadata: {
      version: ocsfVersion,
      uid: origin.uid,
      product: { name: 'agentgate', vendor_name: 'agentgate', version: origin.version },
      event_code: event.kind,
      log_name: 'agentgate-audit',
      ...(mapped.profiles === undefined ? {} : { profiles: mapped.profiles }),
      ...(session === null ? {} : { correlation_uid: session }),
      ...(mapped.sequence === undefined ? {} : { sequence: mapped.sequence }),
    },
    ...fields,
    unmapped: { host: origin.host, ...(session === null ? {} : { session }), ...unmapped },
  }
}

function map(event: AuditEvent, origin: Origin): Mapped {
  switch (event.kind) {
    case 'login':
    case 'logout':
      return {
        class: classes.authentication,
        activity: event.kind === 'login' ? 1 : 2,
        severity: event.refused === null ? 'informational' : 'medium',
        message: `${event.user?.name ?? 'somebody'} ${event.kind === 'logout' ? 'logged out of' : event.refused === null ? 'logged in at' : 'was refused a login at'} ${event.issuer}`,
        status: event.refused === null ? 'success' : 'failure',
        detail: event.refused,
        session: null,
        fields: {
          user: event.user === null ? { name: 'unknown', type_id: 0 } : userOf({ ...event.user, source: 'oidc' }),
          service: { name: event.issuer },
          auth_protocol_id: 6,
          auth_protocol: 'OpenID',
        },
        unmapped: {},
      }
    case 'session-start': {
      const { subject, resources } = event.start
      const names = resources.map(({ name }) => name).join(', ')
      return {
        ...tunnel(event.start, origin),
        activity: 1,
        message: `${shown(subject)} opened ${names}`,
        status: 'success',
      }
    }
    case 'session-end': {
      const { subject, resources } = event.start
      const names = resources.map(({ name }) => name).join(', ')
      const more = tunnel(event.start, origin)
      return {
        ...more,
        activity: 2,
        message: `the session of ${shown(subject)} with ${names} ended: ${event.reason}`,
        status: 'success',
        detail: event.reason,
        fields: {
          ...more.fields,
          start_time: event.since,
          end_time: origin.at,
          duration: Math.max(0, origin.at - event.since),
        },
        unmapped: { ...more.unmapped, exit_code: event.exitCode },
      }
    }
    case 'decision':
    case 'request':
    case 'approval':
      return actionFields(event, origin)
    case 'access-request': {
      const { outcome, by, reason, subject, resource, scope } = event
      const closed = outcome === 'asked' ? '' : ` was ${outcome}${by === null ? '' : ` by ${by}`}`
      return {
        class: classes.entityManagement,
        activity: outcome === 'asked' ? 1 : 3,
        severity: 'informational',
        message: `${shown(subject)} asked for ${scope} of ${resource}${closed}`,
        status: outcome === 'asked' || outcome === 'approved' ? 'success' : 'failure',
        detail: outcome,
        session: null,
        fields: {
          entity: { uid: event.id, name: 'access request', type: 'access request', type_id: 99 },
          actor: by === null ? actorOf({ subject, session: null, since: null }) : { user: { name: by, type_id: 1 } },
          ...(reason === null ? {} : { comment: reason }),
        },
        unmapped: { outcome, resource, scope, ...whyOf(subject) },
      }
    }
    case 'grant':
    case 'revocation': {
      const { subject, resource, scope, by, reason, session } = event
      return {
        class: classes.userAccess,
        activity: event.kind === 'grant' ? 1 : 2,
        severity: event.kind === 'grant' ? 'informational' : 'medium',
        message:
          event.kind === 'grant'
            ? `${shown(subject)} was granted ${scope} of ${resource}`
            : `the grant of ${shown(subject)} to ${scope} of ${resource} was revoked`,
        status: 'success',
        detail: reason,
        session,
        fields: {
          user: userOf(subject.principal),
          privileges: [scope],
          resources: [{ name: resource, uid: resource }],
          ...(by === null ? {} : { actor: { user: { name: by, type_id: 1 } } }),
        },
        unmapped: {
          grant: event.id,
          resource,
          scope,
          expires_at: event.expiresAt === null ? null : new Date(event.expiresAt).toISOString(),
          ...whyOf(subject),
        },
      }
    }
    case 'suspension':
    case 'resumption':
      return {
        class: classes.accountChange,
        activity: event.kind === 'suspension' ? 5 : 2,
        severity: 'medium',
        message: `${event.principal} was ${event.kind === 'suspension' ? 'suspended' : 'let in again'} by ${event.by}`,
        status: 'success',
        detail: event.reason,
        session: null,
        fields: { user: { name: event.principal, type_id: 1 }, actor: { user: { name: event.by, type_id: 1 } } },
        unmapped: {},
      }
    case 'policy': {
      const words = {
        trusted: 'was trusted',
        'trust-removed': 'is no longer trusted',
        'in-effect': 'took effect',
      } as const
      return {
        class: classes.entityManagement,
        activity: 3,
        severity: 'low',
        message: `the policy ${event.name} ${words[event.change]}${event.by === null ? '' : ` (${event.by})`}`,
        status: 'success',
        detail: event.change,
        session: event.session,
        fields: {
          entity: {
            name: event.name,
            uid: event.digest,
            type: 'Policy',
            type_id: 5,
            policy: { name: event.name, uid: event.digest, version: event.digest },
          },
          ...(event.by === null ? {} : { actor: { user: { name: event.by, type_id: 1 } } }),
        },
        unmapped: { change: event.change },
      }
    }
    case 'recording-gap':
      return finding(event.session, 'high', `the recording of ${event.session} ${gaps[event.what]}`, {
        uid: `gap:${event.what}:${event.session}`,
        detail: event.detail,
        unmapped: { gap: event.what },
      })
    case 'erasure':
      return {
        class: classes.entityManagement,
        activity: 4,
        severity: 'medium',
        message: `the ${event.what === 'content' ? 'content of the recording' : 'recording'} of ${event.session} was erased by ${event.by}`,
        status: 'success',
        detail: event.reason,
        session: event.session,
        fields: {
          entity: { name: event.session, uid: event.session, type: 'Recording', type_id: 99 },
          actor: { user: { name: event.by, type_id: 1 } },
        },
        unmapped: { erased: event.what },
      }
    case 'audit-lost':
      return finding(null, 'critical', `${event.count} audit events were lost: ${event.detail}`, {
        uid: `lost:${origin.uid}`,
        detail: event.detail,
        unmapped: {
          lost: event.count,
          lost_from: new Date(event.from).toISOString(),
          lost_to: new Date(event.to).toISOString(),
        },
      })
    case 'test':
      return finding(null, 'informational', event.text, { uid: `test:${origin.uid}`, detail: '', unmapped: {} })
    default:
      return event satisfies never
  }
}

const gaps = {
  'not-written': 'could not be written',
  unfinished: 'has no end: its process was killed',
  altered: 'was altered',
  missing: 'is not there any more',
  'not-uploaded': 'is not uploaded',
} as const

function finding(
  session: string | null,
  severity: Severity,
  title: string,
  more: { readonly uid: string; readonly detail: string; readonly unmapped: Mapped['unmapped'] },
): Mapped {
  return {
    class: classes.detectionFinding,
    activity: 1,
    severity,
    message: title,
    status: 'other',
    detail: more.detail,
    session,
    fields: {
      finding_info: { uid: more.uid, title, ...(more.detail === '' ? {} : { desc: more.detail }) },
      ...(severity === 'informational' ? {} : { is_alert: true }),
    },
    unmapped: more.unmapped,
  }
}

type Start = Extract<AuditEvent, { kind: 'session-start' }>['start']

function tunnel(start: Start, origin: Origin): Omit<Mapped, 'activity' | 'message' | 'status'> {
  const { subject, session, resources } = start
  const [first] = resources
  return {
    class: classes.tunnelActivity,
    severity: 'informational',
    session,
    fields: {
      user: userOf(subject.principal),
      ...(subject.actor === null ? {} : { app_name: subject.actor.name }),
      session: { uid: session },
      src_endpoint: endpoint(start.host, 'client'),
      ...(first === undefined ? {} : { dst_endpoint: { name: first.name, svc_name: first.kind } }),
      tunnel_type_id: 99,
      tunnel_type: 'agentgate',
    },
    unmapped: {
      resources: resources.map(({ name, kind, scope, address }) => ({ name, kind, scope, address })),
      policy_digest: start.policyDigest,
      placement: start.placement,
      command: boundedText(start.command.join(' ')).text,
      client_version: start.version,
      recorder: origin.version,
      ...whyOf(subject),
    },
  }
}
