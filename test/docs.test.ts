import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { root } from './support/agentgate.ts'

const written = /\b(?:docs|schema|completions)\/[\w/.-]*\w\.(?:md|json)\b/g

function textsIn(...folders: string[]): string[] {
  return folders.flatMap(folder =>
    readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile() && /\.(?:md|tsx?|js)$/.test(entry.name))
      .map(entry => path.join(entry.parentPath, entry.name)),
  )
}

it('what the program and its documents refer to is there', () => {
  const files = ['README.md', 'SECURITY.md', 'CHANGELOG.md'].map(name => path.join(root, name))
  const missing = [...files, ...textsIn('docs', 'src')].flatMap(file =>
    [...readFileSync(file, 'utf8').matchAll(written)]
      .filter(([named]) => !existsSync(path.join(root, named)))
      .map(([named]) => `${path.relative(root, file)} names ${named}`),
  )
  expect(missing).toEqual([])
})

it('what docs/ holds is found from the README, or from a document that is', () => {
  const all = ['README.md', ...readdirSync(path.join(root, 'docs')).map(name => `docs/${name}`)]
  const texts = all.filter(name => name.endsWith('.md')).map(name => readFileSync(path.join(root, name), 'utf8'))
  const alone = all.slice(1).filter(name => !texts.some(text => text.includes(path.basename(name))))
  expect(alone).toEqual([])
})
