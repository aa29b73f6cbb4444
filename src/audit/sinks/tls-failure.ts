import { SinkFailed } from './sink.ts'

/** Codes of Node.js and OpenSSL for a peer that is not who it should be: waiting does not mend that. */
const certificateCodes =
  /^(?:ERR_TLS_CERT|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|INVALID_CA|HOSTNAME_MISMATCH|ERR_SSL_TLSV1_ALERT_UNKNOWN_CA|ERR_SSL_(?:TLSV1|SSLV3|TLSV13)_ALERT_)/

/** What became of a connection, in words of ours and the code. */
export function tlsFailure(place: string, error: NodeJS.ErrnoException): SinkFailed {
  const code = error.code ?? ''
  if (certificateCodes.test(code))
    return new SinkFailed('refused', `${place}: its certificate is not trusted (${code})`)
  return new SinkFailed('unreachable', `cannot reach ${place}${code === '' ? '' : ` (${code})`}`)
}
