import { existsSync, realpathSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { root } from './agentgate.ts'

/** A test program in one file of JavaScript, that any user who can read `folder` may run. */
export async function bundle(entry: string, folder: string): Promise<string> {
  const outfile = path.join(folder, `${path.basename(entry, '.ts')}.mjs`)
  const modules = path.join(folder, 'node_modules')
  if (!existsSync(modules)) symlinkSync(realpathSync(path.join(root, 'node_modules')), modules)
  const packages = JSON.stringify(path.join(root, 'package.json'))
  await build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    external: ['@lydell/node-pty'],
    banner: {
      js: `import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(${packages});`,
    },
  })
  return outfile
}
