// A web project's own test, as an agent would run it inside a confinement: a dev server on loopback, and a browser that uses it.
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { Browser } from '../support/chromium.ts'

const page = `<!doctype html><title>shop</title><input id=name><button id=go>Refund</button><p id=said></p>
<script type=module>
  import { refund } from '/refund.js'
  document.querySelector('#go').onclick = async () => {
    document.querySelector('#said').textContent = await refund(document.querySelector('#name').value)
  }
</script>`
const files: Readonly<Record<string, readonly [type: string, body: string]>> = {
  '/': ['text/html', page],
  '/refund.js': ['text/javascript', `export const refund = async name => (await fetch('/api/refund?' + name)).text()`],
}
const server = http.createServer((request, response) => {
  const url = request.url ?? '/'
  const [type, body] = files[url] ?? ['text/plain', `refunded ${url.split('?')[1] ?? ''}`]
  response.writeHead(200, { 'content-type': type }).end(body)
})
server.listen(0, 'localhost')
await once(server, 'listening')
{
  await using browser = await Browser.start(process.argv.slice(2))
  const tab = await browser.page()
  await tab.goto(`http://localhost:${(server.address() as AddressInfo).port}/`)
  await tab.fill('#name', 'maria')
  await tab.click('#go')
  await tab.holds(`document.querySelector('#said').textContent === 'refunded maria'`)
  console.log('refunds work')
  console.log(await tab.goto(process.env['OUTSIDE'] ?? '').catch((error: unknown) => String(error)))
}
server.close()
