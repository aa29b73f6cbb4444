import { ProtocolError } from '../../../errors.ts'
import { BodyReader } from '../wire/body-reader.ts'
import { readDataRow, readErrorFields } from '../wire/backend-messages.ts'
import { FrameReader, headerBytes } from '../wire/frame-reader.ts'
import { queryMessage } from '../wire/frontend-messages.ts'
import { backend } from '../wire/message-type.ts'
import { QueryFailed } from './server-connection.ts'
import type { LoggedIn } from './server-login.ts'

const maxAnswerBytes = 1_000_000

/** Asks one thing on a connection that the client has not seen yet, and leaves it as it was. @throws AgentgateError */
export async function askLoggedIn(login: LoggedIn, sql: string): Promise<(string | null)[][]> {
  const { stream } = login
  const reader = new FrameReader()
  const rows: (string | null)[][] = []
  let failed: QueryFailed | undefined
  return await new Promise((resolve, reject) => {
    const finish = (error: Error | undefined) => {
      stream.off('data', onData).off('close', onClose)
      stream.pause()
      const rest = reader.drain()
      if (rest.length > 0) stream.unshift(rest)
      if (error === undefined) resolve(rows)
      else reject(error)
    }
    const onClose = () => finish(new ProtocolError('postgres', 'the server closed the connection'))
    const onData = (chunk: Buffer) => {
      reader.push(chunk)
      try {
        while (reader.header(maxAnswerBytes) && reader.whole()) {
          const { bytes, start, length, type } = reader
          const body = new BodyReader().over(bytes, start + headerBytes, start + length)
          reader.skip(length)
          if (type === backend.DataRow) rows.push(readDataRow(body).map(value => value?.toString('utf8') ?? null))
          if (type === backend.ParameterStatus) login.parameters.set(body.utf8String(), body.utf8String())
          if (type === backend.ErrorResponse) {
            const fields = readErrorFields(body)
            failed = new QueryFailed(fields.get('C') ?? 'XX000', fields.get('M') ?? '')
          }
          if (type !== backend.ReadyForQuery) continue
          finish(failed)
          return
        }
      } catch (error) {
        finish(error instanceof Error ? error : new Error('unreadable'))
      }
    }
    stream.on('data', onData).on('close', onClose)
    stream.write(queryMessage(sql))
    stream.resume()
  })
}
