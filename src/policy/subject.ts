/** Who a grant is for: a person or a job, as its identity provider (or, solo, the operating system) names it. */
export interface Principal {
  readonly name: string
  readonly groups: readonly string[]
  readonly source: 'os-user' | 'oidc'
}

/** A program acting for a principal, such as an agent that `exec` launched. */
export interface Actor {
  readonly name: string
  /** Shown by a token of its own, rather than asserted by the CLI that launched it. */
  readonly proven: boolean
}

export interface Subject {
  readonly principal: Principal
  /** No actor: the person acts alone. */
  readonly actor: Actor | null
  /** Launched by `exec` with the kernel holding it to its tunnels. */
  readonly confined: boolean
  /** Why access was asked for, where it was said (`--reason`, `--ticket`). */
  readonly purpose: string | null
  readonly ticket: string | null
}
