"""Run a command under a seccomp filter that refuses a system call.

sandbox.py CALL ERRNO [INDEX=VALUE…] -- COMMAND…
The call fails with ERRNO if each argument INDEX has the given VALUE.
"""

import ctypes
import errno
import os
import struct
import sys

from syscalls import NUMBERS, SOCKETCALLS  # type: ignore[import-not-found]

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
# Offsets in struct seccomp_data: the call number, the low words of the arguments.
NUMBER_AT, ARGUMENTS_AT = 0, 16 if sys.byteorder == "little" else 20


def refuse(call: str, error: int, values: dict[int, int] | None = None) -> None:
    """Refuse a system call to all threads of this process.

    Args:
        call: its name.
        error: the errno that the call fails with.
        values: refuse the call only if its arguments, by index, have these values.
    """
    if call not in NUMBERS:
        if values:
            raise ValueError("a seccomp filter cannot see socketcall(2) arguments")
        call, values = "socketcall", {0: SOCKETCALLS[call]}
    tests = [(NUMBER_AT, NUMBERS[call])]
    for index, value in (values or {}).items():
        tests.append((ARGUMENTS_AT + 8 * index, value))
    program = []
    for remaining, (offset, value) in zip(range(len(tests), 0, -1), tests, strict=True):
        program.append((LOAD_WORD, 0, 0, offset))
        program.append((JUMP_IF_EQUAL, 0, 2 * remaining - 1, value))
    program.append((RETURN, 0, 0, SECCOMP_RET_ERRNO | error))
    program.append((RETURN, 0, 0, SECCOMP_RET_ALLOW))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    flags = (SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC)
    if libc.syscall(NUMBERS["seccomp"], *flags, fprog):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    call, error, *rest = sys.argv[1:]
    split = rest.index("--")
    pairs = (word.split("=") for word in rest[:split])
    refuse(
        call,
        getattr(errno, error),
        {int(index): int(value) for index, value in pairs},
    )
    os.execv(rest[split + 1], rest[split + 1 :])
