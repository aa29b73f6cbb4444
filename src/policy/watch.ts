import { statSync } from 'node:fs'
import path from 'node:path'
import { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import { compileFiles, wantedDigest, type LoadedPolicy, type LoadOptions } from './load.ts'
import { readPolicyFiles } from './policy-files.ts'
import { trustOf } from './trust.ts'

export interface WatchOptions extends LoadOptions {
  readonly signal: AbortSignal
  /** New content that counts: trusted, or pinned. */
  readonly onChange: (loaded: LoadedPolicy) => void
  /** One line for people: a change that does not count (yet), and why. Once per content. */
  readonly onNotice: (text: string) => void
  readonly intervalMs?: number
}

/**
 * Watches the files of a policy and the trust in them until `signal` aborts. What is not trusted, or broken, changes
 * nothing but gives notice: the policy that counts stays. Never throws later.
 *
 * Polls: editors replace files, configuration is mounted over folders and network drives tell nobody, and a look at a few
 * files twice a second costs nothing.
 */
export function watchPolicy(loaded: LoadedPolicy, options: WatchOptions): void {
  const { signal, onChange, onNotice } = options
  const paths = new Paths(options.env)
  let current = loaded.digest
  let noticed = ''
  let seen = ''
  let watched = loaded.files.map(file => file.path)
  let busy = false

  const notice = (key: string, text: string) => {
    if (noticed !== key) onNotice(text)
    noticed = key
  }
  const look = async (): Promise<void> => {
    const files = readPolicyFiles(loaded.path, options.cwd)
    watched = files.files.map(file => file.path)
    if (files.digest === current) {
      noticed = ''
      return
    }
    const trust = trustOf(paths, files, wantedDigest(options))
    if (trust.kind === 'mismatch') {
      notice(
        files.digest,
        `${files.name} has changed, and is not the content that --policy-digest asks for: what held before still holds`,
      )
      return
    }
    if (trust.kind === 'untrusted') {
      notice(
        files.digest,
        `${files.name} has changed: what held before still holds, until you look at it with: agentgate trust`,
      )
      return
    }
    const next = await compileFiles(files, options)
    if (signal.aborted) return
    current = files.digest
    noticed = ''
    onChange(next)
  }
  const tick = async (): Promise<void> => {
    // One look at a time: a slow one must not be overtaken by a newer.
    if (busy) return
    const stamp = stampOf([loaded.path, ...watched, paths.trustFile, paths.approverKeyFile])
    if (stamp === seen) return
    busy = true
    try {
      await look()
      seen = stamp
    } catch (error) {
      seen = stamp
      const text = error instanceof AgentgateError ? error.message : 'it cannot be read'
      notice(text, `the policy has changed and cannot be used, so what held before still holds: ${text}`)
    } finally {
      busy = false
    }
  }
  const timer = setInterval(() => void tick(), options.intervalMs ?? 500)
  timer.unref()
  signal.addEventListener('abort', () => clearInterval(timer), { once: true })
  if (signal.aborted) clearInterval(timer)
}

/** Changes whenever one of the files may have: content, replacement, mode or absence. */
function stampOf(files: readonly string[]): string {
  return files
    .map(file => {
      try {
        const { ino, size, mtimeMs, ctimeMs } = statSync(file)
        return `${path.basename(file)} ${ino} ${size} ${mtimeMs} ${ctimeMs}`
      } catch {
        return `${path.basename(file)} gone`
      }
    })
    .join('\n')
}
