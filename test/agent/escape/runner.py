# Runs every attempt of a file in a process of its own and prints what each said, as one JSON object.
import ctypes, fcntl, json, os, signal, socket, struct, subprocess, sys, termios, time

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
