# Runs every attempt of a file in a process of its own and prints what each said, as one JSON object.
import base64, ctypes, fcntl, json, os, signal, socket, ssl, struct, subprocess, sys, termios, time

with open(sys.argv[1]) as file:
    plan = json.load(file)
W = plan['world']
libc = ctypes.CDLL(None, use_errno=True)


def got(what):
    print(what if isinstance(what, str) else repr(what), flush=True)


def read(path):
    with open(path, 'rb') as source:
        got(source.read(65536).decode('latin1'))


def write(path, text='planted', mode='a'):
    with open(path, mode) as target:
        target.write(text)
    got('written')


def sh(command):
    done = subprocess.run(['/bin/sh', '-c', command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=4)
    got(done.stdout.decode('latin1'))


def typed(command, file):
    sh(command + ' && for i in $(seq 30); do [ -e ' + file + ' ] && break; sleep 0.1; done')


def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(2)
        client.connect(address)
        try:
            client.sendall(b'GET / HTTP/1.0\r\n\r\n')
        except BrokenPipeError:
            pass  # it answers without being asked
        got(client.recv(4096).decode('latin1'))


def call(number, *arguments):
    # A call's words are 64 bits wide, also where a C int would be 32.
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in (number,) + arguments]
    result = libc.syscall(*words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def reach(host, port, target=None):
    """A connection to where a host is: straight, or where there is no way, through the proxy by this name."""
    try:
        return socket.create_connection((host, port), 2)
    except OSError:
        client = socket.create_connection(('127.0.0.1', W['proxy']), 2)
    secret = base64.b64encode(b'agentgate:' + W['proxySecret'].encode()).decode()
    target = target or '%s:%d' % (host, port)
    client.sendall(('CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n' % (target, target, secret)).encode())
    head = b''
    while b'\r\n\r\n' not in head:
        part = client.recv(1)
        if not part:
            break
        head += part
    if b' 200 ' not in head.split(b'\r\n')[0]:
        raise OSError(head.decode('latin1'))
    return client


def tls(client, name):
    context = ssl._create_unverified_context()
    return context.wrap_socket(client, server_hostname=name)


def ask(client, host, path='/'):
    client.sendall(('GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' % (path, host)).encode())
    got(client.recv(4096).decode('latin1'))


names = globals()


def attempt(code):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(reader)
        os.dup2(writer, 1)
        null = os.open('/dev/null', os.O_RDWR)
        os.dup2(null, 0)
        signal.alarm(6)
        try:
            exec(code, dict(names))
        except BaseException as error:
            print('failed: %s: %s' % (type(error).__name__, error), flush=True)
        os._exit(0)
    os.close(writer)
    said = b''
    deadline = time.time() + 8
    import select
    while time.time() < deadline:
        ready, _, _ = select.select([reader], [], [], 0.1)
        if ready:
            part = os.read(reader, 65536)
            if not part:
                break
            said += part
        elif os.waitpid(pid, os.WNOHANG)[0] != 0:
            pid = 0
            break
    if pid:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except OSError:
            pass
    os.close(reader)
    return said.decode('latin1')[-4000:]


results = {}
for each in plan['attempts']:
    results[each['name']] = attempt(each['code'])
print(json.dumps(results))
