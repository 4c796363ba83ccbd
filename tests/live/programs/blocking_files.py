"""Serve a FUSE file system whose only file blocks in read() and close(), as root.

usage: blocking_files.py FOLDER

It is mounted in a new mount namespace, accessible to all users. Prints "ready", then
the number of pending READ and FLUSH requests each time one arrives. A line on stdin
replies to them and makes later requests succeed at once. Exits at EOF on stdin; the
kernel then aborts the remaining requests.
"""

import ctypes
import os
import select
import stat
import struct
import sys

CLONE_NEWNS = 0x20000  # linux/sched.h
MS_REC, MS_PRIVATE = 0x4000, 0x40000  # linux/mount.h
LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 18, 25, 26
INTERRUPT, BATCH_FORGET = 36, 42  # linux/fuse.h
NO_REPLY = {FORGET, INTERRUPT, BATCH_FORGET}
ENOSYS = 38
ROOT, FILE = 1, 2  # node ids
SIZE = 4096  # of the file
HEADER = struct.Struct("=IIQQIIIHH")  # of a request
FOREVER = 3600  # seconds for which the kernel may cache a reply

libc = ctypes.CDLL(None, use_errno=True)


def check(status: int, call: str) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")


def mount(folder: str) -> int:
    """Mount the file system; return the descriptor that receives requests."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    check(libc.unshare(CLONE_NEWNS), "unshare")
    check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
    settings = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    check(libc.mount(b"blocking", folder.encode(), b"fuse", 0, settings), "mount")
    return fd


def attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
    return struct.pack("=6Q10I", node, SIZE, *[0] * 7, mode, 1, *[0] * 5)


def reply_to(operation: int, node: int) -> bytes | None:
    """Return the body of the reply; None if the operation is not supported."""
    if operation == INIT:
        return struct.pack("=IIIIHHI40x", 7, 31, 0, 0, 0, 0, 4096)
    if operation == LOOKUP:
        return struct.pack("=4QII", FILE, 0, FOREVER, FOREVER, 0, 0) + attributes(FILE)
    if operation == GETATTR:
        return struct.pack("=QII", FOREVER, 0, 0) + attributes(node)
    if operation == OPEN:
        return bytes(16)
    if operation == READ:
        return bytes(SIZE)
    return b"" if operation in (FLUSH, RELEASE) else None


def send_reply(fd: int, unique: int, body: bytes | None) -> None:
    error = -ENOSYS if body is None else 0
    body = body or b""
    os.write(fd, struct.pack("=IiQ", 16 + len(body), error, unique) + body)


def serve(fd: int) -> None:
    """Reply to requests until EOF on stdin."""
    pending: list[tuple[int, int]] = []
    is_blocking = True
    while True:
        ready, _, _ = select.select([fd, 0], [], [])
        if 0 in ready:
            if not os.read(0, 64):
                return  # the kernel aborts pending requests
            is_blocking = False
            while pending:
                unique, operation = pending.pop()
                send_reply(fd, unique, reply_to(operation, FILE))
        if fd in ready:
            request = os.read(fd, 1 << 18)
            _, operation, unique, node, *_ = HEADER.unpack_from(request)
            if is_blocking and operation in (READ, FLUSH):
                pending.append((unique, operation))
                print(len(pending), flush=True)
            elif operation not in NO_REPLY:
                send_reply(fd, unique, reply_to(operation, node))


fuse = mount(sys.argv[1])
print("ready", flush=True)
serve(fuse)
