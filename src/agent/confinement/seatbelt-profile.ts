import path from 'node:path'
import { AgentgateError } from '../../errors.ts'
import type { Mount } from './mount.ts'

export interface SeatbeltOptions {
  /** As for a mount namespace: later ones lie over earlier ones. */
  readonly mounts: readonly Mount[]
  /** What may be read and not made, changed or removed, whether it is there or not. */
  readonly unchangeable: readonly string[]
  /** Of the tunnels, on loopback. */
  readonly ports: readonly number[]
}

/** Services that programs look up to start at all: users, notifications, logging, and the file system's own. */
const services = [
  'com.apple.bsd.dirhelper',
  'com.apple.system.opendirectoryd.libinfo',
  'com.apple.system.opendirectoryd.membership',
  'com.apple.system.notification_center',
  'com.apple.system.logger',
  'com.apple.logd',
  'com.apple.diagnosticd',
]

/** Those that lead to keychains, to other programs or to the person; said, though what is not allowed is denied. */
const deniedServices = [
  'com.apple.SecurityServer',
  'com.apple.securityd',
  'com.apple.securityd.xpc',
  'com.apple.secd',
  'com.apple.coreservices.launchservicesd',
  'com.apple.coreservices.appleevents',
  'com.apple.pasteboard.1',
  'com.apple.tccd',
  'com.apple.windowserver.active',
]

/**
 * A profile for sandbox-exec(1), in its own Scheme (SBPL), where the last rule that matches counts. Apple documents none of
 * it; what stands here is in use in WebKit's and Chromium's profiles.
 * @throws AgentgateError UNCONFINED for a path that cannot be written down with certainty
 */
export function seatbeltProfile({ mounts, unchangeable, ports }: SeatbeltOptions): string {
  const shown = mounts.filter(({ kind }) => kind === 'read-only' || kind === 'writable').map(mount => mount.path)
  return [
    '(version 1)',
    '(deny default)',
    '(allow process-exec)',
    '(allow process-fork)',
    '(allow process-info* (target same-sandbox))',
    '(allow signal (target same-sandbox))',
    '(allow sysctl-read)',
    '(allow ipc-posix-sem)',
    '(allow pseudo-tty)',
    '(allow file-read* file-write* (literal "/dev/null") (literal "/dev/zero") (literal "/dev/tty") (literal "/dev/ptmx"))',
    '(allow file-read* (literal "/dev/random") (literal "/dev/urandom") (literal "/dev/autofs_nowait") (subpath "/dev/fd"))',
    // Settings of a terminal that is open already; none can be opened by its name, so none can be typed into.
    '(allow file-ioctl (literal "/dev/tty") (literal "/dev/ptmx") (regex #"^/dev/ttys[0-9]+$"))',
    `(allow mach-lookup ${services.map(name => `(global-name ${quoted(name)})`).join(' ')})`,
    `(deny mach-lookup ${deniedServices.map(name => `(global-name ${quoted(name)})`).join(' ')})`,
    ...mounts.flatMap(rulesFor),
    // Neither moved nor removed: what is protected below would come out from under its rule.
    ...[...new Set([...shown, ...unchangeable])].map(place => `(deny file-write-unlink (literal ${quoted(place)}))`),
    ...unchangeable.map(place => `(deny file-write* (subpath ${quoted(place)}))`),
    ...ancestors([...shown, ...unchangeable]).map(place => `(allow file-read-metadata (literal ${quoted(place)}))`),
    '(deny network*)',
    ...ports.map(port => `(allow network-outbound (remote ip ${quoted(`localhost:${port}`)}))`),
    '',
  ].join('\n')
}

function rulesFor(mount: Mount): readonly string[] {
  const below = `(subpath ${quoted(mount.path)})`
  switch (mount.kind) {
    case 'read-only':
      return [`(allow file-read* ${below})`, `(deny file-write* ${below})`]
    case 'writable':
      return [`(allow file-read* file-write* ${below})`]
    case 'private':
    case 'hidden-folder':
    case 'hidden-file':
      return [`(deny file-read* file-write* ${below})`]
    case 'link':
      return [`(allow file-read* (literal ${quoted(mount.path)}))`]
    case 'sealed':
    case 'devices':
    case 'processes':
      return [] // made by a mount namespace only
    default:
      return mount satisfies never
  }
}

/** A string of SBPL: parentheses and semicolons are text inside it, quotes and backslashes are escaped. */
function quoted(text: string): string {
  if (/[\u0000-\u001f\u007f]/.test(text))
    throw new AgentgateError('UNCONFINED', `${JSON.stringify(text)} has a control character in its name`, {
      hint: 'rename it, or run from another folder',
    })
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

/** The folders on the way to some places: looked at, but not listed. */
function ancestors(places: readonly string[]): readonly string[] {
  const found = new Set<string>()
  for (const place of places)
    for (let above = path.dirname(place); !found.has(above); above = path.dirname(above)) found.add(above)
  return [...found].sort()
}
