import { closeSync, openSync, writeSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import { AgentgateError } from '../errors.ts'
import { KeyReader } from './ui/keys.ts'
import { TextBuffer } from './ui/text-buffer.ts'

/**
 * Asks for something that must not be seen, at the terminal itself: never from stdin, which may be a pipe.
 * @throws AgentgateError PASSPHRASE where there is no terminal, or nothing was typed.
 */
export async function readHidden(question: string, withoutTerminal: string): Promise<string> {
  let descriptor: number
  try {
    descriptor = openSync('/dev/tty', 'r+')
  } catch (error) {
    throw new AgentgateError('PASSPHRASE', 'a passphrase is typed at a terminal, and there is none here', {
      hint: withoutTerminal,
      cause: error,
    })
  }
  const input = new ReadStream(descriptor)
  const output = openSync('/dev/tty', 'w')
  try {
    input.setRawMode(true)
    input.setEncoding('utf8')
    writeSync(output, question)
    return await typed(input)
  } finally {
    input.setRawMode(false)
    input.destroy() // closes the descriptor
    writeSync(output, '\n')
    closeSync(output)
  }
}

async function typed(input: ReadStream): Promise<string> {
  const reader = new KeyReader()
  let buffer = TextBuffer.of('').end()
  for await (const chunk of input as AsyncIterable<string>)
    for (const key of reader.push(chunk))
      switch (key.kind) {
        case 'character':
          buffer = buffer.insert(key.text)
          break
        case 'paste':
          buffer = buffer.insert(key.text.replace(/\n/g, ''))
          break
        case 'control':
          if (key.letter === 'u') buffer = TextBuffer.of('')
          else if (key.letter === 'c' || key.letter === 'd')
            throw new AgentgateError('PASSPHRASE', 'no passphrase was typed')
          break
        case 'named':
          if (key.name === 'backspace') buffer = buffer.backspace()
          else if (key.name === 'enter') return buffer.text
          break
        default:
          key satisfies never
      }
  throw new AgentgateError('PASSPHRASE', 'the terminal went away')
}
