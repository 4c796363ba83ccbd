"""Start reading programs as somebody with less, and print what it lacks.

usage: priority.py nothing | capability | sandbox | runtime DIRECTORY
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

from procconn._core import ffi, lib

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06

CAPABILITY_VERSION, SYS_NICE = 0x20080522, 23  # linux/capability.h

libc = ctypes.CDLL(None, use_errno=True)
prctl = libc.prctl
number = {"x86_64": 144, "aarch64": 119}[platform.machine()]  # sched_setscheduler


def give_capability_up() -> None:
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] &= ~(1 << SYS_NICE)  # of those in effect
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def refuse_priority() -> None:
    program = [
        (LOAD_WORD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, number),
        (RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.EPERM),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "prctl")


what, *arguments = sys.argv[1:]
if what == "capability":
    give_capability_up()
elif what == "sandbox":
    refuse_priority()
elif what == "runtime":
    Path(arguments[0], "cgroup.procs").write_text(str(os.getpid()))

names = {
    lib.PROCCONN_REALTIME: "nothing",
    lib.PROCCONN_NEEDS_CAPABILITY: "capability",
    lib.PROCCONN_NEEDS_RUNTIME: "runtime",
    lib.PROCCONN_IN_SANDBOX: "sandbox",
}
place = ffi.new("struct procconn_programs *[1]")
status = lib.procconn_programs_start(65536, 0, place)
print(names.get(status, status))
if status >= 0:
    lib.procconn_programs_stop(place[0])
