import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { findProgram, type Need } from './needs.ts'
import { until } from './processes.ts'

const program = findProgram('chromium') ?? findProgram('chromium-browser') ?? findProgram('google-chrome')

export const chromium: Need = {
  name: 'Chromium',
  missing: program === undefined ? 'apt-get install chromium' : undefined,
}

interface Message {
  readonly id?: number
  readonly method?: string
  readonly sessionId?: string
  readonly params?: Record<string, unknown>
  readonly result?: Record<string, unknown>
  readonly error?: { readonly message: string }
}

type Said = (message: Message) => void

/**
 * A real, headless Chromium with a profile of its own, spoken to over a pair of pipes (`--remote-debugging-pipe`: messages
 * of the DevTools protocol, each ended by a zero byte), so that no port is open meanwhile.
 */
export class Browser implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #profile: string
  readonly #waiting = new Map<number, { readonly resolve: Said; readonly reject: (error: Error) => void }>()
  readonly #pages = new Map<string, Said>()
  #lastId = 0
  #stderr = ''

  private constructor(child: ChildProcess, profile: string) {
    this.#child = child
    this.#profile = profile
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#stderr = (this.#stderr + text).slice(-4000)))
    let rest = Buffer.alloc(0)
    ;(child.stdio[4] as Readable).on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
        this.#take(JSON.parse(rest.toString('utf8', 0, end)) as Message)
        rest = rest.subarray(end + 1)
      }
    })
    const gone = () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`Chromium has ended: ${this.#stderr}`))
      this.#waiting.clear()
    }
    child.on('error', gone)
    child.on('close', gone)
  }

  static async start(args: readonly string[] = []): Promise<Browser> {
    const profile = mkdtempSync(path.join(os.tmpdir(), 'agentgate-chromium-'))
    const child = spawn(
      program ?? 'chromium',
      [
        '--headless=new',
        '--remote-debugging-pipe',
        `--user-data-dir=${profile}`,
        // Chromium's own sandbox refuses to run as root; what the tests show it is their own.
        ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
        '--disable-dev-shm-usage',
        '--disable-gpu',
        '--no-first-run',
        '--no-default-browser-check',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--disable-extensions',
        ...args,
        'about:blank',
      ],
      // A group of its own: its helpers end with it.
      { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'], detached: true },
    )
    ;(child.stdio[3] as Writable).on('error', () => undefined) // its end is told by 'close'
    const browser = new Browser(child, profile)
    try {
      await browser.send('Browser.getVersion')
    } catch (error) {
      await browser[Symbol.asyncDispose]()
      throw error
    }
    return browser
  }

  /** A new tab. */
  async page(): Promise<Page> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true })
    const page = new Page(this, String(sessionId), String(targetId))
    this.#pages.set(String(sessionId), message => page.take(message.method ?? '', message.params ?? {}))
    await page.enable()
    return page
  }

  async send(
    method: string,
    params: Record<string, unknown> = {},
    sessionId?: string,
  ): Promise<Record<string, unknown>> {
    const id = ++this.#lastId
    const answer = new Promise<Message>((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
    ;(this.#child.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    const { error, result } = await answer
    if (error !== undefined) throw new Error(`${method}: ${error.message}`)
    return result ?? {}
  }

  #take(message: Message): void {
    if (message.id === undefined) {
      if (message.sessionId !== undefined) this.#pages.get(message.sessionId)?.(message)
      return
    }
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    waiting?.resolve(message)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pid, exitCode, signalCode } = this.#child
    if (pid !== undefined && exitCode === null && signalCode === null) {
      const closed = once(this.#child, 'close')
      process.kill(-pid, 'SIGKILL')
      await closed
    }
    // Its helpers may still be writing when it is gone.
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
}

/** One tab, and what happened in it. */
export class Page {
  /** Every URL that was asked for, the page's own among them; `data:` and the like, too. */
  readonly requests: string[] = []
  /** What a script said on the console, threw, or what the browser itself complains of, such as its content security policy. */
  readonly complaints: string[] = []
  /** Texts of `alert`, `confirm` and `prompt`. Each is closed at once. */
  readonly dialogs: string[] = []
  readonly #browser: Browser
  readonly #session: string
  readonly #target: string
  #loads = 0

  constructor(browser: Browser, session: string, target: string) {
    this.#browser = browser
    this.#session = session
    this.#target = target
  }

  async enable(): Promise<void> {
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await this.send(`${domain}.enable`)
  }

  async send(method: string, params: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
    return await this.#browser.send(method, params, this.#session)
  }

  take(method: string, params: Record<string, unknown>): void {
    switch (method) {
      case 'Page.loadEventFired':
        this.#loads += 1
        return
      case 'Page.javascriptDialogOpening':
        this.dialogs.push(String(params['message']))
        void this.send('Page.handleJavaScriptDialog', { accept: false }).catch(() => undefined) // gone with its tab
        return
      case 'Network.requestWillBeSent':
        this.requests.push((params['request'] as { url: string }).url)
        return
      case 'Runtime.consoleAPICalled':
      case 'Runtime.exceptionThrown':
      case 'Log.entryAdded':
        this.complaints.push(JSON.stringify(params))
    }
  }

  /** Opens a URL and waits until it and all it refers to are loaded. */
  async goto(url: string, deadlineMs = 60_000): Promise<void> {
    const before = this.#loads
    const { errorText } = await this.send('Page.navigate', { url })
    if (errorText !== undefined) throw new Error(`${url}: ${String(errorText)}`)
    await until(`Chromium loads ${url}`, () => this.#loads > before, deadlineMs)
  }

  /** The value of a JavaScript expression in the page; a promise's, once it has one. @throws what it throws */
  async evaluate(expression: string): Promise<unknown> {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`)
    return (result as { value?: unknown }).value
  }

  /** Waits until an expression is true. */
  async holds(expression: string, deadlineMs = 30_000): Promise<void> {
    await until(expression, async () => (await this.evaluate(expression)) === true, deadlineMs)
  }

  /** Clicks the middle of an element with a real mouse event. */
  async click(selector: string): Promise<void> {
    const { x, y } = (await this.evaluate(
      `(() => { const element = document.querySelector(${JSON.stringify(selector)}); element.scrollIntoView({ block: 'nearest' });
        const box = element.getBoundingClientRect(); return { x: box.x + box.width / 2, y: box.y + box.height / 2 } })()`,
    )) as { x: number; y: number }
    for (const type of ['mousePressed', 'mouseReleased'])
      await this.send('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 })
  }

  /** Puts text into a field in place of what is in it, as typed. */
  async fill(selector: string, text: string): Promise<void> {
    await this.evaluate(
      `(() => { const field = document.querySelector(${JSON.stringify(selector)}); field.focus(); field.select() })()`,
    )
    if (text === '')
      for (const type of ['keyDown', 'keyUp'])
        await this.send('Input.dispatchKeyEvent', {
          type,
          key: 'Backspace',
          code: 'Backspace',
          windowsVirtualKeyCode: 8,
        })
    else await this.send('Input.insertText', { text })
  }

  /** A PNG of what is to be seen. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.send('Page.captureScreenshot')
    return Buffer.from(String(data), 'base64')
  }

  async close(): Promise<void> {
    await this.#browser.send('Target.closeTarget', { targetId: this.#target })
  }
}
