import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createScanner, detectorNames } from './detectors/scanner.ts'
import { findingText } from './finding-text.ts'
import { JsonRedactor, redactJson } from './json-redactor.ts'

const scanner = createScanner(detectorNames)
const replace = (finding: Parameters<typeof findingText>[1], bytes: Buffer) =>
  findingText({ kind: 'redact' }, finding, bytes, null)

function redact(text: string, with_ = replace): string {
  const bytes = Buffer.from(text)
  return (redactJson(scanner, with_, bytes, 0, bytes.length) ?? bytes).toString()
}

describe('findings in JSON', () => {
  const cases: [string, string, string][] = [
    ['in a string', '{"a":"mail ann@example.com"}', '{"a":"mail [masked:email]"}'],
    ['behind an escape', '{"a":"line\\nann@example.com\\n"}', '{"a":"line\\n[masked:email]\\n"}'],
    ['with an escaped sign', '{"a":"ann\\u0040example.com"}', '{"a":"[masked:email]"}'],
    ['with escaped letters', '["\\u0061nn@ex\\u0061mple.com","x"]', '["[masked:email]","x"]'],
    ['in escaped quotes', '["\\"ann@example.com\\""]', '["\\"[masked:email]\\""]'],
    ['as a number', '{"card":4111111111111111,"b":1}', '{"card":null,"b":1}'],
    ['as a number with a sign', '[-4111111111111111]', '[-0]'],
    ['as a string of digits', '{"card":"4111111111111111"}', '{"card":"[masked:card-number]"}'],
    ['as a string after an escaped quote', '["\\"","4111111111111111"]', '["\\"","[masked:card-number]"]'],
    ['as a name', '{"ann@example.com":1}', '{"[masked:email]":1}'],
  ]
  it.each(cases)('%s', (_, text, expected) => {
    expect(redact(text)).toBe(expected)
    expect(() => JSON.parse(expected) as unknown).not.toThrow()
  })

  it('escapes what a policy puts in their place', () => {
    const constant = () => Buffer.from('"gone"\n')
    expect(JSON.parse(redact('["ann@example.com"]', constant))).toEqual(['"gone"\n'])
  })

  it('of a key with escaped line ends', () => {
    const pem = `-----BEGIN PRIVATE KEY-----\n${'Ab1+/'.repeat(20)}\n-----END PRIVATE KEY-----\n`
    expect(redact(JSON.stringify({ pem }))).toBe('{"pem":"[masked:private-key]\\n"}')
  })

  it('leaves the bytes of other JSON alone', () => {
    const text = '{ "a" : "\\u00e9\\/é\\ud83d\\ude00", "b":12345678901234567890 }'
    const bytes = Buffer.from(text)
    expect(redactJson(scanner, replace, bytes, 0, bytes.length)).toBeNull()
  })
})

describe('in pieces', () => {
  const parts = fc.array(
    fc.constantFrom(
      ...[
        'ann@example.com',
        'ann\\u0040example.com',
        '4111111111111111',
        '"',
        ',',
        ':',
        '\\n',
        '\\"',
        '\\\\',
        '\\u00e9',
      ],
      ...[
        '\\ud83d\\ude00',
        'é',
        '\n',
        ' ',
        'word',
        '"phone":"5552671"',
        '\\u',
        '\\',
        '1',
        '-----BEGIN PRIVATE KEY-----\\nAbcd',
      ],
      'a'.repeat(300),
    ),
    { maxLength: 20 },
  )
  it('gives the same wherever it is cut, and valid JSON for JSON', () => {
    fc.assert(
      fc.property(parts, fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }), (texts, sizes) => {
        const bytes = Buffer.from(texts.join(''))
        const redactor = new JsonRedactor(scanner, replace)
        const out: Buffer[] = []
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const size = sizes[turn % sizes.length]!
          out.push(redactor.push(bytes.subarray(at, at + size)))
          at += size
        }
        out.push(redactor.end())
        const whole = redactJson(scanner, replace, bytes, 0, bytes.length) ?? bytes
        expect(Buffer.concat(out).toString('latin1')).toBe(whole.toString('latin1'))
      }),
      { numRuns: process.env['SLOW'] ? 50_000 : 2000 },
    )
    fc.assert(
      fc.property(
        fc.json(),
        fc.constantFrom('ann@example.com', '\n4111111111111111', '"+14155552671"'),
        (json, secret) => {
          const text = JSON.stringify([JSON.parse(json), secret, { [secret]: secret }])
          const out = redact(text)
          expect(out).not.toContain(secret)
          JSON.parse(out)
        },
      ),
    )
  })
})
