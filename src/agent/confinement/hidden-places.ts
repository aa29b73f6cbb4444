import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Environment } from '../../config/paths.ts'
import { within, type Mount } from './mount.ts'

/** Where other programs and people live: sockets, other homes, foreign disks. Empty inside. */
const emptied = ['/tmp', '/var/tmp', '/run', '/home', '/root', '/mnt', '/media', '/boot', '/lost+found'] as const

/** Of the system's own files, what only root should read, and does where root runs an agent. */
const systemSecrets = [
  ...['/etc/shadow', '/etc/shadow-', '/etc/gshadow', '/etc/gshadow-', '/etc/sudoers', '/etc/sudoers.d'],
  ...['/etc/security/opasswd', '/etc/ssl/private', '/etc/pki/tls/private', '/etc/letsencrypt', '/etc/krb5.keytab'],
  ...['/etc/kubernetes', '/etc/rancher', '/etc/docker', '/etc/containerd', '/etc/wireguard', '/etc/openvpn'],
  ...['/etc/NetworkManager/system-connections', '/etc/ppp', '/etc/ipsec.secrets', '/etc/ipsec.d', '/etc/agentgate'],
  ...['/etc/environment', '/etc/cron.d', '/var/spool', '/var/mail', '/var/backups', '/var/crash'],
  ...[
    '/var/log',
    '/var/lib/docker',
    '/var/lib/containerd',
    '/var/lib/containers',
    '/var/lib/kubelet',
    '/var/lib/rancher',
  ],
  ...[
    '/var/lib/etcd',
    '/var/lib/postgresql',
    '/var/lib/mysql',
    '/var/lib/redis',
    '/var/lib/mongodb',
    '/var/lib/private',
  ],
  ...['/var/lib/sss', '/var/lib/NetworkManager', '/var/lib/systemd', '/var/lib/cloud', '/var/lib/gdm3', '/var/lib/lxc'],
  ...['/var/lib/libvirt', '/var/lib/lxd', '/var/lib/incus', '/var/snap', '/proc/kcore', '/proc/keys'],
  ...['/proc/key-users', '/sys/firmware', '/sys/kernel/debug', '/sys/kernel/tracing', '/sys/kernel/security'],
  ...['/sys/fs/bpf', '/sys/fs/pstore', '/sys/fs/fuse'],
]

/** Parts of /proc that are the machine's; a process with root's user id may write to them without any capability. */
const machineSettings = [
  'sys',
  'sysrq-trigger',
  'irq',
  'bus',
  'fs',
  'acpi',
  'asound',
  'driver',
  'dynamic_debug',
].concat(['mtrr', 'pressure', 'scsi', 'tty'])

/** Variables that say where a secret or a socket is, some as lists. */
const namedByVariables = [
  ...['KUBECONFIG', 'AWS_SHARED_CREDENTIALS_FILE', 'AWS_CONFIG_FILE', 'AWS_WEB_IDENTITY_TOKEN_FILE'],
  ...['GOOGLE_APPLICATION_CREDENTIALS', 'GOOGLE_GHA_CREDS_PATH', 'CLOUDSDK_CONFIG', 'AZURE_CONFIG_DIR'],
  ...['AZURE_FEDERATED_TOKEN_FILE', 'DOCKER_CONFIG', 'DOCKER_CERT_PATH', 'GNUPGHOME', 'PGPASSFILE', 'PGSERVICEFILE'],
  ...['NETRC', 'NPM_CONFIG_USERCONFIG', 'npm_config_userconfig', 'KRB5CCNAME', 'XAUTHORITY', 'SSH_AUTH_SOCK'],
  ...['VSCODE_IPC_HOOK_CLI', 'VSCODE_GIT_IPC_HANDLE', 'NVIM', 'KITTY_LISTEN_ON', 'TMUX', 'TMUX_TMPDIR', 'SCREENDIR'],
  ...['DOCKER_HOST', 'DBUS_SESSION_BUS_ADDRESS', 'XDG_RUNTIME_DIR', 'HISTFILE', 'GITHUB_ENV', 'GITHUB_PATH'],
  ...['GITHUB_OUTPUT', 'GITHUB_STATE', 'RUNNER_TEMP', 'SSH_ASKPASS', 'GIT_ASKPASS'],
]

/** The base of everything: the system read-only, a /proc and /dev of its own, the places above emptied. */
export function systemMounts(): readonly Mount[] {
  const places = [...new Set(emptied.flatMap(place => existing(place)))].filter(place => place !== '/')
  const writable = new Set(['/tmp', '/var/tmp', '/run'].flatMap(place => existing(place)))
  return [
    { kind: 'read-only', path: '/' },
    { kind: 'devices', path: '/dev' },
    { kind: 'processes', path: '/proc' },
    ...machineSettings.flatMap(name =>
      existing(`/proc/${name}`).map(place => ({ kind: 'read-only' as const, path: place })),
    ),
    { kind: 'private', path: '/dev/shm', mode: '1777' },
    ...places.map((place): Mount =>
      writable.has(place)
        ? { kind: 'private', path: place, mode: place === '/run' ? '0755' : '1777' }
        : { kind: 'private', path: place, mode: '0755' },
    ),
    // Where the system itself lies on some distributions (NixOS).
    ...['/run/current-system', '/run/opengl-driver', '/run/booted-system'].flatMap(place =>
      existing(place).length > 0 ? [{ kind: 'read-only' as const, path: place }] : [],
    ),
  ]
}

/** What is hidden wherever it lies: the system's secrets, what the environment names, sockets that someone listens on. */
export function hiddenPlaces(env: Environment): readonly string[] {
  const named = namedByVariables.flatMap(name => pathsIn(env[name] ?? ''))
  return [...systemSecrets, ...named, ...listeningSockets()].flatMap(place => existing(place))
}

/** Hides each of them as what it is; those that are not visible anyway are left alone. */
export function hide(places: readonly string[], visible: (place: string) => boolean): readonly Mount[] {
  const mounts: Mount[] = []
  for (const asked of [...new Set(places)].sort()) {
    if (!visible(asked)) continue
    // Nothing can be laid over what bubblewrap cannot reach; the folder that keeps it out can be covered.
    const place = closedFolder(asked, visible) ?? asked
    if (mounts.some(mount => within(place, mount.path))) continue
    const found = tryStat(place)
    if (found !== undefined) mounts.push({ kind: found.isDirectory() ? 'hidden-folder' : 'hidden-file', path: place })
  }
  return mounts
}

/**
 * The first visible folder above `place` that may not be entered inside: another user's, where root without its
 * capabilities is nobody in particular (user_namespaces(7)). A plain user meets it outside already.
 */
export function closedFolder(place: string, visible: (place: string) => boolean): string | undefined {
  if (process.geteuid?.() !== 0) return undefined
  const groups = process.getgroups?.() ?? []
  const names = place.split('/').slice(1, -1)
  return names
    .map((_, index) => `/${names.slice(0, index + 1).join('/')}`)
    .find(folder => {
      const found = visible(folder) ? tryStat(folder) : undefined
      if (found === undefined) return false
      const search = found.uid === 0 ? 0o100 : groups.includes(found.gid) ? 0o010 : 0o001
      return (found.mode & search) === 0
    })
}

function pathsIn(value: string): readonly string[] {
  // Lists by colon, D-Bus addresses (unix:path=…;unix:path=…), docker's unix://…, tmux's path,pid,session.
  return value
    .split(/[:;,=]|\/\/(?=\/)/)
    .filter(part => path.isAbsolute(part) && part.split('/').filter(Boolean).length > 1)
}

/** Sockets in the file system are no part of a network namespace: who can see one can talk to whoever listens (unix(7)). */
function listeningSockets(): readonly string[] {
  try {
    return readFileSync('/proc/net/unix', 'utf8')
      .split('\n')
      .flatMap(line => /^(?:\S+\s+){7}(\/.*)$/.exec(line)?.[1] ?? [])
  } catch {
    return []
  }
}

/** The real path, where there is one. */
function existing(place: string): readonly string[] {
  try {
    return [realpathSync(place)]
  } catch {
    return []
  }
}

function tryStat(place: string) {
  try {
    return statSync(place)
  } catch {
    return undefined
  }
}

/** Names in a folder; none where it cannot be read. */
export function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
