import { accessSync, constants } from 'node:fs'
import { z } from 'zod'

/** What a program inside is asked for: a socket to listen on, or a file in one of the child's private folders. */
export type Asked =
  | {
      readonly kind: 'ip'
      readonly id: number
      readonly family: 4 | 6
      readonly address: string
      readonly port: number
    }
  | { readonly kind: 'unix'; readonly id: number; readonly path: string }
  | { readonly kind: 'write'; readonly path: string; readonly content: string }

/** What it answers, a listening socket beside it where `error` is null; else errno(3)'s name, or its number. */
export const openerAnswer = z.object({ id: z.number().int(), error: z.string().nullable() })

/** One message of node's IPC channel: words that need no parser, as one of those who read them has none. */
export function wordsFor(asked: Asked): string {
  const hex = (text: string) => Buffer.from(text).toString('hex')
  switch (asked.kind) {
    case 'ip':
      return `ip ${asked.id} ${asked.family} ${asked.address} ${asked.port}`
    case 'unix':
      return `unix ${asked.id} ${hex(asked.path)}`
    case 'write':
      return `write ${hex(asked.path)} ${hex(asked.content)}`
    default:
      return asked satisfies never
  }
}

/**
 * A program that is run as `FILE -e SOURCE` with node's IPC channel on descriptor 3, and ends when that does. Exit code
 * 111: it cannot work here and has read nothing, so that another may.
 */
export interface Opener {
  readonly file: string
  readonly source: string
}

/** Those that this machine has, the quickest first. */
export function openers(architecture: string = process.arch): readonly Opener[] {
  const number = sendmsg[architecture]
  const quick = number !== undefined && runs(perl) ? [{ file: perl, source: inPerl(number) }] : []
  return [...quick, { file: process.execPath, source: inNode }]
}

/** Part of nearly every Linux (Debian: perl-base, essential), and there in 2 ms, where node takes 40. */
const perl = '/usr/bin/perl'
/** Number of sendmsg(2), which Perl has no word for; only where a pointer has 64 bits and sockets calls of their own. */
const sendmsg: Readonly<Record<string, number>> = { x64: 46, arm64: 211 }

function runs(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const inNode = String.raw`
const net = require('node:net')
const fs = require('node:fs')
const path = require('node:path')
const text = hex => Buffer.from(hex ?? '', 'hex').toString()
const folderOf = file => fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
process.on('disconnect', () => process.exit(0))
process.on('message', message => {
  const [kind, first, ...words] = message.split(' ')
  if (kind === 'write') {
    folderOf(text(first))
    fs.writeFileSync(text(first), text(words[0]), { mode: 0o600 })
    return
  }
  const id = Number(first)
  const file = kind === 'unix' ? text(words[0]) : undefined
  if (file) folderOf(file)
  const server = net.createServer()
  server.once('error', error => process.send({ id, error: String(error.code) }))
  // A socket's first name is removed when this process ends, so that it gets another.
  const where = file ? { path: file + '~' } : { host: words[1], port: Number(words[2]), ipv6Only: words[0] === '6' }
  server.listen(where, () => {
    if (file) fs.renameSync(file + '~', file)
    process.send({ id, error: null }, server)
  })
})
`

/**
 * The same in Perl. It says to node what node's own child process would: a line of JSON, the descriptor beside its first
 * byte (unix(7), SCM_RIGHTS; lib/internal/child_process.js, NODE_HANDLE).
 */
const inPerl = (number: number) => String.raw`
use strict;
BEGIN { open STDERR, '>', '/dev/null'; eval { require Socket; Socket->import(':all'); 1 } or exit 111 }
my $channel;
open($channel, '+<&=', 3) or exit 111;
sub text { pack('H*', $_[0] // '') }
sub folder_of {
  my ($path) = @_;
  mkdir(substr($path, 0, pos $path) || '/', 0700) while $path =~ m{(?<=.)(?=/)}g;
}
sub say_line {
  my ($line, $socket) = @_;
  if (!$socket) { syswrite($channel, $line) == length $line or exit 125; return }
  # struct iovec, cmsghdr, msghdr as in socket(7) on a machine with 64 bits
  my $body = pack('PQ', $line, length $line);
  my $rights = pack('Qllix4', 20, 1, 1, fileno $socket);
  my $message = pack('QLx4PQPQix4', 0, 0, $body, 1, $rights, length $rights, 0);
  syscall(${number}, 3, $message, 0) == length $line or exit 125;
}
sub listening {
  my ($kind, @words) = @_;
  my $socket;
  if ($kind eq 'unix') {
    my $path = text($words[0]);
    folder_of($path);
    socket($socket, AF_UNIX(), SOCK_STREAM(), 0) && bind($socket, pack_sockaddr_un($path)) && listen($socket, 511) || return;
    return $socket;
  }
  my ($version, $address, $port) = @words;
  my $family = $version == 6 ? AF_INET6() : AF_INET();
  my $packed = inet_pton($family, $address);
  socket($socket, $family, SOCK_STREAM(), 0) || return;
  setsockopt($socket, SOL_SOCKET(), SO_REUSEADDR(), 1);
  setsockopt($socket, 41, 26, 1) if $version == 6; # IPPROTO_IPV6, IPV6_V6ONLY
  my $place = $version == 6 ? pack_sockaddr_in6($port, $packed) : pack_sockaddr_in($port, $packed);
  bind($socket, $place) && listen($socket, 511) || return;
  return $socket;
}
my $read = '';
while (sysread($channel, $read, 65536, length $read)) {
  while ($read =~ s/^([^\n]*)\n//) {
    my ($kind, @words) = split ' ', $1 =~ s/"//gr;
    if ($kind eq 'write') {
      my $path = text($words[0]);
      folder_of($path);
      umask 0077;
      open(my $file, '>', $path) or next;
      print $file text($words[1]);
      close $file;
      umask 0022;
    } elsif ($kind eq 'ip' || $kind eq 'unix') {
      my $id = int shift @words;
      my $socket = listening($kind, @words);
      my $error = $! == 98 ? 'EADDRINUSE' : int $!; # asm-generic/errno.h
      say_line($socket ? qq({"cmd":"NODE_HANDLE","type":"net.Server","msg":{"id":$id,"error":null}}\n)
                       : qq({"id":$id,"error":"$error"}\n), $socket);
    }
  }
}
exit 0;
`
