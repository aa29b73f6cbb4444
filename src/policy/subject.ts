/** Who a grant is for: a person or a job, as its identity provider (or, solo, the operating system) names it. */
export interface Principal {
  readonly name: string
  readonly groups: readonly string[]
  readonly source: 'os-user' | 'oidc'
  /** What `access` may ask for besides; absent: none. */
  readonly claims?: Readonly<Record<string, readonly string[]>> | undefined
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
  /** What a broker's approvers have given on request; absent: nothing. */
  readonly onRequest?: readonly GivenOnRequest[] | undefined
}

/** A scope that one does not hold, given for a while by whoever may: `access` with `approvers`. */
export interface GivenOnRequest {
  readonly request: string
  readonly resource: string
  readonly scope: string
  /** For this agent alone; null: for the person. */
  readonly actor: string | null
}
