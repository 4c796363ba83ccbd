"""Programs come with their EXECs, whichever way a connector is read."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import threading
import time
from itertools import count
from typing import TYPE_CHECKING

import pytest

from live.staging import DEADLINE, program, run_python, wait_for
from procconn import EventMask, Exec, ProcConnector, Program, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from procconn import Event

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes real-time priority")

_marks = count()


def run_marked() -> str:
    """Run a short command with an argument that no other has."""
    mark = f"mark-{os.getpid()}-{next(_marks)}"
    subprocess.run(["true", mark], check=True)
    return mark


def programs_of(events: list[Event]) -> list[Program]:
    return [it.program for it in events if isinstance(it, Exec) and it.program]


def by_recv(connector: ProcConnector) -> list[Event]:
    event = connector.recv(DEADLINE)
    return [event] if event else []


def by_recv_into(connector: ProcConnector) -> list[Event]:
    buffer = bytearray(65536)
    return decode(buffer[: connector.recv_into(buffer, DEADLINE)])


def by_async(connector: ProcConnector) -> list[Event]:
    return asyncio.run(connector.arecv_many(DEADLINE))


def by_select(connector: ProcConnector) -> list[Event]:
    """What is readable is there: a poll brings something."""
    assert select.select([connector], [], [], DEADLINE)[0]
    events = connector.recv_many(0)
    assert events
    return events


WAYS: dict[str, Callable[[ProcConnector], list[Event]]] = {
    "recv": by_recv,
    "recv_many": lambda connector: connector.recv_many(DEADLINE),
    "recv_raw": lambda connector: decode(connector.recv_raw(DEADLINE)),
    "recv_into": by_recv_into,
    "for": lambda connector: [next(iter(connector))],
    "arecv_many": by_async,
    "select": by_select,
}


@pytest.fixture
def connector() -> Iterator[ProcConnector]:
    with ProcConnector(programs=True) as connector:
        yield connector


@as_root
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("settings", [{}, {"queue": 1 << 20}, {"max_latency": 0}])
def test_every_way_to_read_tells_the_program(
    way: Callable[[ProcConnector], list[Event]], settings: dict[str, float]
) -> None:
    with ProcConnector(programs=True, **settings) as connector:  # type: ignore[arg-type]
        mark = run_marked()
        events: list[Event] = []
        deadline = time.monotonic() + DEADLINE
        while not any(it.argv == ("true", mark) for it in programs_of(events)):
            assert time.monotonic() < deadline, events
            events += way(connector)


@as_root
def test_a_recorded_stream_has_the_programs(connector: ProcConnector) -> None:
    mark = run_marked()
    raw = b""
    while mark.encode() not in raw:
        raw += connector.recv_raw(DEADLINE)

    (told,) = (it for it in programs_of(decode(raw)) if it.argv == ("true", mark))
    assert os.getcwd() == told.cwd
    assert (os.getpid(), 0, "") == (told.ppid, told.euid, told.missing)


@as_root
def test_programs_are_told_in_a_storm_that_never_ends(
    connector: ProcConnector,
) -> None:
    """The socket is never empty meanwhile."""
    marks: list[str] = []
    with program("rename", 400_000, 0) as storm:
        runner = threading.Thread(
            target=lambda: marks.extend(run_marked() for _ in range(50))
        )
        runner.start()
        events: list[Event] = []
        while runner.is_alive() or storm.poll() is None:
            events += [it for it in connector.recv_many(0.01) if isinstance(it, Exec)]
    events += connector.recv_many(0.1)
    argvs = [it.argv for it in programs_of(events)]
    told = [mark for mark in marks if ("true", mark) in argvs]
    missing = {it.missing for it in programs_of(events) if it.argv is None}

    assert "" not in missing
    assert len(told) >= 45


@as_root
def test_a_close_does_not_wait_for_a_reading(connector: ProcConnector) -> None:
    with ProcConnector(EventMask.EXEC, programs=True, max_latency=DEADLINE) as slow:
        run_marked()
        began = time.monotonic()
        assert [] == programs_of(slow.recv_many(0))
        slow.close()

    assert time.monotonic() - began < DEADLINE / 2


@as_root
def test_its_threads_and_descriptors_go_with_a_connector() -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    before = held()
    for _ in range(20):
        with ProcConnector(programs=True, usage=True, queue=1 << 20) as connector:
            connector.fileno()

    wait_for(lambda: held() <= before and held()[1] <= before[1])


def test_who_may_not_read_at_once_is_told_why_and_nothing_wrong() -> None:
    result = run_python(
        """
import os, subprocess, warnings
from procconn import Exec, ProcConnector
os.setresuid(65534, 65534, 65534)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with ProcConnector(programs=True, receive_buffer=100_000) as connector:
        expected, told = {}, {}
        for number in range(100):
            child = subprocess.Popen(["true", str(number)])
            expected[child.pid] = ("true", str(number))
            child.wait()
            while child.pid not in told:
                for event in connector.recv_many(30):
                    if isinstance(event, Exec) and event.pid in expected:
                        told[event.pid] = event.program
wrong = [it for pid, it in told.items() if it.argv not in (None, expected[pid])]
unmarked = [it for it in told.values() if it.argv is None and not it.missing]
print(wrong, unmarked, len(caught), "CAP_SYS_NICE" in str(caught[0].message))
"""
    )

    assert ("[] [] 1 True\n", "") == (result.stdout, result.stderr)
