import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { positionOf } from './problem.ts'
import { readYaml } from './yaml-source.ts'

const read = (text: string | Buffer) =>
  readYaml({ name: 'a.yaml', shown: 'a.yaml', bytes: typeof text === 'string' ? Buffer.from(text) : text })

function complaints(text: string | Buffer): readonly string[] {
  const result = read(text)
  return result.kind === 'ok' ? [] : result.problems.map(problem => problem.message)
}

describe('readYaml', () => {
  it('gives plain values and where they stand', () => {
    const result = read('a:\n  - b: 1\n    c: "x"\nd: ~\n')
    if (result.kind !== 'ok') throw new Error('broken')
    expect(result.yaml.value).toEqual({ a: [{ b: 1, c: 'x' }], d: null })
    expect(positionOf(result.yaml.place(['a', 0, 'c']))).toEqual({ line: 3, column: 8 })
    expect(positionOf(result.yaml.keyPlace(['a', 0, 'c']))).toEqual({ line: 3, column: 5 })
    // What is not there is where it would be.
    expect(positionOf(result.yaml.place(['a', 0, 'z']))).toEqual({ line: 2, column: 5 })
  })

  it.each([
    ['an anchor', 'a: &x 1\n', 'an anchor (&x); write the value out where it counts'],
    ['an alias', 'a: &x 1\nb: *x\n', 'an alias; write the value out where it counts'],
    ['a merge', 'a: { <<: { b: 1 } }\n', 'a merge; write the keys out where they count'],
    ['a tag', 'a: !!js/function "x"\n', 'a tag; plain values only'],
    ['a binary tag', 'a: !!binary aGk=\n', 'a tag; plain values only'],
    ['a key given twice', 'a: 1\nb: 2\na: 3\n', '"a" stands here twice'],
    ['a key that is a map', '? { a: b }\n: c\n', 'a key that is not text'],
    ['a prototype', '__proto__: { x: 1 }\n', 'this cannot be a key'],
    ['a second document', 'a: 1\n---\nb: 1\n', 'a second document (---); one to a file'],
    ['a tab', 'a:\n\tb: 1\n', 'a tab as indentation; YAML takes spaces only'],
    ['a bracket left open', 'a: [1, 2\n', 'the indentation fits nothing above it, or a bracket is not closed'],
    ['a quote left open', 'a: "x\n', 'something is not closed, or a comma, colon or space is missing'],
    ['an odd indentation', 'a:\n  b: 1\n c: 2\n', 'the indentation fits nothing above it, or a bracket is not closed'],
  ])('refuses %s', (_, text, message) => {
    expect(complaints(text)).toContain(message)
  })

  it('refuses a bomb of aliases before it grows', () => {
    const levels = Array.from({ length: 30 }, (_, index) => `a${index}: &a${index} [${`*a${index - 1},`.repeat(9)}]`)
    expect(complaints(['x: &a-1 [lol]', ...levels].join('\n')).length).toBeGreaterThan(0)
  })

  it.each([
    ['brackets', '['.repeat(900_000)],
    ['braces', '{a: '.repeat(200_000)],
    ['dashes', '- '.repeat(400_000)],
    ['question marks', '? '.repeat(400_000)],
    ['stairs', Array.from({ length: 400 }, (_, index) => `${' '.repeat(index)}a:`).join('\n')],
  ])('refuses nesting by %s that would end the process', (_, text) => {
    expect(complaints(text)).toEqual(['nested too deep to be read'])
  })

  it('takes nesting as deep as people write it, and brackets in text', () => {
    expect(
      complaints(`a: ${'['.repeat(20)}${']'.repeat(20)}\nb: "${'['.repeat(200)}"\nc: |\n  ${'{'.repeat(200)}\n`),
    ).toEqual([])
  })

  it('refuses huge files and what is not UTF-8', () => {
    expect(complaints(`a: "${'x'.repeat(1 << 20)}"`)).toEqual(['the file is larger than 1 MiB'])
    expect(complaints(Buffer.from([0x61, 0x3a, 0x20, 0xff]))).toEqual(['the file is not UTF-8 text'])
  })

  it('reads or refuses whatever it is given, and never throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ maxLength: 200 }),
          fc
            .array(
              fc.constantFrom(
                'a',
                ': ',
                '\n',
                '- ',
                '[',
                ']',
                '{',
                '}',
                ',',
                '"',
                "'",
                '|',
                '>',
                '&x',
                '*x',
                '!',
                '#',
                '? ',
                '  ',
              ),
              { maxLength: 60 },
            )
            .map(parts => parts.join('')),
        ),
        text => {
          const result = read(text)
          if (result.kind === 'ok') JSON.stringify(result.yaml.value)
          else for (const problem of result.problems) positionOf(problem.place)
        },
      ),
      { numRuns: process.env['SLOW'] ? 20_000 : 500 },
    )
  })
})
