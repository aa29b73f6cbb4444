import net from 'node:net'
import tls from 'node:tls'
import { syslogFrame } from './syslog-message.ts'
import { SinkFailed, type Sink } from './sink.ts'
import { tlsFailure } from './tls-failure.ts'

export interface SyslogOptions {
  readonly host: string
  readonly port: number
  readonly ca: string | undefined
  readonly certificate: { readonly certificate: string; readonly key: string } | undefined
  readonly maxMessageBytes: number
}

const patienceMilliseconds = 15_000

/**
 * RFC 5425: syslog over TLS. The protocol has no word for "received". So each batch has a connection of its own, which we
 * end after it: a receiver that ends it in turn has read all of it, up to that end. One that only lets it fall has not.
 */
export function syslogSink(options: SyslogOptions): Sink {
  let session: Buffer | undefined
  const place = `syslog+tls://${options.host.includes(':') ? `[${options.host}]` : options.host}:${options.port}`
  return {
    place,
    limits: { events: 500, bytes: 1 << 20 },
    close: () => undefined,
    send: async (events, signal) => {
      const bytes = Buffer.concat(events.map(event => syslogFrame(event, options.maxMessageBytes)))
      await sendOnce(options, place, bytes, session, found => (session = found), signal).catch((error: unknown) => {
        session = undefined
        throw error
      })
    },
  }
}

async function sendOnce(
  options: SyslogOptions,
  place: string,
  bytes: Buffer,
  session: Buffer | undefined,
  onSession: (session: Buffer) => void,
  signal: AbortSignal,
): Promise<void> {
  const { host, port, ca, certificate } = options
  await new Promise<void>((resolve, reject) => {
    let ended = false
    const socket = tls.connect({
      host,
      port,
      ...(net.isIP(host) === 0 ? { servername: host } : {}),
      ...(ca === undefined ? {} : { ca }),
      ...(certificate === undefined ? {} : { cert: certificate.certificate, key: certificate.key }),
      ...(session === undefined ? {} : { session }),
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
    })
    const failed = (error: Error) => {
      socket.destroy()
      reject(error)
    }
    const abort = () => failed(new SinkFailed('unreachable', `${place}: stopped`))
    const done = () => signal.removeEventListener('abort', abort)
    signal.addEventListener('abort', abort, { once: true })
    socket.setTimeout(patienceMilliseconds, () => failed(new SinkFailed('unreachable', `${place} does not answer`)))
    socket.on('session', onSession)
    socket.on('error', (error: Error) => {
      done()
      failed(tlsFailure(place, error))
    })
    socket.once('secureConnect', () => socket.end(bytes))
    socket.on('data', () => undefined) // receivers say nothing; what one says counts for nothing
    socket.once('end', () => (ended = true))
    socket.once('close', hadError => {
      done()
      if (ended && !hadError && socket.writableFinished) resolve()
      else reject(new SinkFailed('unreachable', `${place} cut the connection`))
    })
    if (signal.aborted) abort()
  })
}
