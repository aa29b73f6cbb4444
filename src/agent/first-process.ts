/**
 * What runs before the child, inside whatever confines it: a POSIX shell script that takes the terminal, lets a helper open
 * sockets there, waits for the tunnels' addresses, becomes (or runs) the child.
 *
 * Descriptors it is given; none of them reaches the child:
 *   2  what it and bubblewrap complain about, read by agentgate
 *   3  node's IPC channel, for the helper that opens listening sockets (carry-in.ts)
 *   4, 5, 6  bubblewrap's own: arguments, seccomp program, status
 *   7  lines to and from agentgate: `waiting`, then NAME=value lines and `.` come back, `missing` or `started`;
 *      at a terminal also `stopped`, after which any line means: go on
 *   8  the child's stderr
 *
 * Arguments: how to reach the terminal (a path; empty: none), its settings for stty, whether to stay (`stay`, else empty),
 * how many programs could be the helper and each one's file and source, then the command, its path absolute.
 *
 * With a terminal it stays as the session's leader and waits as a shell with job control does: a program started
 * straight in a new session is in an orphaned process group, where Ctrl-Z does nothing.
 */
export const firstProcess = String.raw`
terminal=$1 settings=$2 stay=$3 helpers=$4
shift 4
ulimit -c 0
opened=$helpers
while [ "$helpers" -gt 0 ]; do
  if [ "$opened" != 0 ]; then
    PERL5LIB= PERL5OPT= "$1" -e "$2" </dev/null >/dev/null
    case $? in 0) opened=0 ;; 111 | 126 | 127) ;; *) exit 125 ;; esac
  fi
  shift 2
  helpers=$((helpers - 1))
done
[ "$opened" = 0 ] || exit 125
unset NODE_CHANNEL_FD NODE_CHANNEL_SERIALIZATION_MODE
exec 3>&- 4>&- 5>&- 6>&-
if [ -n "$terminal" ]; then
  # The first terminal that a session's leader opens becomes its own (ioctl_tty(2), TIOCSCTTY).
  : <>"$terminal"
  [ -z "$settings" ] || stty "$settings" <"$terminal" || :
fi
echo waiting >&7
go=
while IFS= read -r line <&7; do
  if [ "$line" = . ]; then go=1; break; fi
  export "$line"
done
[ -n "$go" ] || exit 125
if ! [ -f "$1" ] || ! [ -x "$1" ]; then echo missing >&7; exit 127; fi
echo started >&7
if [ -z "$stay" ]; then exec "$@" 2>&8 7>&- 8>&-; fi
set -m
# Not redirected here: a shell reports how its jobs end on its own stderr, and that is not the child's.
/bin/sh -c 'exec "$@" 2>&8 7>&- 8>&-' sh "$@"
code=$?
while case $code in 147|148|149|150) jobs %% >/dev/null ;; *) false ;; esac; do
  echo stopped >&7
  IFS= read -r line <&7 || exit 125
  fg >/dev/null
  code=$?
done
exit $code
`
