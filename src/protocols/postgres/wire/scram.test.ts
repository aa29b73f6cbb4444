import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../../errors.ts'
import { Secret } from '../../../secret.ts'
import { ScramClient, ScramServer, scramSha256, scramSha256Plus, scramVerifier } from './scram.ts'

const endPoint = Buffer.alloc(32, 1)

async function exchange(options: {
  password?: string
  clientEndPoint?: Buffer | null
  serverEndPoint?: Buffer | null
  tamper?: (message: string) => string
}) {
  const verifier = await scramVerifier(new Secret('pass\u00a0word'))
  const server = new ScramServer(verifier, options.serverEndPoint ?? null)
  const client = new ScramClient(
    new Secret(options.password ?? 'pass word'),
    server.mechanisms,
    options.clientEndPoint ?? null,
  )
  const tamper = options.tamper ?? ((message: string) => message)
  const challenge = server.first(client.mechanism, tamper(client.first()))
  const answer = server.final(tamper(await client.final(challenge)))
  if (answer !== undefined) client.verify(answer)
  return { mechanism: client.mechanism, answer }
}

describe('SCRAM', () => {
  test('client and server agree, and prove it to each other', async () => {
    expect(await exchange({})).toMatchObject({ mechanism: scramSha256, answer: expect.stringMatching(/^v=/) })
  })

  test('binds to the TLS channel where both ends can', async () => {
    const { mechanism, answer } = await exchange({ clientEndPoint: endPoint, serverEndPoint: endPoint })
    expect(mechanism).toBe(scramSha256Plus)
    expect(answer).toBeDefined()
  })

  test('a wrong password gets no answer', async () => {
    expect((await exchange({ password: 'other' })).answer).toBeUndefined()
  })

  test('another certificate in between is found', async () => {
    await expect(exchange({ clientEndPoint: Buffer.alloc(32, 2), serverEndPoint: endPoint })).rejects.toThrow(
      ProtocolError,
    )
  })

  test('a binding that somebody took away is found', async () => {
    const verifier = await scramVerifier(new Secret('x'))
    const client = new ScramClient(new Secret('x'), [scramSha256], endPoint) // PLUS was taken out of the offer
    expect(() => new ScramServer(verifier, endPoint).first(client.mechanism, client.first())).toThrow(/stripped/)
  })

  test.each([
    '',
    'n',
    'n,,',
    'n,,n=,r=',
    'x,,n=,r=abc',
    'p=tls-unique,,n=,r=abc',
    'n,,m=x,n=,r=abc',
    'n,,n=,r=a,b\u0000',
  ])('a malformed first message is refused: %j', async message => {
    const server = new ScramServer(await scramVerifier(new Secret('x')), null)
    try {
      server.first(scramSha256, message)
      expect(message).toBe('n,,n=,r=a,b\u0000') // extensions behind the nonce are allowed
    } catch (error) {
      expect(error).toBeInstanceOf(ProtocolError)
    }
  })

  test('a changed nonce is refused', async () => {
    await expect(exchange({ tamper: message => message.replace(/r=[^,]*/, 'r=abc') })).rejects.toThrow(ProtocolError)
  })

  test('a server that does not know the password is found out', async () => {
    const client = new ScramClient(new Secret('x'), [scramSha256], null)
    const nonce = /r=(.*)/.exec(client.first())![1]!
    await client.final(`r=${nonce}abc,s=${Buffer.from('salt').toString('base64')},i=4096`)
    expect(() => client.verify(`v=${Buffer.alloc(32).toString('base64')}`)).toThrow(ProtocolError)
  })

  test.each(['i=0', 'i=99999999999', 'i=x'])('an absurd iteration count is refused: %s', async count => {
    const client = new ScramClient(new Secret('x'), [scramSha256], null)
    const nonce = /r=(.*)/.exec(client.first())![1]!
    await expect(client.final(`r=${nonce}abc,s=c2FsdA==,${count}`)).rejects.toThrow(ProtocolError)
  })
})
