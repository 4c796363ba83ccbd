"""Run a command to which a seccomp filter refuses a system call.

sandbox.py CALL ERRNO [INDEX=VALUE…] -- COMMAND…
Only calls whose arguments have those values are refused, with that errno.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARGUMENTS_AT = 0, 16  # struct seccomp_data, little-endian

CALLS = {  # asm/unistd.h
    "x86_64": {
        "socket": 41,
        "getsockopt": 55,
        "recvfrom": 45,
        "prctl": 157,
        "read": 0,
        "ppoll": 271,
        "recvmmsg": 299,
    },
    "aarch64": {
        "socket": 198,
        "getsockopt": 209,
        "recvfrom": 207,
        "prctl": 167,
        "read": 63,
        "ppoll": 73,
        "recvmmsg": 243,
    },
}[platform.machine()]


def refuse(number: int, error: int, values: dict[int, int]) -> None:
    tests = [(NUMBER_AT, number)]
    tests += [(ARGUMENTS_AT + 8 * index, value) for index, value in values.items()]
    program = []
    for left, (offset, value) in zip(range(len(tests), 0, -1), tests, strict=True):
        program.append((LOAD_WORD, 0, 0, offset))
        program.append((JUMP_IF_EQUAL, 0, 2 * left - 1, value))
    program.append((RETURN, 0, 0, SECCOMP_RET_ERRNO | error))
    program.append((RETURN, 0, 0, SECCOMP_RET_ALLOW))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    call, error, *rest = sys.argv[1:]
    split = rest.index("--")
    pairs = (word.split("=") for word in rest[:split])
    refuse(
        CALLS[call],
        getattr(errno, error),
        {int(index): int(value) for index, value in pairs},
    )
    os.execv(rest[split + 1], rest[split + 1 :])
