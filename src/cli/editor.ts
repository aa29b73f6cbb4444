import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/** The person's editor; undefined where they named none. */
export function editorOf(env: NodeJS.ProcessEnv): string | undefined {
  return [env['VISUAL'], env['EDITOR']].find(value => value !== undefined && value.trim() !== '')
}

/**
 * Opens a text in the person's editor, in a private folder under `folder`, and waits; undefined where the editor failed.
 * The terminal must be free. Asynchronous, as statements go on passing meanwhile.
 */
export async function editText(
  text: string,
  options: {
    readonly editor: string
    readonly folder: string
    readonly extension: string
    readonly env: NodeJS.ProcessEnv
  },
): Promise<string | undefined> {
  const folder = mkdtempSync(path.join(options.folder, 'edit-'))
  try {
    const file = path.join(folder, `statement.${options.extension}`)
    writeFileSync(file, `${text}\n`, { mode: 0o600 })
    // By a shell, as git does: the variable may hold arguments.
    const child = spawn('/bin/sh', ['-c', `${options.editor} "$1"`, 'editor', file], {
      stdio: 'inherit',
      env: options.env,
    })
    const ended = await new Promise<boolean>(resolve => {
      child.on('error', () => resolve(false))
      child.on('exit', code => resolve(code === 0))
    })
    return ended ? readFileSync(file, 'utf8').replace(/\n$/, '') : undefined
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
