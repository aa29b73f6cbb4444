import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { maxWaitingRequests, serveHttp, type HttpService } from './serve-http.ts'

let server: net.Server | undefined
afterEach(() => server?.close())

/** Serves one connection that a client makes; `served` settles when the service has. */
async function connection(more: Pick<HttpService, 'answer'> & Partial<HttpService>) {
  const gone = new AbortController()
  let settle: (result: Promise<void>) => void = () => undefined
  const served = new Promise<void>(resolve => (settle = resolve))
  server = net.createServer({ allowHalfOpen: true }, socket =>
    settle(
      serveHttp({
        client: socket,
        signal: new AbortController().signal,
        idleClientMs: 60_000,
        onGone: () => gone.abort(),
        onEnd: () => socket.destroy(),
        onUpgrade: (_, each) => each.destroy(),
        onMalformed: (_, each) => each.destroy(),
        ...more,
      }),
    ),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => undefined)
  let said = ''
  client.setEncoding('latin1').on('data', (part: string) => (said += part))
  return { client, served, gone: gone.signal, said: () => said }
}

const request = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`
const requests = (count: number) => Array.from({ length: count }, (_, index) => request(`/${index}`)).join('')

it('answers what is pipelined in order, one at a time', async () => {
  let atOnce = 0
  const { client, served, said } = await connection({
    answer: async ({ url }, response) => {
      expect(++atOnce).toBe(1)
      await new Promise(setImmediate)
      response.end(`<${url ?? ''}>`)
      response.once('close', () => atOnce--)
    },
  })
  client.write(requests(maxWaitingRequests - 1) + request('/last', 'Connection: close\r\n'))
  await served
  const order = said().match(/<[^>]*>/g)
  expect(order).toEqual([...Array.from({ length: maxWaitingRequests - 1 }, (_, index) => `</${index}>`), '</last>'])
})

it('closes the connection of a client that lets more wait than are waited for, and asks no one further', async () => {
  const asked: string[] = []
  const { client, served, gone } = await connection({
    answer: async ({ url }) => {
      asked.push(url ?? '')
      client.write(requests(maxWaitingRequests))
      await once(gone, 'abort')
    },
  })
  client.write(request('/first'))
  await once(client, 'close')
  await served
  expect(asked).toEqual(['/first'])
})

it('closes the connection where an answer fails, and says with what', async () => {
  const { client, served } = await connection({ answer: () => Promise.reject(new Error('broken')) })
  const rejected = expect(served).rejects.toThrow('broken')
  client.write(request('/'))
  await once(client, 'close')
  await rejected
})

it('gives CONNECT its turn behind requests, with what came after it', async () => {
  const seen: string[] = []
  const { client, served } = await connection({
    answer: ({ url }, response) => {
      seen.push(url ?? '')
      response.end()
      return Promise.resolve()
    },
    connect: ({ url, socket }, head) => {
      seen.push(`CONNECT ${url ?? ''} ${head.toString()}`)
      socket.destroy()
      return Promise.resolve()
    },
  })
  client.write(`${request('/a')}CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\nhello`)
  await served
  expect(seen).toEqual(['/a', 'CONNECT b:443 hello'])
})
