import type { CommandEntry } from './command.ts'

/** Every command, in the order of `agentgate --help`; a command's file is read only when it runs or is asked for help. */
export const commands: readonly CommandEntry[] = [
  {
    name: 'connect',
    summary: 'open a tunnel; then psql, DBeaver, your app',
    load: async () => await import('./connect.ts'),
  },
  {
    name: 'exec',
    summary: 'start an agent or job that can reach its tunnels',
    load: async () => await import('./exec.ts'),
  },
  {
    name: 'login',
    summary: 'log in with your identity provider',
    load: async () => await import('./login.ts'),
  },
  { name: 'logout', summary: 'take that back', load: async () => await import('./logout.ts') },
  { name: 'whoami', summary: 'as whom you act', load: async () => await import('./whoami.ts') },
  { name: 'access', summary: 'who may use what, and why', load: async () => await import('./access.ts') },
  { name: 'request', summary: 'ask for access that you do not hold', load: async () => await import('./request.ts') },
  { name: 'requests', summary: 'what you asked for', load: async () => await import('./requests.ts') },
  { name: 'approvals', summary: 'what is waiting for you', load: async () => await import('./approvals.ts') },
  { name: 'status', summary: 'what is open', load: async () => await import('./status.ts') },
  { name: 'down', summary: 'end what is open', load: async () => await import('./down.ts') },
  { name: 'grants', summary: 'what the broker has granted; end it', load: async () => await import('./grants.ts') },
  {
    name: 'principals',
    summary: 'suspend somebody at the broker, at once',
    load: async () => await import('./principals.ts'),
  },
  { name: 'broker', summary: 'grant access to others, from one place', load: async () => await import('./broker.ts') },
  {
    name: 'sessions',
    summary: 'what happened: list, show, replay, export, verify',
    load: async () => await import('./sessions.ts'),
  },
  {
    name: 'report',
    summary: 'access, approvals, denials, masking, coverage; evidence for an auditor',
    load: async () => await import('./report.ts'),
  },
  { name: 'audit', summary: 'audit events: where they go, try it', load: async () => await import('./audit.ts') },
  { name: 'init', summary: 'write an agentgate.yaml from what you have', load: async () => await import('./init.ts') },
  { name: 'trust', summary: 'show what a policy says and let it count', load: async () => await import('./trust.ts') },
  {
    name: 'passphrase',
    summary: 'set or change what you approve and trust with',
    load: async () => await import('./passphrase.ts'),
  },
  { name: 'policy', summary: 'check, test, explain, digest', load: async () => await import('./policy.ts') },
  {
    name: 'secret',
    summary: 'rotate what clients log in to a tunnel with',
    load: async () => await import('./secret.ts'),
  },
  { name: 'doctor', summary: 'find what is wrong with a set-up', load: async () => await import('./doctor.ts') },
  {
    name: 'hook',
    summary: 'what an agent asks before it uses its own tools',
    load: async () => await import('./hook.ts'),
  },
  { name: 'demo', summary: 'see it work, nothing to set up', load: async () => await import('./demo.ts') },
  {
    name: 'completion',
    summary: 'completions for bash, zsh and fish',
    load: async () => await import('./completion.ts'),
  },
]
