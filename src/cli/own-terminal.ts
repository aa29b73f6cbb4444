import { openSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import { AgentgateError } from '../errors.ts'
import type { Io } from './command.ts'

/**
 * Runs `work` with stdin at this process's terminal, also where stdin is a pipe that holds something else.
 * @throws AgentgateError PASSPHRASE where there is no terminal
 */
export async function atTerminal<Result>(io: Io, work: (io: Io) => Promise<Result>): Promise<Result> {
  if (io.stdin.isTTY) return await work(io)
  let descriptor: number
  try {
    descriptor = openSync('/dev/tty', 'r+')
  } catch (error) {
    throw new AgentgateError('PASSPHRASE', 'a passphrase is typed at a terminal, and there is none here', {
      hint: 'run it in a terminal, press a key in that of agentgate connect, or confine the asker: agentgate exec',
      cause: error,
    })
  }
  const stdin = new ReadStream(descriptor)
  try {
    return await work({ ...io, stdin })
  } finally {
    stdin.destroy() // closes the descriptor
  }
}
