import { InvalidArgumentError } from 'commander'
import { AgentgateError } from '../errors.ts'
import { nearest } from '../policy/suggest.ts'
import { parseDuration } from './duration.ts'

export interface AskedResource {
  readonly name: string
  readonly scope: string | undefined
}

/** `--scope write` is for every resource, `--scope db-prod=write` for one. */
export function withScopes(names: readonly string[], scopes: readonly string[]): readonly AskedResource[] {
  const forAll = scopes.filter(scope => !scope.includes('='))
  if (forAll.length > 1)
    throw new AgentgateError('USAGE', `several scopes: ${forAll.join(', ')}`, {
      hint: 'one for each resource: --scope db-prod=write --scope db-stage=read',
    })
  const forOne = new Map(
    scopes.filter(scope => scope.includes('=')).map(scope => scope.split('=', 2) as [string, string]),
  )
  for (const name of forOne.keys())
    if (!names.includes(name)) {
      const meant = nearest(name, names)
      throw new AgentgateError('USAGE', `--scope names ${name}, which is not opened here`, {
        hint: meant === undefined ? undefined : `did you mean ${meant}?`,
      })
    }
  return names.map(name => ({ name, scope: forOne.get(name) ?? forAll[0] }))
}

/** `30m` as seconds, for an option. */
export function seconds(text: string): number {
  const parsed = parseDuration(text)
  if (parsed === undefined) throw new InvalidArgumentError('write it as 90s, 30m, 2h or 1d')
  return parsed
}
