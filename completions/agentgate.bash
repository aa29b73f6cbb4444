# bash completion for agentgate, made by: agentgate completion bash
_agentgate() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD - 1]}" path='' word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    if [[ $word == -- ]]; then
      # What follows is a command of its own.
      if ((i + 1 == COMP_CWORD)); then COMPREPLY=($(compgen -c -- "$cur")); else COMPREPLY=($(compgen -f -- "$cur")); fi
      return
    fi
    case "$path|$word" in
      '|connect') path='connect' ;;
      '|exec') path='exec' ;;
      '|approvals') path='approvals' ;;
      'approvals|list') path='approvals list' ;;
      'approvals|approve') path='approvals approve' ;;
      'approvals|edit') path='approvals edit' ;;
      'approvals|reject') path='approvals reject' ;;
      '|status') path='status' ;;
      '|down') path='down' ;;
      '|sessions') path='sessions' ;;
      'sessions|list') path='sessions list' ;;
      'sessions|show') path='sessions show' ;;
      'sessions|replay') path='sessions replay' ;;
      'sessions|tail') path='sessions tail' ;;
      'sessions|export') path='sessions export' ;;
      'sessions|verify') path='sessions verify' ;;
      '|init') path='init' ;;
      '|trust') path='trust' ;;
      '|passphrase') path='passphrase' ;;
      '|policy') path='policy' ;;
      'policy|check') path='policy check' ;;
      'policy|test') path='policy test' ;;
      'policy|explain') path='policy explain' ;;
      'policy|digest') path='policy digest' ;;
      '|secret') path='secret' ;;
      'secret|rotate') path='secret rotate' ;;
      '|doctor') path='doctor' ;;
      '|demo') path='demo' ;;
      '|completion') path='completion' ;;
    esac
  done
  case "$path|$prev" in
    '|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    '|--policy-digest') COMPREPLY=(); return ;;
    'connect|-s' | 'connect|--scope') COMPREPLY=(); return ;;
    'connect|--for') COMPREPLY=(); return ;;
    'connect|--reason') COMPREPLY=(); return ;;
    'connect|--ticket') COMPREPLY=(); return ;;
    'connect|--port') COMPREPLY=(); return ;;
    'connect|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'connect|--policy-digest') COMPREPLY=(); return ;;
    'exec|-r' | 'exec|--resource') COMPREPLY=($(compgen -W "$(agentgate completion --resources 2>/dev/null)" -- "$cur")); return ;;
    'exec|-s' | 'exec|--scope') COMPREPLY=(); return ;;
    'exec|--for') COMPREPLY=(); return ;;
    'exec|--reason') COMPREPLY=(); return ;;
    'exec|--ticket') COMPREPLY=(); return ;;
    'exec|--actor') COMPREPLY=(); return ;;
    'exec|--profile') COMPREPLY=($(compgen -W 'claude generic' -- "$cur")); return ;;
    'exec|--pass-env') COMPREPLY=(); return ;;
    'exec|--read') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'exec|--write') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'exec|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'exec|--policy-digest') COMPREPLY=(); return ;;
    'approvals list|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'approvals list|--policy-digest') COMPREPLY=(); return ;;
    'approvals approve|--reason') COMPREPLY=(); return ;;
    'approvals approve|--times') COMPREPLY=(); return ;;
    'approvals approve|--for') COMPREPLY=(); return ;;
    'approvals approve|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'approvals approve|--policy-digest') COMPREPLY=(); return ;;
    'approvals edit|--text') COMPREPLY=(); return ;;
    'approvals edit|--file') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'approvals edit|--reason') COMPREPLY=(); return ;;
    'approvals edit|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'approvals edit|--policy-digest') COMPREPLY=(); return ;;
    'approvals reject|--reason') COMPREPLY=(); return ;;
    'approvals reject|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'approvals reject|--policy-digest') COMPREPLY=(); return ;;
    'status|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'status|--policy-digest') COMPREPLY=(); return ;;
    'down|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'down|--policy-digest') COMPREPLY=(); return ;;
    'sessions|--recordings') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions list|--grep') COMPREPLY=(); return ;;
    'sessions list|--resource') COMPREPLY=($(compgen -W "$(agentgate completion --resources 2>/dev/null)" -- "$cur")); return ;;
    'sessions list|--who') COMPREPLY=(); return ;;
    'sessions list|--since') COMPREPLY=(); return ;;
    'sessions list|--until') COMPREPLY=(); return ;;
    'sessions list|--recordings') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions list|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions list|--policy-digest') COMPREPLY=(); return ;;
    'sessions show|--recordings') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions show|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions show|--policy-digest') COMPREPLY=(); return ;;
    'sessions replay|--speed') COMPREPLY=(); return ;;
    'sessions replay|--max-idle') COMPREPLY=(); return ;;
    'sessions replay|--rows') COMPREPLY=(); return ;;
    'sessions replay|--recordings') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions replay|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions replay|--policy-digest') COMPREPLY=(); return ;;
    'sessions tail|--last') COMPREPLY=(); return ;;
    'sessions tail|--recordings') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions tail|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions tail|--policy-digest') COMPREPLY=(); return ;;
    'sessions export|--format') COMPREPLY=($(compgen -W 'jsonl csv asciicast html' -- "$cur")); return ;;
    'sessions export|-o' | 'sessions export|--output') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions export|--rows') COMPREPLY=(); return ;;
    'sessions export|--recordings') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions export|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions export|--policy-digest') COMPREPLY=(); return ;;
    'sessions verify|--recordings') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions verify|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'sessions verify|--policy-digest') COMPREPLY=(); return ;;
    'init|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'init|--policy-digest') COMPREPLY=(); return ;;
    'trust|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'trust|--policy-digest') COMPREPLY=(); return ;;
    'passphrase|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'passphrase|--policy-digest') COMPREPLY=(); return ;;
    'policy check|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'policy check|--policy-digest') COMPREPLY=(); return ;;
    'policy test|--filter') COMPREPLY=(); return ;;
    'policy test|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'policy test|--policy-digest') COMPREPLY=(); return ;;
    'policy explain|-s' | 'policy explain|--scope') COMPREPLY=(); return ;;
    'policy explain|--user') COMPREPLY=(); return ;;
    'policy explain|--group') COMPREPLY=(); return ;;
    'policy explain|--actor') COMPREPLY=(); return ;;
    'policy explain|--reason') COMPREPLY=(); return ;;
    'policy explain|--ticket') COMPREPLY=(); return ;;
    'policy explain|--client') COMPREPLY=(); return ;;
    'policy explain|--at') COMPREPLY=(); return ;;
    'policy explain|--fixtures') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'policy explain|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'policy explain|--policy-digest') COMPREPLY=(); return ;;
    'policy digest|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'policy digest|--policy-digest') COMPREPLY=(); return ;;
    'secret rotate|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'secret rotate|--policy-digest') COMPREPLY=(); return ;;
    'doctor|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'doctor|--policy-digest') COMPREPLY=(); return ;;
    'demo|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'demo|--policy-digest') COMPREPLY=(); return ;;
    'completion|--policy') COMPREPLY=($(compgen -f -- "$cur")); return ;;
    'completion|--policy-digest') COMPREPLY=(); return ;;
  esac
  if [[ $cur == -* ]]; then
    case "$path" in
      '') COMPREPLY=($(compgen -W '-V --version --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'connect') COMPREPLY=($(compgen -W '-s --scope --for --reason --ticket --port --socket -d --detach --write-files -q --quiet --show-secrets --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'exec') COMPREPLY=($(compgen -W '-r --resource -s --scope --for --reason --ticket --actor --profile --pass-env --read --write --unconfined -q --quiet --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'approvals') COMPREPLY=($(compgen -W '--help' -- "$cur")) ;;
      'approvals list') COMPREPLY=($(compgen -W '--watch --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'approvals approve') COMPREPLY=($(compgen -W '--reason --times --for --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'approvals edit') COMPREPLY=($(compgen -W '--text --file --reason --preview -y --yes --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'approvals reject') COMPREPLY=($(compgen -W '--reason --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'status') COMPREPLY=($(compgen -W '--json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'down') COMPREPLY=($(compgen -W '--all --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'sessions') COMPREPLY=($(compgen -W '--recordings --help' -- "$cur")) ;;
      'sessions list') COMPREPLY=($(compgen -W '--grep --resource --who --since --until --denied --recordings --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'sessions show') COMPREPLY=($(compgen -W '--recordings --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'sessions replay') COMPREPLY=($(compgen -W '--text --speed --max-idle --rows --recordings --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'sessions tail') COMPREPLY=($(compgen -W '--last --recordings --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'sessions export') COMPREPLY=($(compgen -W '--format -o --output --rows --recordings --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'sessions verify') COMPREPLY=($(compgen -W '--all --recordings --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'init') COMPREPLY=($(compgen -W '--force --print --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'trust') COMPREPLY=($(compgen -W '--list --remove --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'passphrase') COMPREPLY=($(compgen -W '--new --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'policy') COMPREPLY=($(compgen -W '--help' -- "$cur")) ;;
      'policy check') COMPREPLY=($(compgen -W '--json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'policy test') COMPREPLY=($(compgen -W '--filter --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'policy explain') COMPREPLY=($(compgen -W '-s --scope --user --group --actor --confined --reason --ticket --client --at --fixtures --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'policy digest') COMPREPLY=($(compgen -W '--json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'secret') COMPREPLY=($(compgen -W '--help' -- "$cur")) ;;
      'secret rotate') COMPREPLY=($(compgen -W '--json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'doctor') COMPREPLY=($(compgen -W '--json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'demo') COMPREPLY=($(compgen -W '-y --yes -k --keep --json --policy --policy-digest --no-color --help' -- "$cur")) ;;
      'completion') COMPREPLY=($(compgen -W '--json --policy --policy-digest --no-color --help' -- "$cur")) ;;
    esac
    return
  fi
  case "$path" in
    '') COMPREPLY=($(compgen -W 'connect exec approvals status down sessions init trust passphrase policy secret doctor demo completion' -- "$cur")) ;;
    'connect') COMPREPLY=($(compgen -W "$(agentgate completion --resources 2>/dev/null)" -- "$cur")) ;;
    'exec') COMPREPLY=() ;;
    'approvals') COMPREPLY=($(compgen -W 'list approve edit reject' -- "$cur")) ;;
    'approvals approve') COMPREPLY=($(compgen -W "$(agentgate completion --requests 2>/dev/null)" -- "$cur")) ;;
    'approvals edit') COMPREPLY=($(compgen -W "$(agentgate completion --requests 2>/dev/null)" -- "$cur")) ;;
    'approvals reject') COMPREPLY=($(compgen -W "$(agentgate completion --requests 2>/dev/null)" -- "$cur")) ;;
    'down') COMPREPLY=($(compgen -W "$(agentgate completion --sessions 2>/dev/null)" -- "$cur")) ;;
    'sessions') COMPREPLY=($(compgen -W 'list show replay tail export verify' -- "$cur")) ;;
    'sessions show') COMPREPLY=($(compgen -W "$(agentgate completion --sessions 2>/dev/null)" -- "$cur")) ;;
    'sessions replay') COMPREPLY=($(compgen -W "$(agentgate completion --sessions 2>/dev/null)" -- "$cur")) ;;
    'sessions tail') COMPREPLY=($(compgen -W "$(agentgate completion --sessions 2>/dev/null)" -- "$cur")) ;;
    'sessions export') COMPREPLY=($(compgen -W "$(agentgate completion --sessions 2>/dev/null)" -- "$cur")) ;;
    'sessions verify') COMPREPLY=($(compgen -W "$(agentgate completion --sessions 2>/dev/null)" -- "$cur")) ;;
    'trust') COMPREPLY=($(compgen -f -- "$cur")) ;;
    'policy') COMPREPLY=($(compgen -W 'check test explain digest' -- "$cur")) ;;
    'policy check') COMPREPLY=($(compgen -f -- "$cur")) ;;
    'policy test') COMPREPLY=($(compgen -f -- "$cur")) ;;
    'policy explain') COMPREPLY=($(compgen -W "$(agentgate completion --resources 2>/dev/null)" -- "$cur")) ;;
    'policy digest') COMPREPLY=($(compgen -f -- "$cur")) ;;
    'secret') COMPREPLY=($(compgen -W 'rotate' -- "$cur")) ;;
    'secret rotate') COMPREPLY=($(compgen -W "$(agentgate completion --resources 2>/dev/null)" -- "$cur")) ;;
    'doctor') COMPREPLY=($(compgen -W "$(agentgate completion --resources 2>/dev/null)" -- "$cur")) ;;
    'completion') COMPREPLY=($(compgen -W 'bash zsh fish' -- "$cur")) ;;
  esac
}
complete -o filenames -F _agentgate agentgate
