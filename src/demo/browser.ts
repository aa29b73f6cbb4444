import http from 'node:http'
import { text } from 'node:stream/consumers'
import { AgentgateError } from '../errors.ts'
import { personCookie, type DemoPerson } from './identity-provider.ts'

const maxSteps = 20

interface Page {
  readonly url: string
  readonly body: string
}

const refused = 'Refused.'

/**
 * Does at the demo's provider what a person does in a browser: opens the address with the code in it, sends each page's
 * form on, follows redirects, keeps cookies.
 * @throws AgentgateError LOGIN_FAILED where that does not end at the page which says so
 */
export async function confirmAsPerson(
  address: string,
  person: DemoPerson,
  answer: 'yes' | 'no' = 'yes',
): Promise<void> {
  const cookies = new Map([[personCookie, person.id]])
  let page = await visit(address, undefined, cookies)
  for (let step = 0; step < maxSteps; step++) {
    if (page.body.includes(refused)) return
    const form = /<form[^>]*method="post"[^>]*action="([^"]+)"[^>]*>([\s\S]*?)<\/form>/.exec(page.body)
    if (form === null) break
    const fields = new URLSearchParams()
    for (const [input] of (form[2] ?? '').matchAll(/<input[^>]*>/g)) {
      const name = /name="([^"]*)"/.exec(input)?.[1]
      if (name !== undefined) fields.set(name, /value="([^"]*)"/.exec(input)?.[1] ?? '')
    }
    // The second button of the page that asks.
    if (answer === 'no' && fields.has('confirm')) fields.set('abort', 'yes')
    page = await visit(new URL(form[1] ?? '', page.url).href, fields, cookies)
  }
  if (!page.body.includes('<h1>Logged in</h1>'))
    throw new AgentgateError('LOGIN_FAILED', 'the demo’s provider did not take its own code')
}

async function visit(url: string, form: URLSearchParams | undefined, cookies: Map<string, string>): Promise<Page> {
  let at = url
  let sent = form
  for (let step = 0; step < maxSteps; step++) {
    const response = await send(at, sent, cookies)
    for (const set of response.headers['set-cookie'] ?? []) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(set) ?? []
      if (name === undefined) continue
      if (value === '') cookies.delete(name)
      else cookies.set(name, value ?? '')
    }
    const body = await text(response)
    const { location } = response.headers
    if (location === undefined) return { url: at, body }
    at = new URL(location, at).href
    sent = undefined
  }
  throw new AgentgateError('LOGIN_FAILED', 'the demo’s provider sends in circles')
}

async function send(
  url: string,
  form: URLSearchParams | undefined,
  cookies: ReadonlyMap<string, string>,
): Promise<http.IncomingMessage> {
  return await new Promise((resolve, reject) => {
    const request = http.request(url, {
      method: form === undefined ? 'GET' : 'POST',
      agent: false,
      headers: {
        cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
        ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      },
    })
    request.on('response', resolve)
    request.on('error', reject)
    request.end(form?.toString())
  })
}
