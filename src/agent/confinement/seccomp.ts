import { constants } from 'node:os'
import { architectures, type Syscall } from './syscalls.ts'

// Classic BPF (linux/bpf_common.h) over struct seccomp_data (seccomp(2)): nr at 0, arch at 4, arguments from 16, 8 bytes each.
const loadWord = 0x20
const jumpEqual = 0x15
const jumpGreaterOrEqual = 0x35
const jumpAnySet = 0x45
const giveBack = 0x06
const numberOffset = 0
const architectureOffset = 4
const argumentOffset = (index: number) => 16 + index * 8 // the low half: both architectures are little-endian

const allow = 0x7fff0000
const killProcess = 0x80000000
const fail = (errno: number) => 0x00050000 | errno

const { EPERM, ENOSYS, EAFNOSUPPORT } = constants.errno

/** Programs that meet ENOSYS take another way; EPERM says that it was refused. */
const refused: readonly (readonly [Syscall, number])[] = [
  // Other processes' memory, registers and descriptors.
  ...(['ptrace', 'process_vm_readv', 'process_vm_writev', 'kcmp', 'pidfd_getfd', 'process_madvise'] as const).map(
    name => [name, EPERM] as const,
  ),
  // Namespaces and mounts: what is hidden or read-only stays so.
  ...(['setns', 'mount', 'umount2', 'pivot_root', 'chroot', 'open_by_handle_at'] as const).map(
    name => [name, EPERM] as const,
  ),
  ...(
    ['open_tree', 'open_tree_attr', 'move_mount', 'fsopen', 'fsconfig', 'fsmount', 'fspick', 'mount_setattr'] as const
  ).map(name => [name, ENOSYS] as const),
  // The kernel's keyring, which no namespace divides.
  ...(['add_key', 'request_key', 'keyctl'] as const).map(name => [name, EPERM] as const),
  // Large and often broken parts of the kernel that ordinary work does without.
  ...(['io_uring_setup', 'io_uring_enter', 'io_uring_register'] as const).map(name => [name, ENOSYS] as const),
  ...(['bpf', 'perf_event_open', 'userfaultfd', 'fanotify_init', 'lookup_dcookie'] as const).map(
    name => [name, EPERM] as const,
  ),
  // The machine.
  ...(
    [
      'init_module',
      'finit_module',
      'delete_module',
      'kexec_load',
      'kexec_file_load',
      'reboot',
      'swapon',
      'swapoff',
      'acct',
      'quotactl',
      'quotactl_fd',
      'syslog',
      'vhangup',
    ] as const
  ).map(name => [name, EPERM] as const),
]

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (clone(2)). */
const newNamespaces = 0x7e020000
const newTimeNamespace = 0x80
/** TIOCSTI types into a terminal; TIOCLINUX pastes into a console (ioctl_tty(2), ioctl_console(2)). */
const typingRequests = [0x5412, 0x541c]
/** AF_UNIX, AF_INET, AF_INET6: namespaces hold what these reach. AF_VSOCK, for one, goes to the hypervisor from anywhere. */
const families = [1, 2, 10]
const netlink = 16
const netlinkRoute = 0

/**
 * The filter of system calls that a confined child runs under, as bubblewrap's `--seccomp` takes it: an array of struct
 * sock_filter. undefined for a processor whose call numbers are not known here.
 */
export function seccompProgram(architecture: string = process.arch): Buffer | undefined {
  const known = architectures[architecture]
  if (known === undefined) return undefined
  const program = new Program()
  program.load(architectureOffset)
  // A 32-bit program would have other numbers for everything.
  program.unless(jumpEqual, known.audit, killProcess)
  program.load(numberOffset)
  if (known.foreignFrom !== undefined) program.when(jumpGreaterOrEqual, known.foreignFrom, fail(ENOSYS))
  for (const [name, errno] of refused) program.when(jumpEqual, known.numbers[name], fail(errno))
  // Its flags are in memory, where a filter cannot look; libraries fall back to clone.
  program.when(jumpEqual, known.numbers.clone3, fail(ENOSYS))
  program.block(known.numbers.clone, body => {
    body.load(argumentOffset(0))
    body.when(jumpAnySet, newNamespaces, fail(EPERM))
  })
  program.block(known.numbers.unshare, body => {
    body.load(argumentOffset(0))
    body.when(jumpAnySet, newNamespaces | newTimeNamespace, fail(EPERM))
  })
  program.block(known.numbers.ioctl, body => {
    // The kernel looks at 32 bits of the request, and so do we.
    body.load(argumentOffset(1))
    for (const request of typingRequests) body.when(jumpEqual, request, fail(EPERM))
  })
  program.block(known.numbers.socket, body => {
    body.load(argumentOffset(0))
    for (const family of families) body.when(jumpEqual, family, allow)
    body.unless(jumpEqual, netlink, fail(EAFNOSUPPORT))
    body.load(argumentOffset(2))
    body.unless(jumpEqual, netlinkRoute, fail(EAFNOSUPPORT)) // asked by getifaddrs(3)
  })
  program.answer(allow)
  return program.bytes
}

class Program {
  readonly #code: (readonly [code: number, jumpTrue: number, jumpFalse: number, value: number])[] = []

  load(offset: number): void {
    this.#code.push([loadWord, 0, 0, offset])
  }

  answer(value: number): void {
    this.#code.push([giveBack, 0, 0, value])
  }

  when(jump: number, value: number, answer: number): void {
    this.#code.push([jump, 0, 1, value])
    this.answer(answer)
  }

  unless(jump: number, value: number, answer: number): void {
    this.#code.push([jump, 1, 0, value])
    this.answer(answer)
  }

  /** What to look at for one call only; what `body` does not answer is allowed. */
  block(number: number, body: (body: Program) => void): void {
    const inner = new Program()
    body(inner)
    inner.answer(allow)
    this.#code.push([jumpEqual, 0, inner.#code.length, number], ...inner.#code)
  }

  get bytes(): Buffer {
    const bytes = Buffer.alloc(this.#code.length * 8)
    for (const [index, [code, jumpTrue, jumpFalse, value]] of this.#code.entries()) {
      bytes.writeUInt16LE(code, index * 8)
      bytes.writeUInt8(jumpTrue, index * 8 + 2)
      bytes.writeUInt8(jumpFalse, index * 8 + 3)
      bytes.writeUInt32LE(value >>> 0, index * 8 + 4)
    }
    return bytes
  }
}
