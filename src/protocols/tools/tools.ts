import type { Duplex } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { z } from 'zod'
import { textMask, type TextMask } from '../../masking/text-mask.ts'
import type { Action, ActionView, Mask } from '../../policy/action.ts'
import type { Context, DisplayEvent, Endpoint, FrameDecoder, Listening, Protocol, ServedResource } from '../protocol.ts'
import { ask, asToolAction, matches, parse, view, whenSchema } from './action.ts'
import { ToolConnection } from './connection.ts'
import { RunningCalls } from './running-calls.ts'

/** The variable by which `agentgate hook` finds its session. */
export const hookVariable = 'AGENTGATE_HOOK_URL'

/** What an agent does with tools of its own (a shell, an editor), asked for by its hooks before it does it. */
export const tools: Protocol = {
  kind: 'tools',
  label: 'Tools',
  defaultPort: 13_129,
  socketName: 'hook.sock',
  resourceSchema: z.object({}),
  scopeSchema: z.object({}),
  whenSchema,
  reach: () => ['nothing by itself: it decides on what an agent does here'],
  matches: (when, action, doubt) => matches(when as z.output<typeof whenSchema>, asToolAction(action), doubt),
  varies: () => false,
  view: masked,
  parse: text => new Promise(done => done(parse(text))),
  ask: action => ask(asToolAction(action)),
  decoder: () => new TextDecoding(),
  prepare: () => Promise.resolve(),
  probe: () => Promise.resolve({ label: 'tools of an agent', warnings: [] }),
  accept: async (client: Duplex, context: Context) => {
    await new ToolConnection(client, context, {
      running: runningIn(context.resource),
      mask: maskFor(context.masks()),
    }).serve()
  },
  endpoint,
}

/** Only what is made of immutable masks, and gone with them. */
const prepared = new WeakMap<readonly Mask[], TextMask>()

function maskFor(masks: readonly Mask[]): TextMask {
  let mask = prepared.get(masks)
  if (mask === undefined) prepared.set(masks, (mask = textMask(masks)))
  return mask
}

function masked(action: Action, masks: readonly Mask[]): ActionView {
  return view(asToolAction(action), maskFor(masks))
}

/** Of a session's own resource, and gone with it. */
const running = new WeakMap<ServedResource, RunningCalls>()

function runningIn(resource: ServedResource): RunningCalls {
  let calls = running.get(resource)
  if (calls === undefined) running.set(resource, (calls = new RunningCalls()))
  return calls
}

/** What a tool gave back is recorded as text. */
class TextDecoding implements FrameDecoder {
  readonly #decoder = new StringDecoder('utf8')

  push(bytes: Buffer): DisplayEvent[] {
    return shown(this.#decoder.write(bytes))
  }

  end(): DisplayEvent[] {
    return shown(this.#decoder.end())
  }
}

function shown(text: string): DisplayEvent[] {
  return text === '' ? [] : [{ kind: 'text', text }]
}

function endpoint({ host, port, unixSocket, clientSecret }: Listening): Endpoint {
  const shown = port === null ? `unix:${unixSocket ?? ''}` : `http://${host}:${port}`
  const url = port === null ? shown : `http://agentgate:${clientSecret.reveal()}@${host}:${port}`
  return {
    address: port === null ? (unixSocket ?? '') : `${host}:${port}`,
    url,
    shown,
    env: { [hookVariable]: url },
    files: {},
    use: 'agentgate hook, as a PreToolUse hook of an agent',
  }
}
