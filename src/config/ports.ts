import { z } from 'zod'
import type { ResourceName } from '../ids.ts'
import type { Paths } from './paths.ts'
import { readState, updateState } from './private-file.ts'

const content = z.object({ ports: z.record(z.string(), z.number().int().min(1).max(65_535)) })
const maxRemembered = 1000

/** The local port that a resource had last time, so that a saved connection keeps working; undefined at first. */
export function rememberedPort(paths: Paths, policyPath: string, resource: ResourceName): number | undefined {
  return readState(paths.portsFile, content, { ports: {} }).ports[keyOf(policyPath, resource)]
}

export function rememberPort(paths: Paths, policyPath: string, resource: ResourceName, port: number): void {
  const key = keyOf(policyPath, resource)
  updateState(paths.portsFile, content, { ports: {} }, before => {
    if (before.ports[key] === port) return { content: before, result: undefined }
    // Newest last, so that what was not used for longest goes first.
    const kept: (readonly [string, number])[] = Object.entries(before.ports).filter(([other]) => other !== key)
    const ports = Object.fromEntries([...kept, [key, port] as const].slice(-maxRemembered))
    return { content: { ports }, result: undefined }
  })
}

/** Ports that some other resource is remembered with: better not given to a new one. */
export function portsOfOthers(paths: Paths, policyPath: string, resource: ResourceName): ReadonlySet<number> {
  const { ports } = readState(paths.portsFile, content, { ports: {} })
  const key = keyOf(policyPath, resource)
  return new Set(Object.entries(ports).flatMap(([other, port]) => (other === key ? [] : [port])))
}

function keyOf(policyPath: string, resource: ResourceName): string {
  return `${policyPath}#${resource}`
}
