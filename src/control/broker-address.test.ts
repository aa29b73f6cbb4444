import { expect, it } from 'vitest'
import { parseBrokerAddress } from './broker-address.ts'

it.each([
  ['https://broker.example.com', 'https://broker.example.com'],
  ['https://Broker.Example.com:443/', 'https://broker.example.com'],
  ['HTTPS://broker:8443', 'https://broker:8443'],
  ['https://[::1]:8443', 'https://[::1]:8443'],
  ['unix:/run/user/1000/agentgate/broker.sock', 'unix:/run/user/1000/agentgate/broker.sock'],
])('writes %s one way', (text, address) => {
  expect(parseBrokerAddress(text)).toBe(address)
})

it.each([
  ['http://broker:8443', /speaks TLS only: https:\/\/broker:8443$/],
  ['https://good.example.com@evil.example.com', /no user and no password/],
  ['https://maria:secret@broker', /no user and no password/],
  ['https://broker/admin', /only host and port: https:\/\/broker$/],
  ['https://broker?x', /only host and port/],
  ['https://broker#x', /only host and port/],
  ['broker', /it is https:/],
  ['unix:broker.sock', /it is https:/],
  ['', /it is https:/],
  ['ftp://broker', /it is https:/],
])('refuses %s', (text, hint) => {
  try {
    parseBrokerAddress(text)
    expect.unreachable()
  } catch (error) {
    expect(error).toMatchObject({ code: 'USAGE', hint: expect.stringMatching(hint) })
    expect(String(error)).not.toContain('secret')
  }
})
