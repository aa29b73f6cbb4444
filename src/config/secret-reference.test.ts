import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { AgentgateError } from '../errors.ts'
import { parseSecretTemplate, resolveSecret, type SecretTemplate } from './secret-reference.ts'

let folder: string
beforeEach(() => (folder = mkdtempSync(path.join(os.tmpdir(), 'ag-secret-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function template(text: string): SecretTemplate {
  const result = parseSecretTemplate(text)
  if (result.kind === 'wrong') throw new Error(result.message)
  return result.template
}

async function resolve(text: string, env: Record<string, string> = {}): Promise<string> {
  const secret = await resolveSecret(template(text), {
    env: { PATH: process.env['PATH'], HOME: folder, ...env },
    folder,
    subject: 'db-prod',
  })
  return secret.reveal()
}

async function failure(text: string, env: Record<string, string> = {}): Promise<AgentgateError> {
  try {
    await resolve(text, env)
  } catch (error) {
    if (error instanceof AgentgateError) return error
    throw error
  }
  throw new Error('it resolved')
}

describe('reading references', () => {
  it.each([
    ['${env:}', 'takes the name of a variable'],
    ['${env:A B}', 'takes the name of a variable'],
    ['${env:A', 'a reference that is not closed with }'],
    ['${envv:A}', 'an unknown reference'],
    ['${A}', 'an unknown reference'],
    ['${}', 'an unknown reference'],
    ['${file:}', 'takes a path'],
    ['${keychain:x}', 'takes a service and an account'],
    ['${keychain:x/}', 'takes a service and an account'],
    ['${exec:}', 'takes a command'],
    ['${exec:a "b}', 'has a quote that is not closed'],
    ['x ${env:A} ${nope:B}', 'an unknown reference'],
  ])('refuses %s', (text, message) => {
    const result = parseSecretTemplate(text)
    expect(result.kind === 'wrong' && result.message).toContain(message)
  })

  it('splits a command as a shell would, and knows nothing else of a shell', () => {
    const [part] = template(`\${exec:op read "op://vault/my db" 'it''s' a\\ b $HOME * ; | > ""}`).parts
    expect(part).toMatchObject({
      kind: 'exec',
      argv: ['op', 'read', 'op://vault/my db', 'its', 'a b', '$HOME', '*', ';', '|', '>', ''],
    })
  })
})

describe('resolving', () => {
  it('takes variables, files and the output of commands, also within text', async () => {
    writeFileSync(path.join(folder, 'key'), 'from a file\n')
    writeFileSync(path.join(folder, 'two words'), 'x\n\n')
    expect(await resolve('${env:A}', { A: 'from env' })).toBe('from env')
    expect(await resolve('postgres://app:${env:A}@db/${env:B}', { A: 'x', B: 'y' })).toBe('postgres://app:x@db/y')
    expect(await resolve('${file:key}')).toBe('from a file')
    expect(await resolve('${file:~/key}')).toBe('from a file')
    expect(await resolve('${file:./two words}')).toBe('x\n')
    expect(await resolve(`\${exec:printf '  %s\\n' "a b" }`)).toBe('a b')
    expect(await resolve('${exec:cat key}')).toBe('from a file')
  })

  it.each([
    ['${env:MISSING}', '${env:MISSING} is not set'],
    ['${env:EMPTY}', '${env:EMPTY} is empty'],
    ['${file:missing}', '${file:missing} does not exist'],
    ['${file:.}', '${file:.} is not a file'],
    ['${exec:agentgate-no-such-program}', 'did not run: no such program'],
    ['${exec:sh -c "echo s3cret; echo s3cret >&2; exit 3"}', 'failed with exit code 3'],
    ['${exec:true}', 'is empty'],
  ])('says why it cannot: %s', async (text, message) => {
    const error = await failure(text, { EMPTY: '' })
    expect(error.code).toBe('SECRET_UNRESOLVED')
    expect(error.message).toContain(`db-prod: `)
    expect(error.message).toContain(message)
  })

  it.each([
    [{}, 'the keychain is not here'],
    [{ AGENTGATE_KEYCHAIN: 'off' }, 'AGENTGATE_KEYCHAIN is off'],
  ])('says why it cannot ask a keychain: %j', async (env, why) => {
    const error = await failure('${keychain:agentgate/db}', env)
    expect(error.code).toBe('SECRET_UNRESOLVED')
    expect(error.message).toBe(`db-prod: \${keychain:agentgate/db} could not be read: ${why}`)
  })

  it('shows nothing of what a failing command printed', async () => {
    const error = await failure('${exec:./fails}', {})
    expect(error.code).toBe('SECRET_UNRESOLVED')
    writeFileSync(path.join(folder, 'fails'), '#!/bin/sh\necho hunter2; echo hunter2 >&2; exit 1\n')
    chmodSync(path.join(folder, 'fails'), 0o755)
    const printed = await failure('${exec:./fails}')
    expect(JSON.stringify([printed.message, printed.hint, String(printed.cause), printed.stack])).not.toContain(
      'hunter2',
    )
  })

  it('gives a secret that prints as nothing', async () => {
    const secret = await resolveSecret(template('${env:A}'), { env: { A: 'hunter2' }, folder, subject: 'x' })
    expect(`${String(secret)} ${JSON.stringify({ secret })}`).not.toContain('hunter2')
  })

  it('stops a command that is no longer wanted', async () => {
    const controller = new AbortController()
    const resolving = resolveSecret(template('${exec:sleep 30}'), {
      env: { PATH: process.env['PATH'] },
      folder,
      subject: 'db',
      signal: controller.signal,
    })
    controller.abort()
    await expect(resolving).rejects.toMatchObject({
      code: 'SECRET_UNRESOLVED',
      message: 'db: ${exec:sleep 30} was stopped',
    })
  })
})
