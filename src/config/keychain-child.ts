// A process of its own, since a keychain that asks somebody who is not there never answers, and cannot be told to stop.
// One request on stdin, one answer on stdout; the secret is in neither argv nor the environment.
import { execFile } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { z } from 'zod'

const run = promisify(execFile)

const request = z.discriminatedUnion('operation', [
  z.object({ operation: z.literal('get'), service: z.string(), account: z.string() }),
  z.object({ operation: z.literal('set'), service: z.string(), account: z.string(), secret: z.string() }),
  z.object({ operation: z.literal('delete'), service: z.string(), account: z.string() }),
])

const asked = request.parse(JSON.parse(await text(process.stdin)))
const trouble = process.platform === 'linux' ? await troubleOnLinux() : undefined
process.stdout.write(JSON.stringify(trouble === undefined ? { secret: await ask() } : { trouble }))

async function ask(): Promise<string | null> {
  const { default: keytar } = await import('keytar')
  switch (asked.operation) {
    case 'get':
      return await keytar.getPassword(asked.service, asked.account)
    case 'set':
      await keytar.setPassword(asked.service, asked.account, asked.secret)
      return null
    case 'delete':
      await keytar.deletePassword(asked.service, asked.account)
      return null
    default:
      return asked satisfies never
  }
}

/**
 * Whether the collection that secrets go to would ask somebody for its password first (Secret Service API §4.1): libsecret
 * would wait for them, or open a window before a person who has asked for nothing.
 */
async function troubleOnLinux(): Promise<'none' | 'locked' | 'silent' | undefined> {
  try {
    const { stdout } = await run('/usr/bin/dbus-send', [
      ...['--session', '--print-reply=literal', '--reply-timeout=2000', '--dest=org.freedesktop.secrets'],
      ...['/org/freedesktop/secrets/aliases/default', 'org.freedesktop.DBus.Properties.Get'],
      ...['string:org.freedesktop.Secret.Collection', 'string:Locked'],
    ])
    if (stdout.includes('boolean false')) return undefined
    return stdout.includes('boolean true') ? 'locked' : 'none'
  } catch (error) {
    // D-Bus specification, org.freedesktop.DBus.Error
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : ''
    return /NoReply|Timeout/.test(said) ? 'silent' : 'none'
  }
}
