"""Serve a file system whose one file takes long to read and to close, as root.

usage: held_files.py FOLDER

It is mounted in a namespace of its own, for every user. Says "ready", and for each
READ or FLUSH that waits for its answer how many do. A line of stdin answers them
and all later ones. At the end of stdin it ends, and the kernel answers what is left.
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
NO_ANSWER = {FORGET, INTERRUPT, BATCH_FORGET}
ENOSYS = 38
ROOT, FILE = 1, 2  # node ids
SIZE = 4096  # of the file
HEADER = struct.Struct("=IIQQIIIHH")  # of a request
FOREVER = 3600  # seconds that an answer may be kept

libc = ctypes.CDLL(None, use_errno=True)


def check(status: int, what: str) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(folder: str) -> int:
    """Mount it; return the descriptor that requests come to."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    check(libc.unshare(CLONE_NEWNS), "unshare")
    check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
    settings = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    check(libc.mount(b"held", folder.encode(), b"fuse", 0, settings), "mount")
    return fd


def attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
    return struct.pack("=6Q10I", node, SIZE, *[0] * 7, mode, 1, *[0] * 5)


def answer(operation: int, node: int) -> bytes | None:
    """Return what a request is answered with; None if it is not known."""
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


def reply(fd: int, unique: int, body: bytes | None) -> None:
    error = -ENOSYS if body is None else 0
    body = body or b""
    os.write(fd, struct.pack("=IiQ", 16 + len(body), error, unique) + body)


def serve(fd: int) -> None:
    """Answer requests until stdin ends."""
    waiting: list[tuple[int, int]] = []
    holds = True
    while True:
        ready, _, _ = select.select([fd, 0], [], [])
        if 0 in ready:
            if not os.read(0, 64):
                return  # the kernel ends what waits
            holds = False
            while waiting:
                unique, operation = waiting.pop()
                reply(fd, unique, answer(operation, FILE))
        if fd in ready:
            request = os.read(fd, 1 << 18)
            _, operation, unique, node, *_ = HEADER.unpack_from(request)
            if holds and operation in (READ, FLUSH):
                waiting.append((unique, operation))
                print(len(waiting), flush=True)
            elif operation not in NO_ANSWER:
                reply(fd, unique, answer(operation, node))


fuse = mount(sys.argv[1])
print("ready", flush=True)
serve(fuse)
