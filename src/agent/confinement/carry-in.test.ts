import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Child } from '../child.ts'
import { CarryIn } from './carry-in.ts'
import { openers, type Opener } from './socket-opener.ts'

const known = openers().map(opener => [path.basename(opener.file), opener] as const)
let folder = ''
beforeEach(() => void (folder = mkdtempSync(path.join(os.tmpdir(), 'agentgate-carry-in-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const echo = (client: net.Socket) => void client.on('error', () => undefined).pipe(client)
const options = (wanted: number, fixed: boolean, unixSocket: string | null) => ({
  port: { wanted, fixed },
  unixSocket,
  maxConnections: 10,
  onConnection: echo,
})
async function said(where: net.NetConnectOpts, text: string): Promise<string> {
  const client = net.connect(where)
  client.end(text)
  let all = ''
  for await (const part of client.setEncoding('utf8')) all += String(part)
  return all
}
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

describe.each(known)('sockets that %s opens', (_, opener: Opener) => {
  const start = () => {
    const process = spawn(opener.file, ['-e', opener.source], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const carryIn = new CarryIn([opener])
    carryIn.attach(process)
    return { process, carryIn, ended: once(process, 'exit') }
  }

  it('are accepted from here, on both families and a path, also after it has ended', async () => {
    const { carryIn, ended } = start()
    const port = await freePort()
    const file = path.join(folder, 'deep/er/one.sock')
    const listener = await carryIn.open(options(port, true, file))
    expect(listener).toMatchObject({ port, unixSocket: file })
    const other = path.join(folder, 'a note "of" its own $HOME.txt')
    carryIn.write(other, 'line one\n"two" €\n')
    carryIn.finish()
    expect(await ended).toEqual([0, null])
    for (const where of [{ host: '127.0.0.1', port }, { host: '::1', port }, { path: file }])
      expect(await said(where, 'through')).toBe('through')
    expect(readFileSync(other, 'utf8')).toBe('line one\n"two" €\n')
    expect(statSync(other).mode & 0o777).toBe(0o600)
    await listener.close()
    await expect(said({ host: '127.0.0.1', port }, 'x')).rejects.toThrow(/ECONNREFUSED/)
  })

  it('are on the next port where the one wanted is taken, and nowhere where it must be that one', async () => {
    const { carryIn, ended } = start()
    const taken = net.createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const listener = await carryIn.open(options(port, false, null))
    expect(listener.port).toBeGreaterThan(port)
    await expect(carryIn.open(options(port, true, null))).rejects.toMatchObject({ code: 'PORT_TAKEN' })
    carryIn.finish()
    await ended
    await listener.close()
    taken.close()
  })

  it('are refused where it has ended before', async () => {
    const { process, carryIn } = start()
    process.kill('SIGKILL')
    await once(process, 'exit')
    await expect(carryIn.open(options(await freePort(), true, null))).rejects.toMatchObject({ code: 'NOT_STARTED' })
  })
})

it('goes on with node where the quicker program is not there or cannot', async () => {
  const node = known.at(-1)?.[1]
  const carryIn = new CarryIn([
    { file: path.join(folder, 'no-perl'), source: '' },
    { file: process.execPath, source: 'process.exit(111)' },
    ...(node === undefined ? [] : [node]),
  ])
  const child = Child.start({
    file: '/bin/sh',
    args: ['-c', 'exit 5'],
    environment: { PATH: '/usr/bin:/bin' },
    workingFolder: folder,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    enclosure: null,
    helper: carryIn,
    onTerminal: () => undefined,
  })
  const listener = await carryIn.open(options(await freePort(), true, null))
  const note = path.join(folder, 'note')
  carryIn.write(note, 'there')
  carryIn.finish()
  await child.waiting
  expect(existsSync(note)).toBe(true)
  child.release([], 'AGENTGATE_SESSION=test')
  expect(await child.finished).toMatchObject({ code: 5, failure: undefined })
  await listener.close()
})
