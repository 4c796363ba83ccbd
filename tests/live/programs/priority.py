"""Start reading programs without a privilege, and print which one it lacks.

usage: priority.py nothing | capability | runtime DIRECTORY

"capability" drops CAP_SYS_NICE; "runtime" joins the cgroup DIRECTORY, which has no
real-time runtime.
"""

import ctypes
import os
import struct
import sys
from pathlib import Path

from procconn._core import ffi, lib

CAPABILITY_VERSION, SYS_NICE = 0x20080522, 23  # linux/capability.h

libc = ctypes.CDLL(None, use_errno=True)


def drop_capability() -> None:
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] &= ~(1 << SYS_NICE)  # the effective set
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


lacking, *arguments = sys.argv[1:]
if lacking == "capability":
    drop_capability()
elif lacking == "runtime":
    Path(arguments[0], "cgroup.procs").write_text(str(os.getpid()))

names = {
    lib.PROCCONN_REALTIME: "nothing",
    lib.PROCCONN_NEEDS_CAPABILITY: "capability",
    lib.PROCCONN_NEEDS_RUNTIME: "runtime",
    lib.PROCCONN_IN_SANDBOX: "sandbox",
}
slot = ffi.new("struct procconn_programs *[1]")
status = lib.procconn_programs_start(65536, 0, slot)
print(names.get(status, status))
if status >= 0:
    lib.procconn_programs_stop(slot[0])
