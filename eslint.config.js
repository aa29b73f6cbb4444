import path from 'node:path'
import js from '@eslint/js'
import tseslint from 'typescript-eslint'

// Layers, top to bottom (docs/architecture.md). A file imports from its own folder or from further down, never up, and
// one protocol never imports another.
const layers = [
  'cli',
  'demo',
  'agent',
  'broker',
  'tunnel',
  'protocols',
  'credentials',
  'audit',
  'recording',
  'policy',
  'masking',
  'identity',
  'control',
  'config',
  '.',
]
const src = path.join(import.meta.dirname, 'src')

function placeOf(file) {
  const parts = path.relative(src, file).split(path.sep)
  if (parts[0] === '..') return undefined
  const layer = parts.length === 1 ? '.' : parts[0]
  const protocol = layer === 'protocols' && parts.length > 2 ? parts[1] : undefined
  return { layer, rank: layers.indexOf(layer), protocol }
}

const importDirection = {
  meta: {
    type: 'problem',
    schema: [],
    messages: { up: '{{from}} may not import from {{to}}', unknown: 'src/{{layer}}/ is not a known layer' },
  },
  create(context) {
    const from = placeOf(context.filename)
    if (!from) return {}
    const check = node => {
      const source = node.source?.value
      if (typeof source !== 'string' || !source.startsWith('.')) return
      const to = placeOf(path.resolve(path.dirname(context.filename), source))
      if (!to) return
      for (const place of [from, to])
        if (place.rank < 0) return context.report({ node, messageId: 'unknown', data: { layer: place.layer } })
      const sideways =
        from.layer === 'protocols' &&
        to.layer === 'protocols' &&
        to.protocol !== undefined &&
        to.protocol !== from.protocol
      if (to.rank < from.rank || sideways)
        context.report({
          node,
          messageId: 'up',
          data: { from: from.protocol ?? from.layer, to: to.protocol ?? to.layer },
        })
    }
    return {
      ImportDeclaration: check,
      ExportNamedDeclaration: check,
      ExportAllDeclaration: check,
      ImportExpression: check,
    }
  },
}

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'coverage/'] },
  {
    files: ['**/*.js'],
    ...js.configs.recommended,
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly', Buffer: 'readonly' } },
  },
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { agentgate: { rules: { 'import-direction': importDirection } } },
    rules: {
      'agentgate/import-direction': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // Index signatures from zod and JSON are read by key.
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      'no-restricted-syntax': ['error', { selector: 'TSEnumDeclaration', message: 'use a union' }],
    },
  },
  {
    files: ['**/*.test.ts', '**/*.test.tsx', 'test/**/*.ts', 'bench/**/*.ts'],
    rules: {
      // Tests state what they expect; a wrong assumption is a failing test, not a hidden one.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-base-to-string': 'off',
      // What beforeAll sets may be unset where it failed.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      '@typescript-eslint/no-redundant-type-constituents': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
)
