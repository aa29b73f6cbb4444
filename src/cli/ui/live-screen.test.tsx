import { stripVTControlCharacters } from 'node:util'
import { render } from 'ink-testing-library'
import { describe, expect, it } from 'vitest'
import { FakeSession } from '../../../test/cli/fake-session.ts'
import { paintFor } from '../paint.ts'
import { ApprovalDesk } from './approval-desk.ts'
import { ConnectView } from './connect-view.ts'
import { Frame } from './live-screen.tsx'

async function shownScreen() {
  const session = new FakeSession()
  const printed: string[] = []
  const view = new ConnectView({
    control: session,
    status: session.now,
    desk: new ApprovalDesk(),
    approver: {
      missing: () => null,
      unlock: () => Promise.resolve(true),
      answer: async (request, answer) => await session.answer(request.id, answer),
    },
    paint: paintFor(false),
    actions: {
      urls: [{ resource: 'db-prod', url: 'postgresql://maria:ag_secret@127.0.0.1:15432/shop' }],
      renew: async () => await session.renew(),
      close: () => void session.close(),
      copy: () => undefined,
      ring: () => undefined,
      print: lines => printed.push(...lines),
    },
  })
  const screen = { columns: 100, rows: 30, on: () => screen, off: () => screen, write: () => true }
  const shown = render(<Frame view={view} stdout={screen as unknown as NodeJS.WriteStream} attach={() => undefined} />)
  const settle = async () => await new Promise(resolve => setTimeout(resolve, 60))
  await settle()
  return {
    session,
    view,
    printed,
    settle,
    frame: () => stripVTControlCharacters(shown.lastFrame() ?? ''),
    close: shown.unmount,
  }
}

describe('the frame', () => {
  it('is drawn anew as what it shows changes', async () => {
    const { session, view, frame, settle, close } = await shownScreen()
    expect(frame()).toContain('nobody connected · 0 statements')
    view.refresh({ ...session.now, connections: 2, statements: 37, denied: 1 })
    await settle()
    expect(frame()).toContain('2 clients connected · 37 statements')
    view.take({ event: 'approval', at: new Date().toISOString(), request: session.hold() })
    await settle()
    expect(frame()).toContain('[a] approve once')
    close()
  })

  it('prints at most so many lines that they can be read, and first of all what matters', async () => {
    const { session, view, printed, close } = await shownScreen()
    const decision = (index: number, kind: 'allowed' | 'denied') =>
      view.take({
        event: 'decision',
        at: new Date().toISOString(),
        session: session.id,
        resource: 'db-prod',
        connection: 'c1',
        action: index,
        decision: kind,
        rule: null,
        summary: 'S',
        text: `statement ${index}`,
        client: 'psql',
      })
    for (let index = 0; index < 5000; index++) {
      decision(index, index === 2500 ? 'denied' : 'allowed')
      view.take({
        event: 'outcome',
        at: new Date().toISOString(),
        session: session.id,
        connection: 'c1',
        action: index,
        status: 'ok',
        tag: 'SELECT 1',
        rows: 1,
        milliseconds: 1,
        masked: [],
      })
    }
    view.refresh(session.now)
    expect(printed.length).toBe(31)
    expect(printed.filter(line => line.includes('denied'))).toHaveLength(1)
    expect(printed.at(-1)).toContain('… and 4,970 more')
    close()
  })
})
