"""Programs of execs, taken from a stream, and of processes read as it does."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from procconn import Event, EventMask, Exec, Lost, ProcConnector, Program, decode
from procconn._core import ffi, lib
from support.builders import with_trailer
from support.c_programs import compiled
from support.live import DEADLINE, events_until
from support.machine import KERNEL
from support.sockets import CONNECTOR
from support.subprocesses import everyone_may_run_python

SO_GET_FILTER = 26  # asm-generic/socket.h; says of how many instructions
EXEC_FILTER = 4

MASK = EventMask.FORK | EventMask.EXEC | EventMask.EXIT
UNHURRIED = 0.2  # seconds of latency with which even a slow machine reads in time

by_nobody = pytest.mark.skipif(
    os.geteuid() != 0 or KERNEL < (6, 6) or not everyone_may_run_python(),
    reason="takes root, a Python that everyone may run, and Linux 6.6",
)


def told_in(events: list[Event]) -> list[tuple[int, Program]]:
    """List the programs of all execs, with their pids."""
    told = []
    for event in events:
        if isinstance(event, Exec):
            assert event.program is not None
            told.append((event.pid, event.program))
    return told


def told_until(
    connector: ProcConnector, is_last: Callable[[int, Program], bool]
) -> list[tuple[int, Program]]:
    """Receive execs, up to the batch with the last of those expected."""

    def is_it(event: Event) -> bool:
        return (
            isinstance(event, Exec)
            and event.program is not None
            and is_last(event.pid, event.program)
        )

    return told_in(events_until(connector, is_it))


def programs_of(connector: ProcConnector, pid: int, count: int) -> list[Program]:
    """Receive the programs of so many execs of a process."""
    seen = 0

    def is_last(of: int, _: Program) -> bool:
        nonlocal seen
        seen += of == pid
        return seen == count

    return [program for of, program in told_until(connector, is_last) if of == pid]


def no_wrong(programs: list[Program], *arguments: tuple[str, ...]) -> None:
    """Each is right or absent; absent ones say why."""
    for told, expected in zip(programs, arguments, strict=True):
        assert told.argv in (expected, None)
        assert told.argv is not None or told.missing


def programs_socket() -> socket.socket:
    """Find where the EXECs come whose programs are read: it lets only those pass."""
    for path in Path("/proc/self/fd").iterdir():
        if path.is_symlink() and os.readlink(path).startswith("socket:"):
            sock = socket.socket(fileno=os.dup(int(path.name)))
            if (sock.family, sock.proto) == (socket.AF_NETLINK, CONNECTOR):
                filter_length = sock.getsockopt(socket.SOL_SOCKET, SO_GET_FILTER, 1024)
                if len(filter_length) == EXEC_FILTER:
                    return sock
            sock.close()
    raise AssertionError("nobody reads programs here")


def threads() -> set[int]:
    """List the threads of this process."""
    return set(map(int, os.listdir("/proc/self/task")))


def reading_thread(before: set[int]) -> int:
    """Find the thread that reads programs: the first that its connector started.

    Another stands by.
    """
    return min(threads() - before)


class Delay:
    """Keeps the CPU of those that read programs from them."""

    def __init__(self, hog: subprocess.Popen[bytes]) -> None:
        self._hog = hog

    def begin(self, milliseconds: float, pid: int = 0, name: str = "") -> None:
        """Begin; the time counts from when the process shows a program of that name."""
        assert self._hog.stdin is not None
        line = f"{1000 * milliseconds:.0f} {pid or ''} {name}\n"
        self._hog.stdin.write(line.encode())
        self._hog.stdin.flush()
        self._await_byte()

    def end(self) -> None:
        """Wait until it is over."""
        self._await_byte()

    def _await_byte(self) -> None:
        assert self._hog.stdout is not None
        assert os.read(self._hog.stdout.fileno(), 1)


@contextmanager
def delayed_readers(before: set[int]) -> Iterator[Delay]:
    """Let the threads that read programs be late.

    Args:
        before: the threads that there were before the connector was opened.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("takes two CPUs")
    readers = threads() - before
    with subprocess.Popen(
        [str(compiled("hog")), str(cpus[0])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as hog:
        for thread in threads():
            cpu = cpus[0] if thread in readers else cpus[1]
            os.sched_setaffinity(thread, {cpu})
        try:
            yield Delay(hog)
        finally:
            for thread in threads():
                os.sched_setaffinity(thread, cpus)
            assert hog.stdin is not None
            hog.stdin.close()


def is_realtime(connector: ProcConnector) -> bool:
    """Whether programs are read at real-time priority."""
    return connector._stream.view.realtime == lib.PROCCONN_REALTIME


def is_whole(events: list[Event]) -> bool:
    """Whether nothing was lost."""
    return not any(isinstance(event, Lost) for event in events)


def is_storming(pid: int) -> bool:
    """Whether programs/rename.py has begun."""
    return Path(f"/proc/{pid}/comm").read_text().rstrip().isdigit()


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """Keep so many processes busy, for a time that is bounded."""
    command = ["timeout", str(DEADLINE), sys.executable, "-S", "-c", "while 1: pass"]
    spinners = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for it in spinners:
            it.terminate()
            it.wait()


def read_executed(pid: int) -> Program:
    """Read a process as the thread does right behind an EXEC."""
    trailer = ffi.new("uint8_t[]", lib.PROCCONN_TRAILER_CAPACITY)
    reading = ffi.new("struct procconn_reading *")
    lib.procconn_read_executed(pid, trailer, reading)
    if reading.memory >= 0:
        os.close(reading.memory)
    message = struct.pack("=IHHIIIIIIHH", 0, 3, 0, 0, 0, 1, 1, 0, 0, 40, 0)
    message += struct.pack("=IIQII16x", EventMask.EXEC, 0, 0, pid, pid)
    (told,) = told_in(
        decode(with_trailer(message, ffi.buffer(trailer, reading.size)[:]))
    )
    return told[1]
