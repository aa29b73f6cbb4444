import { createHash } from 'node:crypto'
import { z } from 'zod'
import { AgentgateError } from '../../errors.ts'
import type { Action, ActionView } from '../../policy/action.ts'
import type { Ask } from '../protocol.ts'
import { AmbiguousTarget, matchesPath, readTarget, type Target } from './path.ts'

/** A request body as a decision knows it. */
export type RequestBody =
  | { readonly kind: 'none' }
  /** Read before it was decided on, so that it is shown, recorded and can be edited. */
  | { readonly kind: 'whole'; readonly bytes: Buffer }
  /** Too long for that, or of no stated length; it goes through as it comes. */
  | { readonly kind: 'streamed'; readonly bytes: number | null }

export interface HttpAction extends Action {
  readonly kind: 'http'
  readonly method: string
  readonly target: Target
  /** The media type alone, in lower case; empty where none is given. */
  readonly mediaType: string
  readonly body: RequestBody
}

const globs = z
  .union([z.string(), z.array(z.string())])
  .transform(value => (typeof value === 'string' ? [value] : value))

/** What `when` and `unless` may ask of a request. */
export const whenSchema = z.object({
  /** `DELETE`, or several. */
  method: globs.transform(methods => methods.map(method => method.toUpperCase())).optional(),
  /** `/v1/customers/*`: `*` is one segment, `**` any number. */
  path: globs.refine(paths => paths.every(path => path.startsWith('/')), 'a path starts with /').optional(),
})

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS'])

export function isHttpAction(action: Action): action is HttpAction {
  return action.kind === 'http'
}

export function asHttpAction(action: Action): HttpAction {
  if (!isHttpAction(action)) throw new AgentgateError('INTERNAL', `an action of ${action.kind} came to http`)
  return action
}

export function newAction(method: string, target: Target, mediaType: string, body: RequestBody): HttpAction {
  // No two requests share a shape: what is known of one holds its path, query and size.
  return { kind: 'http', shape: {}, method, target, mediaType, body }
}

export function matchesRequest(
  when: z.output<typeof whenSchema>,
  action: HttpAction,
  doubt: 'holds' | 'fails',
): boolean {
  if (when.method !== undefined && !when.method.includes(action.method)) return false
  if (when.path === undefined) return true
  const { path } = action.target
  // Some servers leave path parameters out when they route: both readings count.
  const readings = path.includes(';') ? [path, path.replace(/;[^/]*/g, '')] : [path]
  const holds = (reading: string) => when.path?.some(glob => matchesPath(glob, reading)) === true
  return doubt === 'holds' ? readings.some(holds) : readings.every(holds)
}

/** How a request is shown. `mask` hides what masks hide in a text of a media type. */
export function viewRequest(action: HttpAction, mask: (text: string, mediaType: string) => string): ActionView {
  const { method, target, mediaType, body } = action
  const path = mask(target.path, '')
  const query = mask(target.query, '')
  const line = `${method} ${mask(target.sent, '')}`
  const isRead = safeMethods.has(method)
  return {
    kind: 'http',
    summary: `${method} ${path}`,
    text: body.kind === 'none' ? line : `${line}\n\n${mask(showBody(body, mediaType), mediaType)}`,
    effect: isRead ? 'read' : 'change',
    verbs: [method],
    reads: isRead ? [path] : [],
    writes: isRead ? [] : [path],
    attributes: {
      method,
      path,
      query,
      contentType: mediaType,
      bodyBytes: body.kind === 'none' ? 0 : body.kind === 'whole' ? body.bytes.length : body.bytes,
    },
  }
}

function showBody(body: Exclude<RequestBody, { kind: 'none' }>, mediaType: string): string {
  if (body.kind === 'streamed')
    return body.bytes === null ? '(a body of unknown length)' : `(a body of ${body.bytes} bytes)`
  const text = body.bytes.toString('utf8')
  // What is not text would only look like it; its digest still says which bytes they were.
  if (text.includes('\0') || !Buffer.from(text).equals(body.bytes))
    return `(${body.bytes.length} bytes of ${mediaType === '' ? 'no stated type' : mediaType}, sha256 ${digestOf(body.bytes)})`
  return text
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export function askOf(action: HttpAction): Ask {
  const { method, target, body } = action
  const size = body.kind === 'none' ? undefined : body.kind === 'whole' ? body.bytes.length : body.bytes
  const key = createHash('sha256').update(`${method} ${target.sent}\n`)
  if (body.kind === 'whole') key.update(body.bytes)
  return {
    effects: [
      `${method} ${target.path}`,
      ...(size === undefined
        ? []
        : [size === null ? 'a body of unknown length, not shown' : `a body of ${size} bytes`]),
    ],
    // The next body could ask for anything.
    shapeKey: body.kind === 'none' ? `${method} ${target.path}` : null,
    askKey: key.digest('hex'),
    editable: body.kind !== 'streamed',
  }
}

/**
 * Reads `METHOD /path?query`, and a body after an empty line: how an action is written in policy tests and edited.
 * @throws AgentgateError USAGE
 */
export function parseRequest(text: string, mediaType = 'application/json'): HttpAction {
  const gap = /\r?\n\r?\n/.exec(text)
  const line = (gap === null ? text : text.slice(0, gap.index)).trim()
  const body = gap === null ? '' : text.slice(gap.index + gap[0].length)
  const match = /^([A-Za-z]{1,20}) +(\S+)$/.exec(line)
  if (match === null)
    throw new AgentgateError('USAGE', 'a request is written as: GET /path?query, then an empty line and the body')
  const [, method = '', target = ''] = match
  try {
    return newAction(
      method.toUpperCase(),
      readTarget(target),
      body === '' ? '' : mediaType,
      body === '' ? { kind: 'none' } : { kind: 'whole', bytes: Buffer.from(body) },
    )
  } catch (error) {
    if (error instanceof AmbiguousTarget) throw new AgentgateError('USAGE', error.message)
    throw error
  }
}
