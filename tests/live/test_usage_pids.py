"""PIDs that are reused: no EXIT gets the usage of another task."""

import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import pytest
from support.c_programs import compiled
from support.live import DEADLINE, drain
from support.subprocesses import spawn
from support.usage import usage_at_exit

from procconn import Event, EventMask, Exit, ProcConnector

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="taskstats requires root"),
    pytest.mark.heavy,
]

KIB = 1024
PRESENT = 0.999
WRAPS = 120_000
LATE = 2_000_000  # bytes for some 45,000 children: more than kernel.pid_max's default


class Child(NamedTuple):
    """A child of programs/writers.c."""

    pid: int
    kib: int
    begun_ns: int
    ended_ns: int


class Found(NamedTuple):
    """What the exits of such children had for usage.

    Attributes:
        exits: how many there were.
        given: how many had a usage.
        wrong: how many had that of another task.
    """

    exits: int
    given: int
    wrong: int


def compare(children: list[Child], events: Iterable[Event]) -> Found:
    """Compare each exit with the child that had its PID at that time.

    An exit without a parent may be sent after the PID was released: it is left out.
    """
    by_pid: dict[int, list[Child]] = {}
    for child in reversed(children):  # the next one to end comes last
        by_pid.setdefault(child.pid, []).append(child)
    exits = given = wrong = 0
    for event in events:
        if not isinstance(event, Exit) or event.exit_code or not event.parent_pid:
            continue
        left = by_pid.get(event.pid, [])
        while left and left[-1].ended_ns < event.timestamp_ns:
            left.pop()
        if not left or event.timestamp_ns < left[-1].begun_ns:
            continue
        usage = event.usage
        exits += 1
        if usage is not None:
            given += 1
            wrong += usage.write_chars != left[-1].kib * KIB
    return Found(exits, given, wrong)


@contextmanager
def writers(kind: str, count: int) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Start the children; what they print comes into a file."""
    command = [str(compiled("writers")), kind, str(count)]
    with (
        TemporaryFile("w+") as file,
        subprocess.Popen(command, stdout=file, text=True) as process,
    ):
        yield process, file
        assert process.wait(DEADLINE) == 0


def children_in(file: IO[str]) -> list[Child]:
    file.seek(0)
    return [Child(*map(int, line.split())) for line in file]


def read_late(connector: ProcConnector, kind: str, count: int) -> Found:
    """Read when all have ended."""
    with writers(kind, count) as (process, file):
        process.wait(DEADLINE)
        return compare(children_in(file), drain(connector))


def read_at_once(connector: ProcConnector, kind: str, count: int) -> Found:
    events: list[Event] = []
    with writers(kind, count) as (process, file):
        while process.poll() is None:
            events += connector.recv_many(0.001)
        events += drain(connector)
        return compare(children_in(file), events)


@pytest.mark.parametrize("threads", [False, True])
def test_late_exits_have_their_usage(threads: bool) -> None:
    with ProcConnector(EventMask.EXIT, threads=threads, usage=True) as connector:
        found = read_late(connector, "wrap", 4000)
        lost = connector.lost + connector.usage_lost

    assert found.wrong == 0
    if lost == 0:  # others' events count, too
        assert found.exits > 3900
        assert found.given >= PRESENT * found.exits


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("mask", [EventMask.EXIT, EventMask.ALL])
def test_exits_of_a_set_pid_have_no_others_usage(
    mask: EventMask, threads: bool
) -> None:
    """Read late, read at once, and by a connector that is opened meanwhile."""
    with ProcConnector(mask, threads=threads, usage=True) as connector:
        assert read_late(connector, "set", 1000).wrong == 0
        assert read_at_once(connector, "set", 1000).wrong == 0
    events: list[Event] = []
    with writers("set", 1000) as (process, file):
        while process.poll() is None:
            with ProcConnector(mask, threads=threads, usage=True) as connector:
                for _ in range(3):
                    events += connector.recv_many(0.01)
        found = compare(children_in(file), events)

    assert found.wrong == 0


@pytest.mark.parametrize("threads", [False, True])
def test_after_a_loss_exits_have_no_others_usage(threads: bool) -> None:
    """First what was lost, then a PID that is set, then all as before."""
    with ProcConnector(
        EventMask.EXIT, threads=threads, usage=True, receive_buffer=1 << 20
    ) as connector:
        for _ in range(2):
            assert read_late(connector, "set", 2000).wrong == 0
            assert connector.usage_lost > 0
            assert read_at_once(connector, "set", 500).wrong == 0
        usage, deadline = None, time.monotonic() + DEADLINE
        while usage is None and time.monotonic() < deadline:
            pid = spawn("/bin/true")
            os.waitpid(pid, 0)
            usage = usage_at_exit(connector, pid)
        before = connector.lost + connector.usage_lost
        found = read_at_once(connector, "wrap", 2000)
        lost = connector.lost + connector.usage_lost - before

    assert usage is not None
    assert found.wrong == 0
    if lost == 0:
        assert found.exits > 1900
        assert found.given >= PRESENT * found.exits


@pytest.mark.slow
@pytest.mark.parametrize("threads", [False, True])
def test_pids_that_wrap_around_before_a_read(threads: bool) -> None:
    events: list[Event] = []
    with (
        ProcConnector(EventMask.EXIT, threads=threads, usage=True) as connector,
        writers("wrap", WRAPS) as (process, file),
    ):
        read_size = 0
        while process.poll() is None:
            size = os.fstat(file.fileno()).st_size
            if size - read_size > LATE:
                read_size = size
                events += drain(connector)
            time.sleep(0.01)
        events += drain(connector)
        found = compare(children_in(file), events)
        lost = connector.lost + connector.usage_lost

    assert found.wrong == 0
    if lost == 0:
        assert found.exits > 0.99 * WRAPS
        assert found.given >= PRESENT * found.exits
