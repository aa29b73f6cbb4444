import { describe, expect, it } from 'vitest'
import { AgentgateError } from '../errors.ts'
import { agent, person } from './testing/fake-kind.ts'
import { compile } from './testing/policy-text.ts'
import type { Subject } from './subject.ts'

function policyText(scopes: string, rest = '', more = '') {
  return `version: 1\nresources:\n  db-prod: { kind: fake, address: "x:1", scopes: ${scopes}${more} }\n  web: { kind: fake, address: "x:1" }\n${rest}`
}

function claiming(claims: Record<string, string[]>): Subject {
  return person('job', [], { principal: { name: 'job', groups: [], source: 'os-user', claims } })
}

function given(resource: string, scope: string, actor: string | null = null) {
  return { request: 'r_1', resource, scope, actor }
}

async function scopesOf(text: string, subject: Subject): Promise<Record<string, string>> {
  const policy = await compile(text)
  return Object.fromEntries(
    policy
      .access(subject)
      .map(({ resource, scopes }) => [
        resource.name,
        scopes.map(({ scope, ttlSeconds }) => `${scope.name} ${ttlSeconds}`).join(', '),
      ]),
  )
}

describe('solo, without access', () => {
  it.each([
    [
      'a person has everything',
      '{ read: , write: }',
      person(),
      { 'db-prod': 'read 3600, write 3600', web: 'default 3600' },
    ],
    ['agents have read', '{ read: , write: }', agent(), { 'db-prod': 'read 3600', web: 'default 3600' }],
    ['agents have an only scope', '{ write: }', agent(), { 'db-prod': 'write 3600', web: 'default 3600' }],
    ['agents have none of several', '{ a: , b: }', agent(), { web: 'default 3600' }],
    [
      'agents have what is marked',
      '{ read: , write: { agents: true } }',
      agent(),
      { 'db-prod': 'write 3600', web: 'default 3600' },
    ],
    ['agents do not have what is closed', '{ read: { agents: false } }', agent(), { web: 'default 3600' }],
  ])('%s', async (_, scopes, subject, expected) => {
    expect(await scopesOf(policyText(scopes), subject)).toEqual(expected)
  })

  it('a resource may be closed or open to agents as a whole', async () => {
    expect(await scopesOf(policyText('{ read: }', '', ', agents: false'), agent())).toEqual({ web: 'default 3600' })
    expect(await scopesOf(policyText('{ a: , b: { agents: false } }', '', ', agents: true'), agent())).toEqual({
      'db-prod': 'a 3600',
      web: 'default 3600',
    })
  })

  it('a resource limits how long', async () => {
    expect(await scopesOf(policyText('{ read: }', '', ', limits: { ttl: 10m }'), person())).toMatchObject({
      'db-prod': 'read 600',
    })
  })
})

describe('access', () => {
  const scopes = '{ read: , write: }'
  it.each([
    ['[] gives nothing', '[]', person(), {}],
    [
      'by group',
      '[ { who: { group: eng }, resources: "db-*", scopes: read } ]',
      person('maria', ['eng']),
      { 'db-prod': 'read 3600' },
    ],
    ['not without the group', '[ { who: { group: eng }, resources: "db-*", scopes: read } ]', person(), {}],
    [
      'a missing actor is a person alone',
      '[ { who: { group: eng }, resources: "*", scopes: "*" } ]',
      agent('claude', ['eng']),
      {},
    ],
    [
      'agents by actor, within what the person has',
      '[ { who: { user: maria }, resources: "*", scopes: read }, { who: { user: "*", actor: "*" }, resources: "*", scopes: "*" } ]',
      agent(),
      { 'db-prod': 'read 3600' },
    ],
    [
      'agents have nothing that the person has not',
      '[ { who: { user: "*", actor: "*" }, resources: "*", scopes: "*" } ]',
      agent(),
      {},
    ],
    [
      'an entry with an actor is not for people',
      '[ { who: { user: "*", actor: "*" }, resources: "*", scopes: "*" } ]',
      person(),
      {},
    ],
    [
      'one of several who',
      '[ { who: [ { user: jo }, { user: maria } ], resources: web, scopes: "*" } ]',
      person(),
      { web: 'default 3600' },
    ],
    [
      'the longest time',
      '[ { who: { user: "*" }, resources: web, scopes: "*", ttl: 5m }, { who: { user: "m*" }, resources: web, scopes: "*", ttl: 2h } ]',
      person(),
      { web: 'default 7200' },
    ],
    [
      'never longer than the person’s',
      '[ { who: { user: "*" }, resources: web, scopes: "*", ttl: 5m }, { who: { user: "*", actor: "*" }, resources: web, scopes: "*", ttl: 2h } ]',
      agent(),
      { web: 'default 300' },
    ],
    [
      'by a claim',
      '[ { who: { claims: { repository: "acme/*", ref: refs/heads/main } }, resources: web, scopes: "*" } ]',
      claiming({ repository: ['evil/x', 'acme/shop'], ref: ['refs/heads/main'] }),
      { web: 'default 3600' },
    ],
    [
      'not where one of the claims is another',
      '[ { who: { claims: { repository: "acme/*", ref: refs/heads/main } }, resources: web, scopes: "*" } ]',
      claiming({ repository: ['acme/shop'], ref: ['refs/heads/evil'] }),
      {},
    ],
    [
      'not where a claim is missing, or is what every object has',
      '[ { who: { claims: { constructor: "*" } }, resources: web, scopes: "*" } ]',
      claiming({}),
      {},
    ],
    [
      'nothing that has to be asked for',
      '[ { who: { user: "*" }, resources: "*", scopes: "*", approvers: { group: dba } } ]',
      person(),
      {},
    ],
    [
      'what was given on request, to whom it was given',
      '[ { who: { user: maria }, resources: "*", scopes: "*", ttl: 5m, approvers: { group: dba } } ]',
      person('maria', [], { onRequest: [given('db-prod', 'write'), given('web', 'default', 'claude')] }),
      { 'db-prod': 'write 300' },
    ],
    [
      'not what was given, once the policy no longer says that it may be',
      '[ { who: { user: jo }, resources: "*", scopes: "*", approvers: { group: dba } } ]',
      person('maria', [], { onRequest: [given('db-prod', 'write')] }),
      {},
    ],
    [
      'an agent has what was given to it within what its person has',
      '[ { who: { user: maria }, resources: "*", scopes: read }, { who: { user: maria, actor: "*" }, resources: "*", scopes: [ read, write ], approvers: { group: dba } } ]',
      agent('claude', [], { onRequest: [given('db-prod', 'read', 'claude'), given('db-prod', 'write', 'claude')] }),
      { 'db-prod': 'read 3600' },
    ],
  ])('%s', async (_, access, subject, expected) => {
    expect(await scopesOf(policyText(scopes, `access: ${access}\n`), subject)).toEqual(expected)
  })

  it('gives nothing to names of this machine where a policy names issuers', async () => {
    const issuers = 'issuers: [ { issuer: "https://idp.example.com", audience: a } ]\n'
    expect(await scopesOf(policyText(scopes, issuers), person())).toEqual({})
    expect(
      await scopesOf(
        policyText(scopes, `${issuers}access: [ { who: { user: "*" }, resources: "*", scopes: "*" } ]\n`),
        person(),
      ),
    ).toEqual({})
  })
})

describe('grant', () => {
  const text = policyText(
    '{ read: , write: }',
    'access: [ { who: { user: "*" }, resources: "*", scopes: [ read, default ] } ]\n',
  )
  const failure = async (policy: string, subject: Subject, resource: string, scope?: string) => {
    const compiled = await compile(policy)
    try {
      compiled.grant(subject, resource, scope)
    } catch (error) {
      if (error instanceof AgentgateError) return { code: error.code, message: error.message, hint: error.hint }
    }
    return undefined
  }

  it('takes read, or the only scope, where none is named', async () => {
    const policy = await compile(text)
    expect(policy.grant(person(), 'db-prod')).toMatchObject({ scope: { name: 'read' }, ttlSeconds: 3600 })
    expect(policy.grant(person(), 'web')).toMatchObject({ scope: { name: 'default' } })
    expect(policy.grant(person(), 'db-prod', 'read').resource.kind).toBe('fake')
  })

  it.each([
    [
      'a resource that is not there',
      'db-prd',
      undefined,
      'NO_SUCH_RESOURCE',
      'no resource "db-prd" in agentgate.yaml',
      'did you mean db-prod?',
    ],
    [
      'a scope that is not there',
      'db-prod',
      'reed',
      'NO_SUCH_SCOPE',
      'db-prod has no scope "reed"',
      'did you mean read?',
    ],
    [
      'a scope that is not theirs',
      'db-prod',
      'write',
      'DENIED',
      'maria may not use scope write of db-prod',
      'may use: read',
    ],
  ] as const)('%s', async (_, resource, scope, code, message, hint) => {
    expect(await failure(text, person(), resource, scope)).toEqual({ code, message, hint })
  })

  it('says which scopes there are where none is the obvious one', async () => {
    expect(await failure(policyText('{ a: , b: }'), person(), 'db-prod')).toEqual({
      code: 'NO_SUCH_SCOPE',
      message: 'db-prod has several scopes: a, b',
      hint: 'say which: agentgate connect db-prod --scope a',
    })
  })

  it('says why an agent has nothing', async () => {
    expect(await failure(policyText('{ a: , b: }'), agent(), 'db-prod')).toEqual({
      code: 'DENIED',
      message: 'claude (for maria) may not use db-prod',
      hint: 'mark a scope with agents: true, or name your agents in access:',
    })
  })
})
