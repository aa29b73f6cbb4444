import { closeSync, openSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { FakeSession } from '../../test/cli/fake-session.ts'
import { newFolder } from '../../test/support/folder.ts'
import { secretsInOutput, withoutSecrets } from './ci.ts'

const { ready } = new FakeSession()

describe('passwords in --json', () => {
  it('are shown where nobody keeps a log', () => {
    expect(secretsInOutput(ready, {}, 1)).toEqual({ kind: 'shown' })
  })

  it('are masked first in GitHub Actions', () => {
    expect(secretsInOutput(ready, { CI: 'true', GITHUB_ACTIONS: 'true' }, 1)).toEqual({
      kind: 'masked',
      commands: ['::add-mask::ag_secret'],
    })
  })

  it('are masked as they are written and as they are', () => {
    const encoded = {
      ...ready,
      tunnels: ready.tunnels.map(tunnel => ({
        ...tunnel,
        url: 'postgresql://maria:p%40ss%3Aw@[::1]:5432/shop',
        env: {},
      })),
    }
    expect(secretsInOutput(encoded, { GITHUB_ACTIONS: 'true' }, 1)).toMatchObject({
      commands: ['::add-mask::p%40ss%3Aw', '::add-mask::p@ss:w'],
    })
  })

  it('are left out in a CI that cannot mask them, but not of a file', () => {
    // A test's own stdout is a pipe or a terminal, never a file.
    expect(secretsInOutput(ready, { CI: 'true', GITLAB_CI: 'true' }, 1)).toEqual({ kind: 'left-out' })
    const file = openSync(path.join(newFolder('ci'), 'out'), 'w')
    try {
      expect(secretsInOutput(ready, { CI: 'true' }, file)).toEqual({ kind: 'shown' })
    } finally {
      closeSync(file)
    }
    expect(secretsInOutput(ready, { CI: 'false' }, 1)).toEqual({ kind: 'shown' })
  })

  it('leave nothing behind in variables that hold a URL', () => {
    const proxy = ready.tunnels.map(tunnel => ({
      ...tunnel,
      env: { HTTP_PROXY: 'http://agentgate:ag_secret@127.0.0.1:1' },
    }))
    expect(withoutSecrets({ ...ready, tunnels: proxy }).tunnels[0]?.env).toEqual({
      HTTP_PROXY: 'http://agentgate@127.0.0.1:1',
    })
  })

  it('leave nothing behind when they are left out', () => {
    expect(JSON.stringify(withoutSecrets(ready))).not.toContain('ag_secret')
    expect(withoutSecrets(ready).tunnels[0]).toMatchObject({
      url: 'postgresql://maria@127.0.0.1:15432/shop',
      env: { PGHOST: '127.0.0.1' },
    })
  })
})
