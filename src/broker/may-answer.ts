import type { Approvers } from '../policy/action.ts'
import type { Caller } from './caller.ts'

type Asked = Pick<Approvers, 'groups' | 'notSelf'>

/** Whether somebody may say yes or no to what `asker` asks for. Without groups: administrators, and `otherwise`. */
export function mayAnswer(
  { principal, actor, administers, suspended }: Caller,
  asker: string,
  approvers: Asked,
  otherwise: 'asker' | 'nobody',
) {
  // A second pair of eyes is a person's.
  if (actor !== null || suspended) return false
  const self = principal.name === asker
  if (self && approvers.notSelf) return false
  if (approvers.groups.length > 0) return approvers.groups.some(group => principal.groups.includes(group))
  return administers || (self && otherwise === 'asker')
}
