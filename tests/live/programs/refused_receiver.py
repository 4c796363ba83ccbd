"""Refuse a system call to a connector's receiving thread; print the reader's result.

refused_receiver.py CALL [asyncio]
Prints the exception raised, whether the thread is still running, and how many events
were received.
"""

import asyncio
import ctypes
import errno
import json
import os
import sys
import time
from collections.abc import Callable

from sandbox import refuse  # type: ignore[import-not-found]

from procconn import Comm, Event, EventMask, ProcConnector

SO_MEMINFO, PR_SET_NAME = 55, 15
QUEUE = 262_144  # bytes: 3,449 events
RENAMES = 6000
SECOND, DEADLINE = 1, 60

call = sys.argv[1]
connector = ProcConnector(EventMask.COMM, receive_buffer=4 << 20)
prctl = ctypes.CDLL(None).prctl
pid = os.getpid()


def is_running() -> bool:
    """Return whether the receiving thread exists."""
    return len(os.listdir("/proc/self/task")) > 1


def is_sleeping() -> bool:
    """Return whether the receiving thread is blocked."""
    tasks = [tid for tid in os.listdir("/proc/self/task") if int(tid) != pid]
    states = []
    for task in tasks:
        with open(f"/proc/self/task/{task}/stat") as file:
            states.append(file.read().rpartition(")")[2].split()[0])
    return states == ["S"]


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)


def rename(name: bytes) -> None:
    prctl(PR_SET_NAME, name, 0, 0, 0)


async def receive() -> list[Event]:
    if "asyncio" in sys.argv:
        return list(await connector.arecv_many(SECOND))
    return list(connector.recv_many(SECOND))


async def main() -> None:
    # The thread reads from the next descriptor to be opened when its queue is full.
    next_descriptor = os.dup(0)
    os.close(next_descriptor)
    values = {"read": {0: next_descriptor}, "getsockopt": {2: SO_MEMINFO}}.get(call, {})
    refuse(call, errno.EPERM, values)
    connector._stream.start_thread(QUEUE)  # the thread inherits the filter
    for serial in range(RENAMES):
        rename(b"%d" % serial)
    if call == "read":
        wait(is_sleeping)  # until there is space in the queue
    received, raised = 0, None
    deadline = time.monotonic() + DEADLINE
    while raised is None and time.monotonic() < deadline:
        try:
            events = await receive()
            received += sum(
                isinstance(e, Comm) and e.pid == pid and e.comm.isdigit()
                for e in events
            )
            if not events:
                rename(
                    b"later"
                )  # the thread asks for drops when it receives, each second
        except OSError as error:
            raised = type(error).__name__
    wait(lambda: not is_running())
    print(json.dumps([raised, is_running(), received]))


asyncio.run(main())
