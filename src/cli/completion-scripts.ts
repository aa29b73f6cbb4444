import { allNodes, type CompletionNode, type CompletionOption, type Values } from './completion-tree.ts'

export type Shell = 'bash' | 'zsh' | 'fish'

export function completionScript(shell: Shell, tree: CompletionNode): string {
  switch (shell) {
    case 'bash':
      return bash(tree)
    case 'zsh':
      return zsh(tree)
    case 'fish':
      return fish(tree)
    default:
      return shell satisfies never
  }
}

const ask = (what: string) => `agentgate completion --${what} 2>/dev/null`

// The part that bash and zsh have in common: which command the words so far name, and what the word before asks for.
function pathCases(tree: CompletionNode): string[] {
  return allNodes(tree)
    .filter(node => node.path.length > 0)
    .map(node => {
      const before = node.path.slice(0, -1).join(' ')
      return `      '${before}|${node.path.at(-1) ?? ''}') path='${node.path.join(' ')}' ;;`
    })
}

function optionCases(tree: CompletionNode, action: (values: Values) => string | undefined): string[] {
  return allNodes(tree).flatMap(node =>
    node.options.flatMap(option => {
      const act = action(option.values)
      if (act === undefined) return []
      const words = [option.short, option.long].filter(word => word !== undefined)
      return [`    ${words.map(word => `'${node.path.join(' ')}|${word}'`).join(' | ')}) ${act}; return ;;`]
    }),
  )
}

function bash(tree: CompletionNode): string {
  const words = (values: Values): string | undefined => {
    switch (values.kind) {
      case 'none':
        return undefined
      case 'free':
        return 'COMPREPLY=()'
      case 'file':
        return 'COMPREPLY=($(compgen -f -- "$cur"))'
      case 'choices':
        return `COMPREPLY=($(compgen -W '${values.choices.join(' ')}' -- "$cur"))`
      case 'live':
        return `COMPREPLY=($(compgen -W "$(${ask(values.what)})" -- "$cur"))`
      default:
        return values satisfies never
    }
  }
  return `# bash completion for agentgate, made by: agentgate completion bash
_agentgate() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD - 1]}" path='' word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if [[ $word == -- ]]; then
      # What follows is a command of its own.
      if ((i + 1 == COMP_CWORD)); then COMPREPLY=($(compgen -c -- "$cur")); else COMPREPLY=($(compgen -f -- "$cur")); fi
      return
    fi
    case "$path|$word" in
${pathCases(tree).join('\n')}
    esac
  done
  case "$path|$prev" in
${optionCases(tree, words).join('\n')}
  esac
  if [[ $cur == -* ]]; then
    case "$path" in
${allNodes(tree)
  .map(node => `      '${node.path.join(' ')}') COMPREPLY=($(compgen -W '${optionWords(node)}' -- "$cur")) ;;`)
  .join('\n')}
    esac
    return
  fi
  case "$path" in
${allNodes(tree)
  .map(node => {
    const commands = node.commands.map(child => child.path.at(-1)).join(' ')
    const act = commands !== '' ? `COMPREPLY=($(compgen -W '${commands}' -- "$cur"))` : words(node.arguments)
    return act === undefined ? '' : `    '${node.path.join(' ')}') ${act} ;;`
  })
  .filter(line => line !== '')
  .join('\n')}
  esac
}
complete -o filenames -F _agentgate agentgate
`
}

function optionWords(node: CompletionNode): string {
  return [...node.options.flatMap(option => [option.short, option.long]), '--help']
    .filter(word => word !== undefined)
    .join(' ')
}

function zsh(tree: CompletionNode): string {
  const act = (values: Values): string | undefined => {
    switch (values.kind) {
      case 'none':
        return undefined
      case 'free':
        return '_message value'
      case 'file':
        return '_files'
      case 'choices':
        return `compadd -- ${values.choices.join(' ')}`
      case 'live':
        return `compadd -- \${(f)"$(${ask(values.what)})"}`
      default:
        return values satisfies never
    }
  }
  const described = (word: string, says: string) =>
    `'${word.replaceAll(':', '\\:')}:${says.replaceAll("'", "'\\''").replaceAll(':', '\\:')}'`
  return `#compdef agentgate
# zsh completion for agentgate, made by: agentgate completion zsh
_agentgate() {
  local cur="\${words[CURRENT]}" prev="\${words[CURRENT-1]}" word
  local path_='' # path is zsh's own
  local -i i
  local -a list
  for ((i = 2; i < CURRENT; i++)); do
    word="\${words[i]}"
    if [[ $word == -- ]]; then
      # What follows is a command of its own.
      shift $i words
      ((CURRENT -= i))
      _normal
      return
    fi
    case "$path_|$word" in
${pathCases(tree)
  .map(line => line.replace(" path='", " path_='"))
  .join('\n')}
    esac
  done
  case "$path_|$prev" in
${optionCases(tree, act).join('\n')}
  esac
  if [[ $cur == -* ]]; then
    case "$path_" in
${allNodes(tree)
  .map(node => {
    const list = [
      ...node.options.flatMap(option =>
        [option.short, option.long].filter(word => word !== undefined).map(word => described(word, option.says)),
      ),
      described('--help', 'with examples'),
    ]
    return `      '${node.path.join(' ')}') list=(${list.join(' ')}) ;;`
  })
  .join('\n')}
    esac
    _describe -o option list
    return
  fi
  case "$path_" in
${allNodes(tree)
  .map(node => {
    const commands = node.commands.map(child => described(child.path.at(-1) ?? '', child.says))
    const action = commands.length > 0 ? `list=(${commands.join(' ')}); _describe command list` : act(node.arguments)
    return action === undefined ? '' : `    '${node.path.join(' ')}') ${action} ;;`
  })
  .filter(line => line !== '')
  .join('\n')}
  esac
}
if [[ $funcstack[1] == _agentgate ]]; then _agentgate "$@"; else compdef _agentgate agentgate; fi
`
}

function fish(tree: CompletionNode): string {
  const quoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
  const values = (of: Values): string => {
    switch (of.kind) {
      case 'none':
        return ''
      case 'free':
        return ' -x'
      case 'file':
        return ' -r -F'
      case 'choices':
        return ` -x -a ${quoted(of.choices.join(' '))}`
      case 'live':
        return ` -x -a '(${ask(of.what)})'`
      default:
        return of satisfies never
    }
  }
  const option = (node: CompletionNode, { short, long, says, values: of }: CompletionOption) =>
    `complete -c agentgate -n '__agentgate_at ${node.path.join('/') || '.'}'${short === undefined ? '' : ` -s ${short.slice(1)}`} -l ${long.slice(2)}${values(of)} -d ${quoted(says)}`
  const paths = allNodes(tree)
    .filter(node => node.path.length > 0)
    .map(node => node.path.join('/'))
  return `# fish completion for agentgate, made by: agentgate completion fish
function __agentgate_at --description 'whether the words so far name this command'
    set -l paths ${paths.join(' ')}
    set -l path .
    for word in (commandline -opc)[2..]
        test "$word" = --; and return 1
        if test $path = .
            contains -- $word $paths; and set path $word
        else
            contains -- $path/$word $paths; and set path $path/$word
        end
    end
    test $path = $argv[1]
end
function __agentgate_after_dashes
    contains -- -- (commandline -opc)
end
complete -c agentgate -f
complete -c agentgate -n __agentgate_after_dashes -x -a '(__fish_complete_subcommand --commandline (string split -m1 -- " -- " (commandline -pc))[2])'
${allNodes(tree)
  .flatMap(node => [
    ...node.commands.map(
      child =>
        `complete -c agentgate -n '__agentgate_at ${node.path.join('/') || '.'}' -a ${child.path.at(-1) ?? ''} -d ${quoted(child.says)}`,
    ),
    ...(node.commands.length === 0 && node.arguments.kind !== 'none' && node.arguments.kind !== 'free'
      ? [
          `complete -c agentgate -n '__agentgate_at ${node.path.join('/')}'${values(node.arguments).replace(' -x', '').replace(' -r', '')}`,
        ]
      : []),
    ...node.options.map(each => option(node, each)),
  ])
  .join('\n')}
`
}
