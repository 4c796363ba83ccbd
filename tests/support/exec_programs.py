"""Receives programs of EXEC events, and controls the threads that read them."""

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
from support.subprocesses import any_user_can_run_python

SO_GET_FILTER = 26  # asm-generic/socket.h; returns the number of instructions
EXEC_FILTER = 4

MASK = EventMask.FORK | EventMask.EXEC | EventMask.EXIT
LONG_LATENCY = 0.2  # seconds of max_latency; long enough for a slow machine

requires_ordinary_user = pytest.mark.skipif(
    os.geteuid() != 0 or KERNEL < (6, 6) or not any_user_can_run_python(),
    reason="requires root, a Python that any user can run, and Linux 6.6",
)


def programs_in(events: list[Event]) -> list[tuple[int, Program]]:
    """Return the programs of all EXEC events, with their PIDs."""
    found = []
    for event in events:
        if isinstance(event, Exec):
            assert event.program is not None
            found.append((event.pid, event.program))
    return found


def programs_until(
    connector: ProcConnector, is_last: Callable[[int, Program], bool]
) -> list[tuple[int, Program]]:
    """Receive programs up to the batch that contains the last expected one."""

    def is_last_exec(event: Event) -> bool:
        return (
            isinstance(event, Exec)
            and event.program is not None
            and is_last(event.pid, event.program)
        )

    return programs_in(events_until(connector, is_last_exec))


def programs_of(connector: ProcConnector, pid: int, count: int) -> list[Program]:
    """Receive the programs of `count` execs of a process."""
    received = 0

    def is_last(exec_pid: int, _: Program) -> bool:
        nonlocal received
        received += exec_pid == pid
        return received == count

    return [
        program
        for exec_pid, program in programs_until(connector, is_last)
        if exec_pid == pid
    ]


def assert_right_or_missing(
    programs: list[Program], *arguments: tuple[str, ...]
) -> None:
    """Assert that each argv is right, or None with a reason in `missing`."""
    for program, expected in zip(programs, arguments, strict=True):
        assert program.argv in (expected, None)
        assert program.argv is not None or program.missing


def programs_socket() -> socket.socket:
    """Return the socket from which the program readers receive EXEC events."""
    for path in Path("/proc/self/fd").iterdir():
        if path.is_symlink() and os.readlink(path).startswith("socket:"):
            sock = socket.socket(fileno=os.dup(int(path.name)))
            if (sock.family, sock.proto) == (socket.AF_NETLINK, CONNECTOR):
                filter_length = sock.getsockopt(socket.SOL_SOCKET, SO_GET_FILTER, 1024)
                if len(filter_length) == EXEC_FILTER:
                    return sock
            sock.close()
    raise AssertionError("no socket with a filter for EXEC events")


def threads() -> set[int]:
    """Return the thread IDs of this process."""
    return set(map(int, os.listdir("/proc/self/task")))


def program_reader(before: set[int]) -> int:
    """Return the ID of the active program reader, the first thread of the connector.

    The second thread is on standby: it takes over when a read of /proc blocks.
    """
    return min(threads() - before)


class Delay:
    """Delays the program readers by occupying their CPU."""

    def __init__(self, hog: subprocess.Popen[bytes]) -> None:
        self._hog = hog

    def begin(self, milliseconds: float, pid: int = 0, name: str = "") -> None:
        """Begin a delay; given a name, time it from when the process has that name."""
        assert self._hog.stdin is not None
        line = f"{1000 * milliseconds:.0f} {pid or ''} {name}\n"
        self._hog.stdin.write(line.encode())
        self._hog.stdin.flush()
        self._await_byte()

    def end(self) -> None:
        """Wait until the delay ends."""
        self._await_byte()

    def _await_byte(self) -> None:
        assert self._hog.stdout is not None
        assert os.read(self._hog.stdout.fileno(), 1)


@contextmanager
def delayed_readers(before: set[int]) -> Iterator[Delay]:
    """Pin the program readers to one CPU, so that a test can delay them.

    Args:
        before: threads of this process before the connector was opened.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("requires two CPUs")
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
    """Return whether the program readers have real-time priority."""
    return connector._stream.view.realtime == lib.PROCCONN_REALTIME


def is_lossless(events: list[Event]) -> bool:
    """Return whether no event was lost."""
    return not any(isinstance(event, Lost) for event in events)


def is_renaming(pid: int) -> bool:
    """Return whether programs/rename.py has started to set names."""
    return Path(f"/proc/{pid}/comm").read_text().rstrip().isdigit()


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """Run `count` busy loops in other processes, for at most DEADLINE seconds."""
    command = ["timeout", str(DEADLINE), sys.executable, "-S", "-c", "while 1: pass"]
    spinners = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.terminate()
            spinner.wait()


def read_after_exec(pid: int) -> Program:
    """Read a process as the program reader does right after an EXEC."""
    trailer = ffi.new("uint8_t[]", lib.PROCCONN_TRAILER_CAPACITY)
    reading = ffi.new("struct procconn_reading *")
    lib.procconn_read_executed(pid, trailer, reading)
    if reading.memory >= 0:
        os.close(reading.memory)
    message = struct.pack("=IHHIIIIIIHH", 0, 3, 0, 0, 0, 1, 1, 0, 0, 40, 0)
    message += struct.pack("=IIQII16x", EventMask.EXEC, 0, 0, pid, pid)
    ((_, program),) = programs_in(
        decode(with_trailer(message, ffi.buffer(trailer, reading.size)[:]))
    )
    return program
