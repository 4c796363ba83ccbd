"""Causes events in this process, receives them, and waits for conditions."""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from procconn import Comm, Event, Lost, ProcConnector

DEADLINE = 60.0  # seconds; long enough for a busy machine
LARGE_BUFFER = 400_000_000  # bytes; holds all events of a test

PR_SET_NAME = 15
PR_GET_NAME = 16
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def set_name(name: bytes) -> None:
    """Set the name of the calling thread; its COMM event is queued on return."""
    if _prctl(PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def get_name() -> bytes:
    name = ctypes.create_string_buffer(16)
    if _prctl(PR_GET_NAME, name, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return name.value


@contextmanager
def preserve_name() -> Iterator[None]:
    """Restore the name of the calling thread at the end."""
    name = get_name()
    try:
        yield
    finally:
        set_name(name)


def set_serials(serials: range) -> None:
    """Set the name of the calling thread to each number in turn."""
    for serial in serials:
        set_name(b"%d" % serial)


def serials_of(events: list[Event], pid: int | None = None) -> list[int]:
    """Return the numbers that a task set as its name; by default the calling thread."""
    pid = threading.get_native_id() if pid is None else pid
    return [
        int(event.comm)
        for event in events
        if isinstance(event, Comm) and event.pid == pid and event.comm.isdigit()
    ]


def lost_count(events: list[Event]) -> int:
    """Return the sum of all Lost counts."""
    return sum(event.count for event in events if isinstance(event, Lost))


def drain(connector: ProcConnector) -> list[Event]:
    """Receive all queued events, without blocking."""
    events: list[Event] = []
    while batch := connector.recv_many(timeout=0):
        events += batch
    return events


def events_until(
    connector: ProcConnector, is_last: Callable[[Event], bool]
) -> list[Event]:
    """Receive events up to the batch that contains the last one."""
    deadline = time.monotonic() + DEADLINE
    events: list[Event] = []
    while (left := deadline - time.monotonic()) > 0:
        batch = connector.recv_many(timeout=left)
        events += batch
        if any(is_last(event) for event in batch):
            return events
    raise AssertionError(f"timed out before the last event; received {events[-50:]}")


def descriptors() -> set[str]:
    """Return the open file descriptors of this process."""
    return set(os.listdir("/proc/self/fd"))


def wait_for(condition: Callable[[], object]) -> None:
    """Poll a condition until it is true."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.001)


def cpu_wait_seconds() -> float:
    """Return the time that this thread waited on a run queue."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
