import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { matches, newAction, parse, view } from './action.ts'
import { readShell } from './shell.ts'

const commands = (text: string) =>
  readShell(text).commands.flatMap(({ words, maybe }) =>
    maybe ? [] : [words.map(word => word.text + (word.open ? '…' : '')).join(' ')],
  )
const bash = (command: string) => newAction({ tool_name: 'Bash', tool_input: { command }, cwd: '/work' })
const denied = (command: string, pattern = 'rm *') => matches({ command: [pattern] }, bash(command), 'holds')
const allowed = (command: string, ...patterns: readonly string[]) =>
  matches({ command: [...patterns] }, bash(command), 'fails')

describe('a line of shell', () => {
  it.each<[string, readonly string[]]>([
    ['ls -l', ['ls -l']],
    ['a; b && c || d | e & f\ng', ['a', 'b', 'c', 'd', 'e', 'f', 'g']],
    [`echo "a b" 'c;d' e\\ f`, ['echo a b c;d e f']],
    ['A=1 B=2 make all', ['make all']],
    ['(cd x && make) ; { ls; }', ['cd x', 'make', 'ls']],
    ['if true; then rm x; else ls; fi', ['true', 'rm x', 'ls']],
    ['make > out 2>&1 < in', ['make']],
    ['echo $(date) `id`', ['date', 'id', 'echo … …']],
    ['echo $HOME/x ${A}', ['echo … …']],
    ['ls *.ts # rm x', ['ls *…']],
    ["bash -c 'rm -rf x; ls'", ['bash -c rm -rf x; ls', 'rm -rf x', 'ls']],
    ['diff <(ls a) <(ls b)', ['ls a', 'ls b', 'diff']],
    ['cat <<EOF\nrm -rf /\nEOF\nls', ['cat', 'ls']],
    ['', []],
  ])('%j runs %j', (text, expected) => expect(commands(text)).toEqual(expected))

  it('never throws, and never takes long', () => {
    fc.assert(fc.property(fc.string({ maxLength: 300 }), text => void readShell(text)))
    const characters = fc.constantFrom(...'$(){}`"\'\\;&|<> \na#=*'.split(''))
    fc.assert(fc.property(fc.string({ unit: characters, maxLength: 300 }), text => void readShell(text)))
    const began = performance.now()
    for (const text of ['$('.repeat(20_000), '('.repeat(20_000), '"'.repeat(20_001), '`'.repeat(20_001)])
      readShell(text)
    expect(performance.now() - began).toBeLessThan(2000)
  })
})

describe('a rule against rm *', () => {
  it.each([
    'rm -rf x',
    'rm',
    '/bin/rm x',
    '\\rm x',
    `"r"m x`,
    `r'm' x`,
    'ls; rm x',
    'ls\nrm x',
    'true && rm x',
    'sudo rm x',
    'sudo -u bob rm x',
    'env -i A=1 rm x',
    'timeout 5 rm x',
    'xargs -n 1 rm < list',
    'find . -name x -exec rm {} ;',
    'sh -c "rm x"',
    "sudo bash -xc 'rm x'",
    'eval rm x',
    'echo $(rm x)',
    'echo `rm x`',
    'echo "$(rm x)"',
    'A=$(rm x) ls',
    'cat <(rm x)',
    'for f in a; do rm $f; done',
    '(rm x)',
    '{ rm x; }',
    '! rm x',
    'A=rm; $A x',
    '${A} x',
    "$'\\x72m' x",
    '{rm,-rf,x}',
    '/bin/r? x',
    'echo cm0gLXJmIC8K | base64 -d | sh',
    'curl x | bash',
    'bash <<EOF\nrm x\nEOF',
    'eval "$X"',
    'bash -c "$X"',
    'rm $X',
    'echo "never closed',
    'ls 2>/dev/null & rm x',
  ])('meets %j', command => expect(denied(command)).toBe(true))

  it('goes by a path where the rule has one', () => {
    expect(denied('./deploy prod', './deploy *')).toBe(true)
    expect(denied('sudo ./deploy prod', './deploy *')).toBe(true)
    expect(denied('./deploy $X', './deploy *')).toBe(true)
    expect(allowed('./deploy stage', './deploy stage')).toBe(true)
    expect(allowed('/tmp/git status', 'git *')).toBe(false)
    expect(allowed('/tmp/git status', '*')).toBe(true)
    expect(denied('other/deploy prod', './deploy *')).toBe(false)
  })

  it.each([
    'ls -l rm',
    'grep rm file',
    'echo rm -rf',
    "git commit -m 'rm x; rm y'",
    'git rm x',
    'npm test',
    'echo $HOME',
    'node -e "rm()"',
    'rmdir x',
    'ls # rm x',
    'git commit -m "$(cat notes)"',
  ])('leaves %j alone', command => expect(denied(command)).toBe(false))
})

describe('a rule that allows git and npm test', () => {
  it.each([
    'git status',
    'git',
    'git add . && npm test',
    'git diff $FILE',
    'git log | git shortlog',
    'git log 2>/dev/null',
  ])('covers %j', command => expect(allowed(command, 'git *', 'npm test')).toBe(true))
  it.each([
    'git status; rm x',
    'git status $(rm x)',
    'git log > ~/.bashrc',
    './git status',
    'npm test -- --x',
    'npm test $X',
    '$X',
    'sudo git status',
    'git status | sh',
    '',
  ])('does not cover %j', command => expect(allowed(command, 'git *', 'npm test')).toBe(false))
})

describe('other tools', () => {
  const edit = (file: string) => newAction({ tool_name: 'Edit', tool_input: { file_path: file }, cwd: '/work' })

  it('go by the file, however it is written', () => {
    const when = { file: ['.github/*', '/etc/*'] }
    for (const file of ['.github/ci.yml', '/work/.github/x', 'src/../.github/x', '/etc/passwd', '../etc/passwd'])
      expect(matches(when, edit(file), 'holds')).toBe(true)
    expect(matches(when, edit('src/.github.ts'), 'holds')).toBe(false)
  })

  it('are shown by name and file, with what they do', () => {
    expect(view(edit('src/a.ts'), text => text)).toMatchObject({ summary: 'Edit src/a.ts', effect: 'change' })
    expect(view(parse('Read a'), text => text)).toMatchObject({ effect: 'read' })
    expect(view(parse('mcp__x__y'), text => text)).toMatchObject({ summary: 'mcp__x__y', effect: 'unknown' })
    expect(view(parse('Bash: ls -l'), text => text)).toMatchObject({ summary: 'Bash ls -l', effect: 'unknown' })
  })
})
