import { fstatSync } from 'node:fs'
import type { ControlEvent } from '../control/schema.ts'
import { envSwitch } from './globals.ts'

type Ready = Extract<ControlEvent, { event: 'ready' }>

/**
 * What becomes of the clients' secrets in `--json`: told to a CI that can mask them in its log, or left out where the
 * output may be the log of one that cannot.
 */
export type SecretsInOutput =
  | { readonly kind: 'shown' }
  /** Lines that have the CI mask the secrets from then on; they go to stderr, before the secrets go to stdout. */
  | { readonly kind: 'masked'; readonly commands: readonly string[] }
  | { readonly kind: 'left-out' }

export function secretsInOutput(ready: Ready, env: NodeJS.ProcessEnv, stdoutDescriptor: number): SecretsInOutput {
  // GitHub's runner reads workflow commands from both streams, and cuts them out of the log.
  if (env['GITHUB_ACTIONS'] === 'true')
    return { kind: 'masked', commands: secretsOf(ready).map(secret => `::add-mask::${secret}`) }
  // GitLab and others cannot mask what is made at run time. A file is not a log.
  if (envSwitch(env['CI']) && !isFile(stdoutDescriptor)) return { kind: 'left-out' }
  return { kind: 'shown' }
}

export function withoutSecrets(ready: Ready): Ready {
  return {
    ...ready,
    tunnels: ready.tunnels.map(tunnel => ({
      ...tunnel,
      url: withoutPassword(tunnel.url),
      env: Object.fromEntries(
        Object.entries(tunnel.env).flatMap(([name, value]) =>
          isSecretName(name) ? [] : [[name, withoutPassword(value)] as const],
        ),
      ),
    })),
  }
}

function secretsOf(ready: Ready): string[] {
  const secrets = new Set<string>()
  for (const { url, env } of ready.tunnels) {
    const password = passwordOf(url)
    if (password !== undefined) secrets.add(password).add(decodeURIComponent(password))
    for (const [name, value] of Object.entries(env)) if (isSecretName(name)) secrets.add(value)
  }
  return [...secrets].filter(secret => secret.length > 3)
}

function isSecretName(name: string): boolean {
  return /PASS|TOKEN|SECRET|KEY/i.test(name)
}

function passwordOf(url: string): string | undefined {
  return /^[a-z][a-z0-9+.-]*:\/\/[^/@]*?:([^@/]+)@/i.exec(url)?.[1]
}

function withoutPassword(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/[^/@:]*):[^@/]+@/i, '$1@')
}

function isFile(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isFile()
  } catch {
    return false
  }
}
