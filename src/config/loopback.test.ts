import { expect, test } from 'vitest'
import { isSafeUrl } from './loopback.ts'

test.each<[string, boolean]>([
  ['https://idp.example.com', true],
  ['http://127.0.0.1:8080', true],
  ['http://127.9.9.9', true],
  ['http://[::1]:8080/realms/x', true],
  ['http://localhost:8080', true],
  ['http://idp.localhost', true],
  ['http://0x7f000001:8080', true], // as the URL standard reads it, and so does whoever connects
  ['http://idp.example.com', false],
  ['http://127.0.0.1.example.com', false],
  ['http://127.0.0.1@example.com', false],
  ['http://localhost@example.com', false],
  ['http://0.0.0.0', false],
  ['http://[::ffff:192.0.2.1]', false],
  ['http://localhost.example', false],
  ['ftp://127.0.0.1', false],
  ['127.0.0.1', false],
  ['', false],
])('%s: %s', (url, safe) => expect(isSafeUrl(url)).toBe(safe))
