import type { Paths } from '../config/paths.ts'
import { AgentgateError } from '../errors.ts'
import {
  hasApproverKey,
  passphraseProblem,
  replaceApproverKey,
  unlock,
  type UnlockedKey,
} from '../policy/approver-key.ts'
import type { Io } from './command.ts'
import { Keyboard } from './ui/terminal.ts'

const maxAttempts = 3

/** Whether a person can type here. Everything else has to bring its decision along. */
export function canAsk(io: Io): boolean {
  return io.stdin.isTTY && io.stderr.isTTY
}

/**
 * The approver's key, for a passphrase typed at this terminal; at first use one is made.
 * @throws AgentgateError PASSPHRASE: wrong, or nobody typed one
 */
export async function askForKey(io: Io, paths: Paths, why: string): Promise<UnlockedKey> {
  if (!hasApproverKey(paths)) {
    io.stderr.write('no passphrase is set yet: it signs what you trust and approve, and is asked for each time\n')
    return await replaceApproverKey(paths, await askForNew(io))
  }
  for (let attempt = 1; ; attempt++) {
    const passphrase = await readHidden(io, `passphrase, ${why}: `)
    try {
      return await unlock(paths, passphrase)
    } catch (error) {
      if (!(error instanceof AgentgateError) || error.code !== 'PASSPHRASE' || attempt === maxAttempts) throw error
      io.stderr.write(`${error.message}\n`)
    }
  }
}

/** A new passphrase, typed twice. @throws AgentgateError PASSPHRASE */
export async function askForNew(io: Io): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const passphrase = await readHidden(io, 'new passphrase: ')
    const problem =
      passphraseProblem(passphrase) ??
      ((await readHidden(io, 'once more: ')) === passphrase ? undefined : 'the two are not the same')
    if (problem === undefined) return passphrase
    if (attempt === maxAttempts) throw new AgentgateError('PASSPHRASE', problem)
    io.stderr.write(`${problem}\n`)
  }
}

/** A line typed without being shown. @throws AgentgateError PASSPHRASE where Ctrl-C, Ctrl-D or Escape ends it */
export async function readHidden(io: Io, prompt: string): Promise<string> {
  let typed: string[] = []
  let keyboard: Keyboard | undefined
  try {
    return await new Promise<string>((resolve, reject) => {
      const give = () => reject(new AgentgateError('PASSPHRASE', 'no passphrase was typed, so nothing has changed'))
      keyboard = new Keyboard(
        { stdin: io.stdin, stdout: io.stderr },
        key => {
          switch (key.kind) {
            case 'character':
              typed.push(...Array.from(key.text))
              return
            case 'paste':
              // A newline at the end of what was pasted is not part of it.
              typed.push(...Array.from(key.text.replace(/[\r\n]+$/, '')))
              return
            case 'named':
              if (key.name === 'enter') resolve(typed.join(''))
              else if (key.name === 'backspace') typed = typed.slice(0, -1)
              else if (key.name === 'escape') give()
              return
            case 'control':
              if (key.letter === 'u') typed = []
              else if (key.letter === 'c' || key.letter === 'd') give()
              return
            default:
              key satisfies never
          }
        },
        give,
      )
      // First no echo, then the prompt: who answers at once must not see it on the screen.
      keyboard.start()
      io.stderr.write(prompt)
    })
  } finally {
    keyboard?.stop()
    io.stderr.write('\n')
  }
}
