import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { agentgateBin, Place } from '../support/agentgate.ts'
import { describeWith, program } from '../support/needs.ts'
import { runProgram } from '../support/processes.ts'

const cache =
  process.env['AGENTGATE_TEST_CACHE'] ??
  path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'agentgate-test')
const installed = path.join(cache, 'claude', 'node_modules')
const claude = path.join(installed, '.bin', 'claude')
const needs = [
  program('bwrap', 'apt-get install bubblewrap'),
  program('git'),
  {
    name: 'Claude Code',
    missing: existsSync(claude)
      ? undefined
      : `npm install --prefix ${path.dirname(installed)} @anthropic-ai/claude-code`,
  },
]

interface Block {
  readonly type: string
  readonly content?: unknown
  readonly is_error?: boolean
}

interface Asked {
  readonly stream?: boolean
  readonly tools?: readonly unknown[]
  readonly messages: readonly { readonly role: string; readonly content: string | readonly Block[] }[]
}

type Step = { readonly tool: string; readonly input: unknown } | { readonly say: string }

/** As much of the Messages API as Claude Code asks for: answers by the number of tool results so far. */
class Model {
  readonly server: http.Server
  readonly tokens = new Set<string | undefined>()
  /** What came back of each step. */
  readonly results: Block[] = []
  readonly steps: readonly Step[]

  constructor(steps: readonly Step[]) {
    this.steps = steps
    this.server = http.createServer((request, response) => {
      this.tokens.add(request.headers.authorization)
      let body = ''
      request.setEncoding('utf8').on('data', (part: string) => (body += part))
      request.on('end', () => this.#answer(request.url ?? '', body, response))
    })
  }

  #answer(url: string, body: string, response: http.ServerResponse): void {
    if (!url.startsWith('/v1/messages') || url.includes('count_tokens')) {
      response.writeHead(url.includes('count_tokens') ? 200 : 404, { 'content-type': 'application/json' })
      response.end('{"input_tokens":10}')
      return
    }
    const asked = JSON.parse(body) as Asked
    const blocks = asked.messages.flatMap(({ content }) => (typeof content === 'string' ? [] : content))
    const results = blocks.filter(block => block.type === 'tool_result')
    const working = (asked.tools?.length ?? 0) > 0
    if (working) this.results.splice(0, this.results.length, ...results)
    const step: Step = working ? (this.steps[results.length] ?? { say: 'done' }) : { say: 'ok' }
    const block =
      'say' in step
        ? { type: 'text', text: step.say }
        : { type: 'tool_use', id: `toolu_${results.length}`, name: step.tool, input: step.input }
    const stop = 'say' in step ? 'end_turn' : 'tool_use'
    const message = {
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      model: 'stub',
      usage: { input_tokens: 1, output_tokens: 1 },
    }
    if (asked.stream !== true) {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ ...message, content: [block], stop_reason: stop, stop_sequence: null }))
      return
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const send = (type: string, data: object) =>
      response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`)
    send('message_start', { message: { ...message, content: [], stop_reason: null, stop_sequence: null } })
    send('content_block_start', {
      index: 0,
      content_block: 'say' in step ? { type: 'text', text: '' } : { ...block, input: {} },
    })
    send('content_block_delta', {
      index: 0,
      delta:
        'say' in step
          ? { type: 'text_delta', text: step.say }
          : { type: 'input_json_delta', partial_json: JSON.stringify(step.input) },
    })
    send('content_block_stop', { index: 0 })
    send('message_delta', { delta: { stop_reason: stop, stop_sequence: null }, usage: { output_tokens: 1 } })
    send('message_stop', {})
    response.end()
  }
}

describeWith('Claude Code, confined, with a model that the test plays', needs, () => {
  let place: Place
  let work = ''
  let model: Model

  beforeAll(async () => {
    place = new Place('', { MODEL_TOKEN: 'the real token' })
    work = path.join(place.folder, 'work')
    mkdirSync(work)
    execFileSync('git', ['init', '-q', work])
    writeFileSync(path.join(work, 'important'), 'kept')
    model = new Model([
      { tool: 'Bash', input: { command: 'git status --short', description: 'looks' } },
      { tool: 'Bash', input: { command: 'sh -c "rm -f important"', description: 'removes' } },
      { tool: 'Write', input: { file_path: path.join(work, 'notes.txt'), content: 'written by claude' } },
      { tool: 'Write', input: { file_path: path.join(work, '.github/ci.yml'), content: 'x' } },
      { tool: 'Bash', input: { command: 'curl -sS -m 3 http://1.1.1.1/', description: 'goes out' } },
      { say: 'refunds fail on Fridays' },
    ])
    model.server.listen(0, '127.0.0.1')
    await once(model.server, 'listening')
    writeFileSync(
      place.policy,
      `version: 1
resources:
  model:
    kind: http
    address: 127.0.0.1:${(model.server.address() as AddressInfo).port}
    default: allow
    credential: { issuer: static, secret: "\${env:MODEL_TOKEN}" }
  tools: { kind: tools, default: allow }
rules:
  - { name: nothing is removed, when: { command: "rm *" }, then: deny, message: "Ask a person." }
  - { name: pipelines are people’s, when: { file: ".github/*" }, then: deny }
`,
    )
  })
  afterAll(() => model.server.close())

  it('works with its tools, as far as the policy lets it', async () => {
    const ended = await runProgram(
      agentgateBin,
      [
        ...[
          'exec',
          '-r',
          'model',
          '-r',
          'tools',
          '--profile',
          'claude',
          '--read',
          installed,
          ...(await place.trusted()),
          '--',
        ],
        ...['/bin/sh', '-c'],
        `ANTHROPIC_BASE_URL=$HTTP_BASE_URL ANTHROPIC_AUTH_TOKEN=$HTTP_TOKEN ${claude} -p "why do refunds fail?"`,
      ],
      { cwd: work, env: place.env, deadlineMs: 100_000 },
    )
    expect(ended.stderr).toBe('')
    expect(ended.stdout).toContain('refunds fail on Fridays')
    expect(ended.code).toBe(0)
    const results = model.results.map(
      ({ content, is_error: wrong }) => [wrong === true, JSON.stringify(content)] as const,
    )
    expect(results).toEqual([
      [false, expect.stringContaining('important')],
      [true, expect.stringMatching(/refused by agentgate: Ask a person\.[^]*nothing is removed/)],
      [false, expect.stringContaining('notes.txt')],
      [true, expect.stringContaining('pipelines are people’s')],
      [true, expect.stringMatching(/curl: \(7\)/)],
    ])
    expect(readFileSync(path.join(work, 'important'), 'utf8')).toBe('kept')
    expect(readFileSync(path.join(work, 'notes.txt'), 'utf8')).toBe('written by claude')
    expect(existsSync(path.join(work, '.github'))).toBe(false)
    // What each of them came to stands beside it.
    const list = await place.run(['sessions', 'list', '--json'])
    const [session = ''] = list.stdout.split('\n').map(line => /"session":"(s_\w+)"/.exec(line)?.[1] ?? '')
    const shown = (await place.run(['sessions', 'show', session, '--json'])).stdout
      .split('\n')
      .filter(line => line.includes('"event":"statement"') && line.includes('"resource":"tools"'))
      .map(line => JSON.parse(line) as { readonly decision: string; readonly tag?: string | null })
    expect(shown.map(({ decision, tag }) => [decision, tag ?? null])).toEqual([
      ['allowed', 'done'],
      ['denied', null],
      ['allowed', 'done'],
      ['denied', null],
      ['allowed', 'failed'],
    ])
    const replay = (await place.run(['sessions', 'replay', session])).stdout
    expect(replay).toContain('?? important')
    // The model was asked with the real token, which the agent never had.
    expect([...model.tokens]).toEqual(['Bearer the real token'])
  }, 120_000)
})
