"""PID reuse: no EXIT gets the usage of another task."""

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
MIN_SHARE_WITH_USAGE = 0.999
WRAPPING_CHILDREN = 120_000
READ_INTERVAL_BYTES = 2_000_000  # for 45,000 children: more than the default pid_max


class Child(NamedTuple):
    """A child of programs/writers.c."""

    pid: int
    kib: int
    begun_ns: int
    ended_ns: int


class ExitCounts(NamedTuple):
    """Counts of the EXIT events of the children.

    Attributes:
        exits: EXITs that match a child.
        with_usage: those with a usage.
        wrong: those with the usage of another task.
    """

    exits: int
    with_usage: int
    wrong: int


def compare(children: list[Child], events: Iterable[Event]) -> ExitCounts:
    """Compare each EXIT with the child that had its PID at that time.

    EXITs without a parent are skipped: the kernel may send them after it released
    the PID.
    """
    by_pid: dict[int, list[Child]] = {}
    for child in reversed(children):  # the next one to end is last
        by_pid.setdefault(child.pid, []).append(child)
    exits = with_usage = wrong = 0
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
            with_usage += 1
            wrong += usage.write_chars != left[-1].kib * KIB
    return ExitCounts(exits, with_usage, wrong)


@contextmanager
def writers(kind: str, count: int) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Start children that write their output to a file."""
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


def read_late(connector: ProcConnector, kind: str, count: int) -> ExitCounts:
    """Read after all children have ended."""
    with writers(kind, count) as (process, file):
        process.wait(DEADLINE)
        return compare(children_in(file), drain(connector))


def read_at_once(connector: ProcConnector, kind: str, count: int) -> ExitCounts:
    """Read while the children run."""
    events: list[Event] = []
    with writers(kind, count) as (process, file):
        while process.poll() is None:
            events += connector.recv_many(0.001)
        events += drain(connector)
        return compare(children_in(file), events)


@pytest.mark.parametrize("threads", [False, True])
def test_exits_read_late_have_their_usage(threads: bool) -> None:
    with ProcConnector(EventMask.EXIT, threads=threads, usage=True) as connector:
        found = read_late(connector, "wrap", 4000)
        lost = connector.lost + connector.usage_lost

    assert found.wrong == 0
    if lost == 0:  # other processes may cause an overrun
        assert found.exits > 3900
        assert found.with_usage >= MIN_SHARE_WITH_USAGE * found.exits


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("mask", [EventMask.EXIT, EventMask.ALL])
def test_exits_of_a_reused_pid_get_no_usage_of_others(
    mask: EventMask, threads: bool
) -> None:
    """Read after the children, during them, and with connectors opened meanwhile."""
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
def test_exits_after_an_overrun_get_no_usage_of_others(threads: bool) -> None:
    """Usage is reported again after the overrun."""
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
        assert found.with_usage >= MIN_SHARE_WITH_USAGE * found.exits


@pytest.mark.slow
@pytest.mark.parametrize("threads", [False, True])
def test_pid_wrap_around_between_reads(threads: bool) -> None:
    events: list[Event] = []
    with (
        ProcConnector(EventMask.EXIT, threads=threads, usage=True) as connector,
        writers("wrap", WRAPPING_CHILDREN) as (process, file),
    ):
        read_size = 0
        while process.poll() is None:
            size = os.fstat(file.fileno()).st_size
            if size - read_size > READ_INTERVAL_BYTES:
                read_size = size
                events += drain(connector)
            time.sleep(0.01)
        events += drain(connector)
        found = compare(children_in(file), events)
        lost = connector.lost + connector.usage_lost

    assert found.wrong == 0
    if lost == 0:
        assert found.exits > 0.99 * WRAPPING_CHILDREN
        assert found.with_usage >= MIN_SHARE_WITH_USAGE * found.exits
