"""Start reading programs with less privilege, and print what it lacks.

usage: priority.py nothing | capability | runtime DIRECTORY
"""

import ctypes
import os
import struct
import sys
from pathlib import Path

from procconn._core import ffi, lib

CAPABILITY_VERSION, SYS_NICE = 0x20080522, 23  # linux/capability.h

libc = ctypes.CDLL(None, use_errno=True)


def give_capability_up() -> None:
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] &= ~(1 << SYS_NICE)  # of those in effect
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


what, *arguments = sys.argv[1:]
if what == "capability":
    give_capability_up()
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
