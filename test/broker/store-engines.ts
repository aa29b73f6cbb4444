import path from 'node:path'
import { openStore } from '../../src/broker/open-store.ts'
import type { Store } from '../../src/broker/store.ts'
import { Secret } from '../../src/secret.ts'
import { newFolder } from '../support/folder.ts'
import type { Need } from '../support/needs.ts'
import { postgres15, startServer, type TestServer } from '../support/servers.ts'

/** One engine: opens the same store as often as it can be open at once. */
export interface Engine {
  readonly name: string
  readonly needs: readonly Need[]
  start(): Promise<{ open(): Promise<Store>; close(): Promise<void> }>
}

let databases = 0
export const engines: readonly Engine[] = [
  {
    name: 'SQLite',
    needs: [],
    start: async () => {
      const file = path.join(newFolder('store'), 'broker.db')
      return { open: async () => await openStore({ file }), close: async () => undefined }
    },
  },
  {
    name: 'PostgreSQL',
    needs: [postgres15.need],
    start: async () => {
      const server = await startServer(postgres15)
      const url = await newDatabase(server)
      return { open: async () => await openStore({ url }), close: async () => await server[Symbol.asyncDispose]() }
    },
  },
]

/** Owned by somebody who may do nothing else. */
export async function newDatabase(server: TestServer): Promise<Secret> {
  const name = `store${++databases}`
  await server.query(`create role ${name} login password 'of the store'`)
  await server.query(`create database ${name} owner ${name}`)
  return new Secret(`postgresql://${name}:of%20the%20store@${server.address}/${name}`)
}
