import { lstatSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import path from 'node:path'
import type { Mount } from './mount.ts'

/**
 * What of a home is shown, read-only: tools, and how editors look. Everything else (keys, tokens, browsers, other projects,
 * start-up files with exported keys in them) is not listed here and so not there.
 */
const shown: readonly string[] = [
  ...['bin', 'go/bin', 'go/pkg', 'sdk', 'miniconda3', 'anaconda3', 'miniforge3', 'mambaforge', 'perl5', 'R', 'flutter'],
  ...['Android/Sdk', '.local/bin', '.local/lib', '.local/opt', '.local/pipx', '.local/share/pipx', '.local/share/uv'],
  ...['.local/share/pnpm', '.local/share/fnm', '.local/share/mise', '.local/share/virtualenvs', '.local/share/claude'],
  ...['.local/share/nvim', '.local/share/fonts', '.local/share/rtx', '.local/share/cargo', '.local/share/rustup'],
  ...['.claude/local', '.nvm', '.fnm', '.volta', '.nodenv', '.n', '.asdf', '.asdfrc', '.tool-versions', '.pyenv'],
  ...['.rbenv', '.rvm', '.gem', '.cargo/bin', '.cargo/registry', '.cargo/git', '.cargo/env', '.cargo/config.toml'],
  ...['.rustup', '.sdkman', '.jenv', '.m2/repository', '.m2/wrapper', '.gradle/caches', '.gradle/wrapper', '.ivy2'],
  ...['.deno', '.bun', '.yarn', '.pnpm-store', '.linuxbrew', '.nix-profile', '.nix-defexpr', '.opam', '.ghcup'],
  ...['.cabal/bin', '.cabal/packages', '.stack', '.mix', '.dotnet', '.nuget/packages', '.juliaup', '.julia'],
  ...['.inputrc', '.vimrc', '.vim', '.nanorc', '.editorconfig', '.gitignore', '.gitignore_global', '.gitattributes'],
  ...['.config/nvim', '.config/vim', '.config/helix', '.config/bat', '.config/starship.toml', '.config/ripgrep'],
  ...['.config/ruff', '.config/mise', '.config/git/ignore', '.config/git/attributes', '.ripgreprc', '.terminfo'],
]

/** Shown without what opens anything. */
export const gitConfigurations: readonly string[] = ['.gitconfig', '.config/git/config']

/**
 * Names below a home that hold keys, tokens, cookies or histories: a working folder may not lie in one, and `--read` must
 * name it itself, not a folder around it.
 */
export const secretPlaces: readonly string[] = [
  ...['.ssh', '.aws', '.kube', '.docker', '.gnupg', '.azure', '.config/gcloud', '.config/gh', '.config/glab-cli'],
  ...['.config/agentgate', '.local/state/agentgate', '.local/share/agentgate', '.netrc', '.npmrc', '.yarnrc.yml'],
  ...['.pgpass', '.pg_service.conf', '.my.cnf', '.mylogin.cnf', '.pypirc', '.config/pip', '.pip', '.git-credentials'],
  ...['.config/git/credentials', '.m2/settings.xml', '.m2/settings-security.xml', '.gradle/gradle.properties'],
  ...['.cargo/credentials', '.cargo/credentials.toml', '.terraform.d', '.terraformrc', '.vault-token', '.config/op'],
  ...['.op', '.1password', '.password-store', '.local/share/keyrings', '.kde/share/apps/kwallet'],
  ...[
    '.local/share/kwalletd',
    '.config/1Password',
    '.config/Bitwarden',
    '.mozilla',
    '.thunderbird',
    '.config/chromium',
  ],
  ...['.config/google-chrome', '.config/google-chrome-beta', '.config/BraveSoftware', '.config/microsoft-edge'],
  ...['.config/vivaldi', '.config/opera', '.config/Slack', '.config/discord', '.config/Signal', '.config/Code'],
  ...[
    '.config/Cursor',
    '.config/JetBrains',
    '.vscode-server',
    '.cursor-server',
    '.config/systemd',
    '.config/autostart',
  ],
  ...['.config/containers', '.local/share/containers', '.local/share/docker', '.minikube', '.config/helm', '.oci'],
  ...['.config/doctl', '.config/flyctl', '.fly', '.config/hub', '.config/netlify', '.config/heroku', '.config/stripe'],
  ...['.config/rclone', '.config/sops', '.config/age', '.age', '.bash_history', '.zsh_history', '.psql_history'],
  ...['.mysql_history', '.python_history', '.node_repl_history', '.local/share/fish', '.config/fish', '.wget-hsts'],
  ...['.claude', '.claude.json', '.codex', '.gemini', '.config/claude', '.anthropic', '.openai', 'snap', 'Library'],
]

export interface Home {
  readonly mounts: readonly Mount[]
  /** Git configurations found, to be shown as copies. */
  readonly gitConfigurations: readonly string[]
}

/** A home that is empty but for tools; what is written to it is the child's own and goes with it. */
export function homeMounts(home: string): Home {
  const mounts: Mount[] = [{ kind: 'private', path: home, mode: '0700' }]
  for (const name of shown) mounts.push(...showing(path.join(home, name)))
  return {
    mounts,
    gitConfigurations: gitConfigurations.map(name => path.join(home, name)).filter(isReadableFile),
  }
}

function showing(place: string): readonly Mount[] {
  try {
    const found = lstatSync(place)
    if (found.isSymbolicLink()) {
      // The link is shown; what it leads to is, if it is visible by itself.
      const target = readlinkSync(place)
      return [{ kind: 'link', path: place, target }]
    }
    // A folder above that is a link: shown where it really lies, or not at all.
    return realpathSync(place) === place ? [{ kind: 'read-only', path: place }] : []
  } catch {
    return []
  }
}

function isReadableFile(file: string): boolean {
  try {
    readFileSync(file)
    return true
  } catch {
    return false
  }
}

/** Where a secret lies at or above `place`, in a home; undefined for an ordinary place. */
export function secretAround(place: string, home: string): string | undefined {
  return secretPlaces
    .map(name => path.join(home, name))
    .find(secret => place === secret || place.startsWith(`${secret}/`))
}
