/** An OpenID provider that a policy believes, and how its claims become a principal. */
export interface IdentityIssuer {
  /** Its identifier, exactly as its tokens name it (OpenID Connect Core §2, `iss`). */
  readonly issuer: string
  /** What its tokens must be meant for. */
  readonly audience: string
  /** What `agentgate login` is registered as; ID tokens are meant for it. */
  readonly clientId: string
  /** Asked for at login; undefined: what the provider offers of the usual ones. */
  readonly scopes: readonly string[] | undefined
  /** Undefined: `email` where the provider says that it is verified, else `sub`. */
  readonly nameClaim: string | undefined
  readonly groupsClaim: string
  /** Claims that `access` asks for: of each token only these are kept. */
  readonly keptClaims: readonly string[]
  /** Every one must hold, or a token counts for nothing: which repository, which branch. */
  readonly conditions: readonly { readonly claim: string; readonly holds: (value: string) => boolean }[]
}
