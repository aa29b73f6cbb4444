import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { verifyRecording } from '../../src/recording/verify.ts'

const vectors = path.join(import.meta.dirname, 'vectors')
const later = Date.now() + 1e12

describe('test vectors of the format', () => {
  it.each(fs.readdirSync(vectors).filter(name => !name.startsWith('.')))('%s', async name => {
    const expected: unknown = JSON.parse(fs.readFileSync(path.join(vectors, name, 'expect.json'), 'utf8'))
    const verification = await verifyRecording(path.join(vectors, name, 's_VECTOR0001'), later)
    const { result, events, head, torn, signedBy, problems } = verification
    expect({
      result,
      events,
      head,
      torn,
      signedBy,
      problems: problems.map(({ kind, place, number, sequence }) => ({ kind, place, number, sequence })),
    }).toEqual(expected)
  })
})
