import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Recorder } from '../../src/recording/recorder.ts'
import { newSessionKey } from '../../src/recording/session-key.ts'
import { c1, sampleAction, sampleOutcome, sampleRecorder, sampleStart } from '../recording/sample.ts'
import { Place } from '../support/agentgate.ts'
import { Browser, chromium, type Page } from '../support/chromium.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'

/** Each of these would call `alert`, load something or draw something else if it were ever more than text. */
const attacks = [
  '<script>alert("owned")</script>',
  '</pre></article></main></script></style><script>alert("owned")</script>',
  '<img src=x onerror=alert("owned")>',
  '<img src="http://127.0.0.1:9/owned.png">',
  '<svg/onload=alert("owned")>',
  '"><iframe srcdoc="<script>parent.alert(1)</script>">',
  `' autofocus onfocus=alert("owned") x='`,
  '<a href="javascript:alert(1)">a</a>',
  '<meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/">',
  '<base href="http://127.0.0.1:9/"><link rel=stylesheet href=owned.css>',
  '<style>*{display:none}@import url(http://127.0.0.1:9/owned.css)</style>',
  '<form action="http://127.0.0.1:9/"><input autofocus></form>',
  '<!-- ]]> <![CDATA[ {{constructor.constructor("alert(1)")()}} ${alert(1)}',
  '\u001b]8;;http://127.0.0.1:9/\u0007link\u001b]8;;\u0007\u001b[2J\u001b]0;owned\u0007',
  '\u202ereversed\u2066\u200b',
]

describeWith('a session as an HTML page, in Chromium', [chromium], () => {
  const owned = new Owned()
  let place: Place
  let browser: Browser
  let folder: string

  beforeAll(async () => {
    place = new Place('version: 1\n')
    folder = path.join(place.home, 'data', 'recordings')
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
    browser = owned.add(await Browser.start())
  }, 60_000)
  afterAll(async () => {
    await owned.close()
    fs.rmSync(place.folder, { recursive: true, force: true })
  })

  const exported = async (recorder: Recorder, ...more: string[]): Promise<string> => {
    const file = path.join(place.folder, `${path.basename(recorder.path)}.html`)
    const { code, stderr } = await place.run(
      ['sessions', 'export', path.basename(recorder.path), '--output', file, ...more],
      { deadlineMs: 240_000 },
    )
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return pathToFileURL(file).href
  }
  const opened = async (url: string): Promise<Page> => {
    const page = await browser.page()
    await page.goto(url, 240_000)
    return page
  }
  const texts = async (page: Page, selector: string): Promise<string[]> =>
    (await page.evaluate(
      `Array.from(document.querySelectorAll(${JSON.stringify(selector)}), element => element.innerText)`,
    )) as string[]

  it('finds statements, names and results by text, and what was refused or asked about by a click', async () => {
    const session = sampleRecorder(folder)
    for (const [text, outcome] of [
      ['select name from customers', 'allowed'],
      ['delete from orders', 'denied'],
      ['update payments set done = true', 'approved'],
      ['select 1', 'allowed'],
    ] as const) {
      const action = session.append(sampleAction(text, { outcome, rule: null }))
      session.commit()
      if (outcome !== 'denied') session.append(sampleOutcome(action))
    }
    await session.close('', 0)
    const page = await opened(await exported(session))
    expect(await texts(page, '.action > pre')).toHaveLength(4)
    expect(await texts(page, '.action:not(.plain) .word')).toEqual(['denied', 'approved'])
    expect(await page.evaluate(`document.querySelector('.action.plain .word').checkVisibility()`)).toBe(false)

    await page.fill('#q', 'PAYMENTS')
    await page.holds(`document.getElementById('found').value.startsWith('1 of ')`)
    expect(await texts(page, '.entry:not([hidden])')).toEqual([expect.stringContaining('update payments')])
    await page.fill('#q', 'nothing like it')
    await page.holds(`document.getElementById('found').value.startsWith('0 of ')`)
    await page.fill('#q', '')
    await page.holds(`document.getElementById('found').value === ''`)
    expect(await page.evaluate(`document.querySelectorAll('.entry[hidden]').length`)).toBe(0)

    await page.click('#refused')
    await page.holds(`document.getElementById('found').value.startsWith('2 of ')`)
    expect(await texts(page, '.action:not([hidden]) > pre')).toEqual([
      'delete from orders',
      'update payments set done = true',
    ])

    // The timeline has a mark for each of the two, seen, and a click on it goes there.
    expect(await page.evaluate(`document.querySelectorAll('.timeline a rect').length`)).toBe(2)
    const box = (await page.evaluate(
      `(({ width, height }) => ({ width, height }))(document.querySelector('.timeline rect.bad').getBoundingClientRect())`,
    )) as { width: number; height: number }
    expect(box.width).toBeGreaterThan(1)
    expect(box.height).toBeGreaterThan(5)
    await page.click('.timeline a:last-child rect')
    await page.holds(`document.querySelector('.action:target > pre')?.innerText === 'update payments set done = true'`)
    expect(page.complaints).toEqual([])
    await page.close()
  }, 60_000)

  it('runs, loads and draws nothing of what was recorded', async () => {
    const all = attacks.join('\n')
    const start = sampleStart()
    const session = sampleRecorder(folder, {
      key: newSessionKey(),
      start: {
        ...start,
        host: all,
        command: [all],
        subject: {
          ...start.subject,
          principal: { ...start.subject.principal, name: all },
          purpose: all,
          ticket: all,
        },
        resources: [{ name: all, kind: all, scope: all, address: all }],
      },
    })
    for (const attack of [...attacks, all]) {
      const sample = sampleAction(attack, {
        outcome: 'rejected',
        rule: { name: attack, place: attack },
        message: attack,
        asked: attack,
        approval: { id: 'a_1' as never, by: attack, reason: attack, edited: false, waitedMs: 12 },
      })
      const action = session.append({
        ...sample,
        resource: attack,
        view: { ...sample.view, kind: 'http', summary: attack },
      })
      session.commit()
      void session.result({ kind: 'result', connection: c1, action, bytes: Buffer.from(`${attack}\n`) })
      session.append({ ...sampleOutcome(action), tag: attack, masked: [attack] } as never)
    }
    session.append({ kind: 'note', connection: null, text: all })
    session.append({ kind: 'terminal', direction: 'output', bytes: Buffer.from(`${all}\r\n`) })
    await session.close(all, 0)

    const url = await exported(session)
    const page = await opened(url)
    // Its own search and every way in and out of it, so that what only runs later has had its chance.
    await page.fill('#q', 'alert')
    await page.holds(`document.getElementById('found').value !== ''`)
    await page.fill('#q', '')
    await page.holds(`document.getElementById('found').value === ''`)
    await page.click('#refused')
    await page.holds(`document.getElementById('found').value !== ''`)
    expect(page.dialogs).toEqual([])
    expect(page.complaints).toEqual([]) // the policy had nothing to stop: no markup came of it at all
    expect(page.requests).toEqual([url])
    expect(await page.evaluate('location.href')).toBe(url)
    expect(
      await page.evaluate(
        `document.querySelectorAll('img, iframe, form, base, link, object, embed, main script, main style, main svg').length`,
      ),
    ).toBe(0)
    expect(await page.evaluate('document.scripts.length')).toBe(1)
    const shown = String(await page.evaluate('document.body.textContent'))
    for (const attack of attacks.slice(0, -2)) expect(shown).toContain(attack)
    expect(shown).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/)
    expect(shown).toContain('\\x1b]0;owned\\x07')
    await page.close()
  }, 60_000)

  it('stops a script and a request also where a fault of ours let markup through', async () => {
    const session = sampleRecorder(folder)
    session.append(sampleAction('select 1'))
    session.commit()
    await session.close('', 0)
    const file = new URL(await exported(session))
    const text = fs.readFileSync(file, 'utf8')
    fs.writeFileSync(
      file,
      text.replace('<main>', () => `<main>${attacks.join('\n')}`),
    )
    const page = await opened(file.href)
    await page.evaluate('new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))')
    expect(page.dialogs).toEqual([])
    expect(page.complaints.join('\n')).toContain('Content Security Policy')
    await page.close()
  }, 60_000)

  it('opens and searches a session of 100,000 events', async () => {
    const session = sampleRecorder(folder)
    for (let count = 0; count < 50_000; count++) {
      const action = session.append(
        sampleAction(`select name from customers where id = ${count}`, {
          outcome: count % 1000 === 0 ? 'denied' : 'allowed',
          rule: null,
        }),
      )
      session.append(sampleOutcome(action))
      if (count % 500 === 0) session.commit()
    }
    session.commit()
    await session.close('', 0)
    const page = await opened(await exported(session))
    expect(await page.evaluate(`document.querySelectorAll('.action').length`)).toBe(50_000)
    await page.fill('#q', 'where id = 49876')
    await page.holds(`document.getElementById('found').value.startsWith('1 of ')`, 120_000)
    await page.close()
  }, 300_000)
})
