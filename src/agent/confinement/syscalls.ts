/** System call numbers by architecture, as in the kernel's syscall_64.tbl and asm-generic/unistd.h; those from 424 on are common. */
const common = {
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  fspick: 433,
  clone3: 435,
  pidfd_getfd: 438,
  process_madvise: 440,
  mount_setattr: 442,
  quotactl_fd: 443,
  open_tree_attr: 467,
}

export type Syscall = keyof typeof x64

const x64 = {
  ...common,
  ioctl: 16,
  socket: 41,
  clone: 56,
  ptrace: 101,
  syslog: 103,
  vhangup: 153,
  pivot_root: 155,
  chroot: 161,
  acct: 163,
  mount: 165,
  umount2: 166,
  swapon: 167,
  swapoff: 168,
  reboot: 169,
  init_module: 175,
  delete_module: 176,
  quotactl: 179,
  lookup_dcookie: 212,
  kexec_load: 246,
  add_key: 248,
  request_key: 249,
  keyctl: 250,
  unshare: 272,
  perf_event_open: 298,
  fanotify_init: 300,
  open_by_handle_at: 304,
  setns: 308,
  process_vm_readv: 310,
  process_vm_writev: 311,
  kcmp: 312,
  finit_module: 313,
  kexec_file_load: 320,
  bpf: 321,
  userfaultfd: 323,
}

const arm64: Readonly<Record<Syscall, number>> = {
  ...common,
  ioctl: 29,
  socket: 198,
  clone: 220,
  ptrace: 117,
  syslog: 116,
  vhangup: 58,
  pivot_root: 41,
  chroot: 51,
  acct: 89,
  mount: 40,
  umount2: 39,
  swapon: 224,
  swapoff: 225,
  reboot: 142,
  init_module: 105,
  delete_module: 106,
  quotactl: 60,
  lookup_dcookie: 18,
  kexec_load: 104,
  add_key: 217,
  request_key: 218,
  keyctl: 219,
  unshare: 97,
  perf_event_open: 241,
  fanotify_init: 262,
  open_by_handle_at: 265,
  setns: 268,
  process_vm_readv: 270,
  process_vm_writev: 271,
  kcmp: 272,
  finit_module: 273,
  kexec_file_load: 294,
  bpf: 280,
  userfaultfd: 282,
}

export interface Architecture {
  /** AUDIT_ARCH_… (linux/audit.h) */
  readonly audit: number
  readonly numbers: Readonly<Record<Syscall, number>>
  /** From this number on, calls are another ABI's (x32 on x86-64). */
  readonly foreignFrom: number | undefined
}

/** Those whose numbers are known here; a machine of another kind gets no filter, and `doctor` says so. */
export const architectures: Readonly<Record<string, Architecture>> = {
  x64: { audit: 0xc000003e, numbers: x64, foreignFrom: 0x40000000 },
  arm64: { audit: 0xc00000b7, numbers: arm64, foreignFrom: undefined },
}
