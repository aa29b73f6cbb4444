// A process of its own, since a keychain that asks somebody who is not there never answers, and cannot be told to stop.
// One request on stdin, one answer on stdout; the secret is in neither argv nor the environment.
import { text } from 'node:stream/consumers'
import { z } from 'zod'

const request = z.discriminatedUnion('operation', [
  z.object({ operation: z.literal('get'), service: z.string(), account: z.string() }),
  z.object({ operation: z.literal('set'), service: z.string(), account: z.string(), secret: z.string() }),
  z.object({ operation: z.literal('delete'), service: z.string(), account: z.string() }),
])

const asked = request.parse(JSON.parse(await text(process.stdin)))
const { default: keytar } = await import('keytar')
let secret: string | null = null
switch (asked.operation) {
  case 'get':
    secret = await keytar.getPassword(asked.service, asked.account)
    break
  case 'set':
    await keytar.setPassword(asked.service, asked.account, asked.secret)
    break
  case 'delete':
    await keytar.deletePassword(asked.service, asked.account)
    break
  default:
    asked satisfies never
}
process.stdout.write(JSON.stringify({ secret }))
