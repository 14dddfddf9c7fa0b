"""Serves one file, `prog`, on a FUSE mount, with the bytes of another: fuse.py DIRECTORY SOURCE."""
from kit import *
import stat

directory, source = sys.argv[1:3]
with open(source, "rb") as file:
    content = file.read()

device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"evil", directory.encode(), b"fuse", 0, options) != 0:
    say("error", os.strerror(ctypes.get_errno()))
    sys.exit(1)
say("mounted")


def attributes(node):
    is_root = node == 1
    mode = stat.S_IFDIR | 0o755 if is_root else stat.S_IFREG | 0o755
    size = 0 if is_root else len(content)
    return struct.pack("<6Q3I7I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode, node, body):
    if opcode == 26:  # INIT
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 12, 10, 65536, 1, 16, 0, *[0] * 8)
    if opcode == 1 and body.rstrip(b"\0") != b"prog":  # LOOKUP
        return -2  # ENOENT
    if opcode == 1:
        return struct.pack("<4Q2I", 2, 0, 3600, 3600, 0, 0) + attributes(2)
    if opcode == 3:  # GETATTR
        return struct.pack("<Q2I", 3600, 0, 0) + attributes(node)
    if opcode in (14, 27):  # OPEN, OPENDIR
        return struct.pack("<QII", 1, 0, 0)
    if opcode == 15:  # READ
        _, offset, size = struct.unpack_from("<QQI", body)
        return content[offset : offset + size]
    return None if opcode in (18, 25, 29) else -38  # FLUSH, RELEASE, RELEASEDIR; the rest is ENOSYS


while True:
    try:
        message = os.read(device, 200_000)
    except OSError:
        break  # unmounted
    _, opcode, unique, node = struct.unpack_from("<IIQQ", message)
    if opcode in (2, 42):  # FORGET takes no answer
        continue
    result = answer(opcode, node, message[40:])
    error, data = (result, b"") if isinstance(result, int) else (0, result or b"")
    os.write(device, struct.pack("<IiQ", 16 + len(data), error, unique) + data)
