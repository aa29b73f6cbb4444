import type { Command } from 'commander'
import type { Io } from './command.ts'

/** What every command understands. */
export interface Globals {
  readonly json: boolean
  readonly policy: string | undefined
  readonly policyDigest: string | undefined
}

interface GlobalOption {
  readonly flags: string
  readonly key: 'json' | 'policy' | 'policyDigest' | 'color'
  readonly description: string
  readonly takesValue: boolean
}

export const globalOptions: readonly GlobalOption[] = [
  {
    flags: '--json',
    key: 'json',
    description: 'JSON on stdout, one object a line (AGENTGATE_JSON=1)',
    takesValue: false,
  },
  {
    flags: '--policy <path>',
    key: 'policy',
    description: 'the policy file or folder (AGENTGATE_POLICY); else agentgate.yaml here or above',
    takesValue: true,
  },
  {
    flags: '--policy-digest <digest>',
    key: 'policyDigest',
    description: 'accept exactly this policy instead of a trusted one, for CI (AGENTGATE_POLICY_DIGEST)',
    takesValue: true,
  },
  { flags: '--no-color', key: 'color', description: 'no colours (also NO_COLOR)', takesValue: false },
]

/** A switch in the environment: set, and not a word for no. */
export function envSwitch(value: string | undefined): boolean {
  return value !== undefined && !/^(|0|no|false|off)$/i.test(value)
}

/** The global options as this command line and environment set them. */
export function readGlobals(command: Command, io: Pick<Io, 'env'>): Globals {
  const options = command.optsWithGlobals<{ json?: boolean; policy?: string; policyDigest?: string }>()
  return {
    json: options.json ?? envSwitch(io.env['AGENTGATE_JSON']),
    policy: options.policy ?? nonEmpty(io.env['AGENTGATE_POLICY']),
    policyDigest: options.policyDigest ?? nonEmpty(io.env['AGENTGATE_POLICY_DIGEST']),
  }
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value
}
