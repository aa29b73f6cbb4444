import { readFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { AgentgateError, hasErrno } from '../errors.ts'

export type ProfileName = 'claude' | 'generic'

/** What a known agent needs to run inside: settings, and a configuration of its own instead of the person's. */
export interface Profile {
  readonly name: ProfileName
  readonly environment: Readonly<Record<string, string>>
  /** Shown read-only, below the home. */
  readonly shown: readonly string[]
  /** Written into the private home before the agent starts. */
  /**
   * The settings that stand above all others, with a hook that asks before each tool call; shown read-only. `hook` is its
   * command line.
   */
  managed?(hook: readonly string[]): { readonly path: string; readonly content: string }
  files(home: string, workingFolder: string): readonly { readonly path: string; readonly content: string }[]
}

const generic: Profile = { name: 'generic', environment: {}, shown: [], files: () => [] }

/** Claude Code docs, settings: what an organisation sets, which neither people nor projects can override. */
const managedSettings = '/etc/claude-code/managed-settings.json'
/** Longer than an approver is waited for. */
const hookTimeoutSeconds = 3600

/** Before a call, to ask; after it, to tell what came of it. */
const hookEvents = ['PreToolUse', 'PostToolUse', 'PostToolUseFailure'] as const

const managedShape = z.looseObject({ hooks: z.record(z.string(), z.unknown()).optional() })

/** What the machine's own managed settings say stays. */
function withHook(before: z.output<typeof managedShape>, hook: readonly string[]): unknown {
  const command = hook.map(word => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
  const ours = { matcher: '*', hooks: [{ type: 'command', command, timeout: hookTimeoutSeconds }] }
  return {
    ...before,
    disableAllHooks: false,
    allowManagedHooksOnly: true,
    hooks: {
      ...before.hooks,
      ...Object.fromEntries(
        hookEvents.map(event => [event, [...z.array(z.unknown()).parse(before.hooks?.[event] ?? []), ours]]),
      ),
    },
  }
}

/** @throws AgentgateError UNCONFINED where there are settings that cannot be read: they must not be lost */
function readManaged(): z.output<typeof managedShape> {
  let text: string
  try {
    text = readFileSync(managedSettings, 'utf8')
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return {}
    throw unreadable(error)
  }
  try {
    const settings = managedShape.parse(JSON.parse(text))
    for (const event of hookEvents) z.array(z.unknown()).optional().parse(settings.hooks?.[event])
    return settings
  } catch (error) {
    throw unreadable(error)
  }
}

function unreadable(cause: unknown): AgentgateError {
  return new AgentgateError('UNCONFINED', `${managedSettings} cannot be read, so hooks cannot be added to it`, {
    cause,
  })
}

/**
 * Claude Code. Its own settings and login are not shown: they may hold keys, name programs to run as hooks, and would be
 * the agent's to change. What a person wrote for it to read is.
 */
const claude: Profile = {
  name: 'claude',
  environment: {
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    DISABLE_TELEMETRY: '1',
    DISABLE_ERROR_REPORTING: '1',
    DISABLE_AUTOUPDATER: '1',
    DISABLE_BUG_COMMAND: '1',
  },
  shown: ['.claude/CLAUDE.md', '.claude/commands', '.claude/agents', '.claude/skills', '.claude/output-styles'],
  managed: hook => ({ path: managedSettings, content: JSON.stringify(withHook(readManaged(), hook)) }),
  files: (home, workingFolder) => [
    {
      path: path.join(home, '.claude.json'),
      content: JSON.stringify({
        hasCompletedOnboarding: true,
        theme: themeOf(home),
        // The person started it here, and what it may do is decided around it.
        projects: { [workingFolder]: { hasTrustDialogAccepted: true, hasCompletedProjectOnboarding: true } },
      }),
    },
  ],
}

const profiles: Readonly<Record<ProfileName, Profile>> = { claude, generic }

export const profileNames = Object.keys(profiles) as readonly ProfileName[]

/** The one asked for, else the one that goes with the command. */
export function profileFor(asked: ProfileName | undefined, command: string): Profile {
  return profiles[asked ?? (path.basename(command) === 'claude' ? 'claude' : 'generic')]
}

function themeOf(home: string): string {
  try {
    const parsed: unknown = JSON.parse(readFileSync(path.join(home, '.claude.json'), 'utf8'))
    const theme = parsed !== null && typeof parsed === 'object' && 'theme' in parsed ? parsed.theme : undefined
    return typeof theme === 'string' ? theme : 'dark'
  } catch {
    return 'dark'
  }
}
