"""Events of this process on demand, and waits that end at a deadline."""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from procconn import Comm, Event, Lost, ProcConnector

DEADLINE = 60.0  # seconds; generous, as other programs may keep the machine busy

PR_SET_NAME = 15
PR_GET_NAME = 16
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def set_name(name: bytes) -> None:
    """Name the calling thread; its COMM event is queued on return."""
    if _prctl(PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def get_name() -> bytes:
    name = ctypes.create_string_buffer(16)
    if _prctl(PR_GET_NAME, name, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return name.value


@contextmanager
def name_kept() -> Iterator[None]:
    """Give the calling thread its name back at the end."""
    name = get_name()
    try:
        yield
    finally:
        set_name(name)


def set_serials(serials: range) -> None:
    """Name the calling thread by one number after the other."""
    for serial in serials:
        set_name(b"%d" % serial)


def serials_of(events: list[Event], pid: int | None = None) -> list[int]:
    """Tell by which numbers a task, or else the calling thread, named itself."""
    pid = threading.get_native_id() if pid is None else pid
    return [
        int(event.comm)
        for event in events
        if isinstance(event, Comm) and event.pid == pid and event.comm.isdigit()
    ]


def lost_of(events: list[Event]) -> int:
    return sum(event.count for event in events if isinstance(event, Lost))


def rest_of(connector: ProcConnector) -> list[Event]:
    """Receive what is queued."""
    events: list[Event] = []
    while batch := connector.recv_many(timeout=0):
        events += batch
    return events


def events_until(
    connector: ProcConnector, is_last: Callable[[Event], bool]
) -> list[Event]:
    """Receive all events up to the batch with the last one."""
    deadline = time.monotonic() + DEADLINE
    events: list[Event] = []
    while (left := deadline - time.monotonic()) > 0:
        batch = connector.recv_many(timeout=left)
        events += batch
        if any(is_last(event) for event in batch):
            return events
    raise AssertionError(f"the last event never came; the rest: {events[-50:]}")


def descriptors() -> set[str]:
    """List the descriptors of this process."""
    return set(os.listdir("/proc/self/fd"))


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)
