import type { ResourceName, ScopeName } from '../../ids.ts'
import { compilePolicy, type CompiledPolicy } from '../compile.ts'
import { policyDigest } from '../digest.ts'
import { parsePolicy } from '../document.ts'
import { renderProblem, type Problem } from '../problem.ts'
import { fakeKinds } from './fake-kind.ts'

export const db = 'db' as ResourceName
export const all = 'all' as ScopeName

/** A policy from its text, or its problems. */
export async function tryCompile(...texts: readonly string[]): Promise<CompiledPolicy | readonly Problem[]> {
  const files = texts.map((text, index) => {
    const name = texts.length === 1 ? 'agentgate.yaml' : `policies/${index}.yaml`
    return { name, shown: name, bytes: Buffer.from(text) }
  })
  const parsed = parsePolicy({ files, kinds: fakeKinds })
  if (parsed.kind === 'wrong') return parsed.problems
  const compiled = await compilePolicy(parsed.declaration, {
    digest: policyDigest('folder', files),
    fileName: 'agentgate.yaml',
  })
  return compiled.kind === 'ok' ? compiled.policy : compiled.problems
}

export async function compile(...texts: readonly string[]): Promise<CompiledPolicy> {
  const result = await tryCompile(...texts)
  if ('digest' in result) return result
  throw new Error(`the policy is wrong:\n${result.map(renderProblem).join('\n')}`)
}

/** What is wrong with a policy, as a terminal shows it. */
export async function problemsOf(...texts: readonly string[]): Promise<string> {
  const result = await tryCompile(...texts)
  return 'digest' in result ? '' : result.map(renderProblem).join('\n')
}

/** A policy with one resource `db` of the fake kind and these rules. */
export function withRules(rules: string, resource = ''): string {
  return `version: 1
resources:
  db:
    kind: fake
    address: db.internal
    credential: { issuer: static, secret: "\${env:X}" }
    scopes: { all: {} }
${resource}
rules:
${rules}
`
}
