import { rmSync, statSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { newFolder } from '../../test/support/folder.ts'
import { openListener } from './listener.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

async function occupy(host: string): Promise<number> {
  const server = net.createServer().listen(0, host)
  cleanups.push(() => new Promise(resolve => server.close(resolve)))
  await new Promise(resolve => server.once('listening', resolve))
  return (server.address() as net.AddressInfo).port
}

const options = { unixSocket: null, maxConnections: 10, onConnection: (socket: net.Socket) => socket.end('hello') }

async function read(where: net.NetConnectOpts): Promise<string> {
  const socket = net.connect(where)
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return text
}

test.each(['127.0.0.1', '::1'])('a fixed port that is taken on %s is refused', async host => {
  const port = await occupy(host)
  await expect(openListener({ ...options, port: { wanted: port, fixed: true } })).rejects.toMatchObject({
    code: 'PORT_TAKEN',
    exitCode: 2,
  })
})

test.each(['127.0.0.1', '::1'])('a port that is only remembered gives way when taken on %s', async host => {
  const port = await occupy(host)
  const listener = await openListener({ ...options, port: { wanted: port, fixed: false } })
  cleanups.push(() => listener.close())
  expect(listener.port).toBeGreaterThan(port)
})

test('both loopback families answer on one port, and nothing else does', async () => {
  const listener = await openListener({ ...options, port: { wanted: 23_400, fixed: false } })
  cleanups.push(() => listener.close())
  expect(await read({ host: '127.0.0.1', port: listener.port! })).toBe('hello')
  expect(await read({ host: '::1', port: listener.port! })).toBe('hello')
})

test('a unix socket is for this user alone, and is gone after close', async () => {
  const folder = newFolder('tunnel')
  cleanups.push(() => rmSync(folder, { recursive: true }))
  const socket = path.join(folder, 'sockets', 'one')
  const listener = await openListener({ ...options, port: null, unixSocket: socket })
  expect(statSync(path.dirname(socket)).mode & 0o777).toBe(0o700)
  expect(statSync(socket).mode & 0o777).toBe(0o600)
  expect(await read({ path: socket })).toBe('hello')
  await listener.close()
  expect(() => statSync(socket)).toThrow('ENOENT')
})
