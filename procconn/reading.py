"""Reading the program of a process that runs."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from procconn import _arguments
from procconn._core import ffi, lib
from procconn.decoder import decode
from procconn.diagnosis import check_proc
from procconn.events import EventType, Exec

if TYPE_CHECKING:
    from procconn.programs import Program


def read_program(pid: int) -> Program | None:
    """Read what program a process runs now.

    A process can write what it likes over its arguments, also long before.

    Args:
        pid: a process id, as this process's /proc shows it.

    Returns:
        The program, or None if there is no such process.

    Raises:
        TypeError: `pid` is not an int.
        ValueError: it can be no process's.
        UnsupportedError: /proc does not show this pid namespace.
        OSError: this process has no descriptor or memory left (EMFILE, ENFILE, ENOMEM).
    """
    _arguments.pid("pid", pid)
    check_proc()
    tail = ffi.new("uint8_t[]", lib.PROCCONN_TRAILER_CAPACITY)
    reading = ffi.new("struct procconn_reading *")
    lib.procconn_read_program(pid, tail, reading)
    if reading.missing == lib.PROCCONN_LIMIT:
        raise OSError(reading.error, os.strerror(reading.error), f"/proc/{pid}")
    if reading.missing == lib.PROCCONN_GONE and not reading.is_there:
        return None
    event = decode(_executed(pid, ffi.buffer(tail, reading.size)[:]))[0]
    assert isinstance(event, Exec)  # noqa: S101
    return event.program


def _executed(pid: int, tail: bytes) -> bytes:
    """Make the message of an EXEC with that tail."""
    size = lib.MESSAGE_SIZE + len(tail)
    event = struct.pack("=IIQII16x", EventType.EXEC, 0, 0, pid, pid) + tail
    connector = struct.pack(
        "=IIIIHH", lib.CN_IDX_PROC, lib.CN_VAL_PROC, 0, 0, len(event), 0
    )
    return struct.pack("=IHHII", size, lib.NLMSG_TYPE_DONE, 0, 0, 0) + connector + event
