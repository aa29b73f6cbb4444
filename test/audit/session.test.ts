import { existsSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { query, startServer, postgres18, app, type TestServer } from '../support/servers.ts'
import { Place, shopEnvironment, shopPolicy } from '../support/agentgate.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'
import { until } from '../support/processes.ts'

interface Ocsf {
  readonly class_uid: number
  readonly time: number
  readonly message: string
  readonly metadata: { readonly uid: string; readonly event_code: string; readonly correlation_uid?: string }
  readonly query_info?: { readonly query_string: string }
  readonly unmapped: Readonly<Record<string, unknown>>
}

describeWith('what a session tells the SIEM', [postgres18.need], () => {
  const owned = new Owned()
  let server: TestServer
  let place: Place
  let file: string

  beforeAll(async () => {
    server = owned.add(await startServer(postgres18))
    place = new Place(
      shopPolicy(server, {
        rules: `- { name: no deletes, when: { statement: delete }, then: deny, message: "not here" }`,
        masks: `- { name: contact, columns: [ customers.email ], with: redact }`,
      }),
      shopEnvironment,
    )
    file = path.join(place.folder, 'audit.jsonl')
    const policy = readFileSync(place.policy, 'utf8')
    const { writeFileSync } = await import('node:fs')
    writeFileSync(place.policy, `${policy}audit: { to: { name: archive, file: ${file} } }\n`)
  }, 60_000)
  afterAll(async () => await owned.close())

  const events = (): Ocsf[] =>
    existsSync(file)
      ? readFileSync(file, 'utf8')
          .split('\n')
          .slice(0, -1)
          .map(line => JSON.parse(line) as Ocsf)
      : []
  const kinds = (session: string) =>
    events()
      .filter(event => event.metadata.correlation_uid === session)
      .map(event => event.metadata.event_code)

  it('is its start, each decision and its end, with what masks hide hidden', async () => {
    const tunnels = await place.connect()
    await query(tunnels.tunnel.url, `select id, email from customers where email = 'jana.weber@example.com' limit 1`)
    await expect(query(tunnels.tunnel.url, 'delete from orders')).rejects.toThrow(/not here/)
    await tunnels.close()
    const { session } = tunnels
    await until('its end is told', () => kinds(session).includes('session-end'))
    const told = events().filter(event => event.metadata.correlation_uid === session)
    expect(kinds(session)[0]).toBe('session-start')
    expect(kinds(session).at(-1)).toBe('session-end')
    const denied = told.filter(event => event.unmapped['outcome'] === 'denied')
    expect(denied).toMatchObject([
      {
        class_uid: 6005,
        activity_name: 'Delete',
        action: 'Denied',
        disposition: 'Blocked',
        query_info: { query_string: 'delete from orders' },
        authorizations: [{ decision: 'denied', policy: { name: 'no deletes' } }],
      },
    ])
    expect(told.some(event => event.query_info?.query_string.includes('from customers') === true)).toBe(true)
    // The very value that the mask hides was in the statement.
    expect(JSON.stringify(told)).not.toContain('jana.weber')
    expect(JSON.stringify(told)).not.toContain(app.password)
    expect(new Set(told.map(event => event.metadata.uid)).size).toBe(told.length)
    expect(statSync(file).mode & 0o777).toBe(0o600)
  }, 60_000)

  it('is told that a session was killed, by the next one, with nothing lost that was decided', async () => {
    const killed = await place.connect()
    await query(killed.tunnel.url, `select 'before the kill'`)
    killed.running.child.kill('SIGKILL')
    await killed.running.finished()
    const status = await place.run(['audit', '--json'])
    expect(JSON.parse(status.stdout)).toMatchObject({ name: 'archive', state: 'ok' })
    const next = await place.connect()
    await until('the last word arrives', () =>
      events().some(event => event.query_info?.query_string.includes('before the kill') === true),
    )
    await next.close()
    const uids = events().map(event => event.metadata.uid)
    expect(uids).toContain(`${killed.session}:start`)
    expect(kinds(killed.session)).not.toContain('session-end')
  }, 60_000)
})
