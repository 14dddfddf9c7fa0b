"""What the attackers' scripts in the tests are made of: `from kit import *`."""
import array
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import time
import traceback

libc = ctypes.CDLL(None, use_errno=True)


def say(*words):
    print(*words, flush=True)


def wait():
    """Blocks until the test says go on; ends with it."""
    if not sys.stdin.readline():
        os._exit(0)


def drop(uid, gid=None, groups=()):
    os.setgroups(list(groups))
    os.setresgid(*[uid if gid is None else gid] * 3)
    os.setresuid(uid, uid, uid)


def connect(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def request(target="/", method="GET", headers="", body=""):
    return f"{method} {target} HTTP/1.1\r\nHost: mintmark\r\n{headers}\r\n{body}".encode()


def reply(sock):
    """One answer: its status and body in one line; `closed` or the error's name where none comes."""
    sock.settimeout(20)
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            chunk = sock.recv(65536)
            if not chunk:
                return "closed"
            data += chunk
        head, body = data.split(b"\r\n\r\n", 1)
        length = next((int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), None)
        while length is None or len(body) < length:
            chunk = sock.recv(65536)
            if not chunk:
                break
            body += chunk
        return head.split(b" ")[1].decode() + " " + body.decode().replace("\n", " ")
    except OSError as error:
        return type(error).__name__


def ask(sock, target="/"):
    try:
        sock.sendall(request(target))
    except OSError as error:
        return type(error).__name__
    return reply(sock)


def deny_option(option, errno):
    """From now on getsockopt(2) fails for this option, for us and whatever we become: a seccomp filter."""
    number = {"x86_64": 55, "aarch64": 209}[os.uname().machine]
    load, equal, answer = 0x20, 0x15, 0x06
    code = [
        (load, 0, 0, 0),  # the number of the call
        (equal, 0, 3, number),
        (load, 0, 0, 32),  # its third argument
        (equal, 0, 1, option),
        (answer, 0, 0, 0x50000 | errno),
        (answer, 0, 0, 0x7FFF0000),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
    filter = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(program))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter, 0, 0):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        raise OSError(ctypes.get_errno(), "seccomp")


def fork(child, orphan=False):
    """Runs `child` in a process of its own, which ends with this one unless it is to be an orphan; returns its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            if not orphan:
                libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
            child()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(0)
    return pid


def reap(pid):
    os.waitpid(pid, 0)


def kill(pid):
    """Kills and leaves a zombie behind."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def set_name(name):
    libc.prctl(15, name, 0, 0, 0)  # PR_SET_NAME


def set_dumpable(flag):
    libc.prctl(4, flag, 0, 0, 0)  # PR_SET_DUMPABLE


def fork_as(pid, child):
    """Runs `child` as the process of that number, which must be free; needs root in the pid namespace."""
    for _ in range(100):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(pid - 1))
        read, write = os.pipe()

        def start():
            os.close(write)
            if os.read(read, 1):
                child()

        got = fork(start)
        os.close(read)
        if got == pid:
            os.write(write, b"1")
            os.close(write)
            return got
        os.close(write)
        reap(got)
    raise RuntimeError("somebody else took the number")
