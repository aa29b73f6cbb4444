import { AgentgateError } from '../errors.ts'

/** What a child's environment is made of. */
export interface EnvironmentOptions {
  readonly parent: NodeJS.ProcessEnv
  /** Names that the person asked for with `--pass-env`. */
  readonly pass: readonly string[]
  /** What an agent's profile sets; stronger than what is inherited. */
  readonly profile?: Readonly<Record<string, string>>
  readonly workingFolder: string
}

/** Inherited where set: what programs need to run and to look right, none of which opens anything. */
const inherited: ReadonlySet<string> = new Set([
  ...['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'HOSTNAME', 'LANG', 'LANGUAGE', 'TZ', 'MANPATH', 'INFOPATH'],
  ...['TERM', 'COLORTERM', 'TERM_PROGRAM', 'TERM_PROGRAM_VERSION', 'NO_COLOR', 'FORCE_COLOR', 'CLICOLOR', 'LS_COLORS'],
  ...['EDITOR', 'VISUAL', 'PAGER', 'LESS', 'CI', 'GITHUB_ACTIONS', 'GITLAB_CI', 'DEBIAN_FRONTEND'],
  ...['XDG_CONFIG_HOME', 'XDG_CACHE_HOME', 'XDG_DATA_HOME', 'XDG_STATE_HOME'],
  ...['GIT_AUTHOR_NAME', 'GIT_AUTHOR_EMAIL', 'GIT_COMMITTER_NAME', 'GIT_COMMITTER_EMAIL'],
  ...['SSL_CERT_FILE', 'SSL_CERT_DIR', 'NIX_SSL_CERT_FILE', 'NIX_PATH', 'NIX_PROFILES', 'HOMEBREW_PREFIX'],
  // Where version managers and toolchains live.
  ...['NVM_DIR', 'FNM_DIR', 'VOLTA_HOME', 'PNPM_HOME', 'BUN_INSTALL', 'DENO_INSTALL', 'ASDF_DIR', 'ASDF_DATA_DIR'],
  ...['PYENV_ROOT', 'VIRTUAL_ENV', 'CONDA_PREFIX', 'CONDA_DEFAULT_ENV', 'RBENV_ROOT', 'GEM_HOME', 'SDKMAN_DIR'],
  ...['GOPATH', 'GOROOT', 'GOFLAGS', 'CARGO_HOME', 'RUSTUP_HOME', 'JAVA_HOME', 'MAVEN_HOME', 'GRADLE_HOME'],
])

/**
 * Never given to a child, whoever asks: what mints identities or is one, what reaches a program outside (an agent's
 * socket, a multiplexer, an editor, a bus), and what loads code into a program, as the program that confines the child
 * starts with this same environment.
 */
const never: readonly { readonly pattern: RegExp; readonly why: string }[] = [
  {
    why: 'a CI job’s identity is minted with it',
    pattern:
      /^(ACTIONS_(ID_TOKEN_REQUEST|RUNTIME|RESULTS|CACHE)_.*|CI_JOB_JWT.*|CI_JOB_TOKEN|CI_REGISTRY_PASSWORD|CI_DEPLOY_PASSWORD|BITBUCKET_STEP_OIDC_TOKEN|CIRCLE_OIDC_TOKEN.*|BUILDKITE_AGENT_(ACCESS|JOB)_TOKEN|SYSTEM_(ACCESSTOKEN|OIDCREQUESTURI)|TFC_WORKLOAD_IDENTITY_TOKEN.*|VERCEL_OIDC_TOKEN|SEMAPHORE_OIDC_TOKEN|.*_ID_TOKEN)$/,
  },
  {
    why: 'it is a cloud identity',
    pattern:
      /^(AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|SECURITY_TOKEN|WEB_IDENTITY_.*|CONTAINER_.*|SHARED_CREDENTIALS_FILE)|GOOGLE_(APPLICATION_CREDENTIALS|.*CREDENTIALS.*|GHA_CREDS_PATH|OAUTH_ACCESS_TOKEN)|CLOUDSDK_AUTH_.*|GCLOUD_.*TOKEN.*|AZURE_(FEDERATED_TOKEN.*|CLIENT_SECRET|CLIENT_CERTIFICATE.*|PASSWORD|ACCESS_TOKEN)|ARM_(OIDC_.*|CLIENT_SECRET|ACCESS_KEY)|IDENTITY_(ENDPOINT|HEADER|SERVER_THUMBPRINT)|MSI_(ENDPOINT|SECRET))$/,
  },
  {
    why: 'it leads to a program outside',
    pattern:
      /^(SSH_(AUTH_SOCK|AGENT_PID|ASKPASS.*|CLIENT|CONNECTION|TTY)|GIT_ASKPASS|SUDO_ASKPASS|GPG_AGENT_INFO|GNOME_KEYRING_.*|DBUS_.*|XDG_RUNTIME_DIR|XDG_SESSION_.*|DISPLAY|WAYLAND_.*|XAUTHORITY|TMUX.*|STY|WINDOW|ZELLIJ.*|KITTY_.*|WEZTERM_.*|ALACRITTY_.*|ITERM_.*|VSCODE_.*|CURSOR_.*|NVIM.*|VIMRUNTIME|INSIDE_EMACS|EMACS_.*|JETBRAINS_.*|TERMINAL_EMULATOR|DOCKER_.*|CONTAINER_HOST|KUBECONFIG|KUBERNETES_.*|AGENTGATE_.*)$/,
  },
  {
    why: 'it loads code into programs',
    pattern:
      /^(LD_.*|DYLD_.*|GCONV_PATH|LOCPATH|NLSPATH|GLIBC_TUNABLES|MALLOC_.*|NODE_(OPTIONS|CHANNEL_.*|REPL_EXTERNAL_MODULE)|BASH_ENV|ENV|BASH_FUNC_.*|SHELLOPTS|BASHOPTS|PS4|IFS|PROMPT_COMMAND)$/,
  },
]

/** Two base64url JSON objects and a signature: an identity token by whatever name (GitLab lets jobs name theirs). */
const identityToken = /^\s*eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*\s*$/

const variableName = /^[A-Za-z_][A-Za-z0-9_]*$/

/**
 * A child's environment before its tunnels open: an allow-list, what the person named, what the profile sets.
 * @throws AgentgateError USAGE where something was named that no child is ever given
 */
export function childEnvironment(options: EnvironmentOptions): Record<string, string> {
  const environment: Record<string, string> = {}
  for (const [name, value] of Object.entries(options.parent))
    if (value !== undefined && (inherited.has(name) || /^LC_[A-Z]+$/.test(name))) environment[name] = value
  for (const name of options.pass) {
    const value = options.parent[name]
    const reason = refusal(name, value ?? '')
    if (reason !== undefined)
      throw new AgentgateError('USAGE', `--pass-env ${name} is refused: ${reason}`, {
        exitCode: 125,
        hint: 'give the child a resource instead: agentgate exec -r NAME',
      })
    if (value !== undefined) environment[name] = value
  }
  return { ...environment, ...options.profile, PWD: options.workingFolder }
}

/**
 * What open tunnels add; stronger than anything inherited.
 * @throws AgentgateError INTERNAL for what could not be carried: one variable a line
 */
export function checkedTunnelEnvironment(tunnels: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(tunnels).map(([name, value]) => {
    if (!variableName.test(name) || /[\n\r\0]/.test(value))
      throw new AgentgateError('INTERNAL', 'a tunnel gives a variable that cannot be set')
    return `${name}=${value}`
  })
}

function refusal(name: string, value: string): string | undefined {
  if (!variableName.test(name)) return 'that is not the name of a variable'
  const upper = name.toUpperCase()
  const rule = never.find(({ pattern }) => pattern.test(upper))
  if (rule !== undefined) return rule.why
  return identityToken.test(value) ? 'it holds an identity token' : undefined
}
