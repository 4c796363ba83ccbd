"""Read a storm as on a kernel that does not count drops, and print what was told.

A seccomp filter refuses getsockopt(SOL_SOCKET, SO_MEMINFO) as kernels before 4.12 do.
"""

import ctypes
import errno
import json
import platform
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path

from procconn import Comm, EventMask, Exit, Lost, ProcConnector

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, SECOND_AT, THIRD_AT = 0, 24, 32  # struct seccomp_data, little-endian
SOL_SOCKET, SO_MEMINFO = 1, 55

getsockopt = {"x86_64": 55, "aarch64": 209}[platform.machine()]
prctl = ctypes.CDLL(None, use_errno=True).prctl


def refuse_meminfo() -> None:
    program = [
        (LOAD_WORD, 0, 0, NUMBER_AT),
        (JUMP_IF_EQUAL, 0, 5, getsockopt),
        (LOAD_WORD, 0, 0, SECOND_AT),
        (JUMP_IF_EQUAL, 0, 3, SOL_SOCKET),
        (LOAD_WORD, 0, 0, THIRD_AT),
        (JUMP_IF_EQUAL, 0, 1, SO_MEMINFO),
        (RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.ENOPROTOOPT),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "prctl")


count, mask, receive_buffer = (int(argument) for argument in sys.argv[1:])
rename = Path(__file__).with_name("rename.py")
# Started before the filter, which a child would inherit, and not reading yet.
refuse_meminfo()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    connector = ProcConnector(EventMask(mask), receive_buffer=receive_buffer)

command = [sys.executable, "-I", str(rename), str(count), "0"]
with connector, subprocess.Popen(command) as storm:
    last: set[int] = set()
    told = received = 0
    ended = False
    while not ended:
        events = connector.recv_many(timeout=60)
        assert events
        for event in events:
            told += event.count if isinstance(event, Lost) else 0
            received += isinstance(event, Comm) and event.pid == storm.pid
            ended = ended or (isinstance(event, Exit) and event.pid in last)
        if not ended and storm.poll() is not None:
            # Its own exit may be lost, but not one of a time when nothing else is.
            last.add(subprocess.Popen("/bin/true").pid)
            time.sleep(0.01)
    total = connector.lost

print(
    json.dumps(
        {
            "warnings": [str(warning.message) for warning in caught],
            "received": received,
            "told": told,
            "lost": total,
        }
    )
)
