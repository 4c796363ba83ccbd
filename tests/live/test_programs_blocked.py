"""A read of /proc that a process blocks does not delay reading of other programs."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.c_programs import compiled
from support.exec_programs import (
    MASK,
    Delay,
    delayed_readers,
    is_lossless,
    is_realtime,
    programs_in,
    threads,
)
from support.live import events_until, wait_for
from support.machine import NOBODY
from support.subprocesses import program

from procconn import Event, Exec, ProcConnector

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")

BLOCKED_EXECS = 30
# Executed in turn by one process; a separate thread reads each.
LOCK_CHAIN = ("nsenter", "setpriv", "lock")
FEW, MANY = 250, 2000
with_few_and_many = pytest.mark.parametrize(
    "others", [FEW, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.heavy])]
)


class BlockingFileSystem:
    """A FUSE file system, in its own mount namespace, that blocks close() calls."""

    def __init__(self, server: subprocess.Popen[str], directory: Path) -> None:
        self._server = server
        self._environment = {**os.environ, "FILE": str(directory / "file")}

    def run(self, *command: str | int | Path) -> subprocess.Popen[str]:
        """Run a program in the namespace as an ordinary user; $FILE has the path."""
        namespace = f"--mount=/proc/{self._server.pid}/ns/mnt"
        words = ["nsenter", namespace, *NOBODY, *command]
        return subprocess.Popen(
            list(map(str, words)),
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self, count: int) -> None:
        """Wait until `count` close calls are blocked."""
        assert self._server.stdout is not None
        while int(self._server.stdout.readline()) < count:
            pass

    def release(self) -> None:
        """Unblock the close calls."""
        assert self._server.stdin is not None
        self._server.stdin.write("\n")
        self._server.stdin.flush()


@pytest.fixture
def files() -> Iterator[BlockingFileSystem]:
    with tempfile.TemporaryDirectory(prefix="procconn-tests-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with program("blocking_files", str(directory)) as server:
            assert server.stdout is not None
            if server.stdout.readline() != "ready\n":
                pytest.skip("cannot mount a FUSE file system")
            yield BlockingFileSystem(server, directory)


def advance(burst: subprocess.Popen[str]) -> None:
    assert burst.stdin is not None
    burst.stdin.write(".")
    burst.stdin.flush()


@contextmanager
def blocked_execs(
    files: BlockingFileSystem, count: int = BLOCKED_EXECS
) -> Iterator[list[int]]:
    """Run processes that stay blocked inside an exec until the context is left."""
    stages = str(compiled("stages"))
    with files.run(compiled("burst"), count, stages, "open-file", stages) as burst:
        assert burst.stdin is not None
        assert burst.stdout is not None
        advance(burst)
        pids = [int(burst.stdout.readline()) for _ in range(count)]
        advance(burst)
        files.wait(count)
        try:
            yield pids
        finally:
            files.release()
            assert burst.stdout.readline() == "ended\n"
            burst.stdin.close()


def required_share(others: int) -> float:
    """Return the minimum share of right programs; it is lower for a few programs."""
    return 0.99 if others == MANY else 0.9


def run_others(connector: ProcConnector, others: int) -> tuple[int, int]:
    """Run programs; return how many were reported right, and how many wrong."""
    serials = {}
    for serial in range(others):
        with subprocess.Popen(["true", str(serial)]) as other:
            serials[other.pid] = str(serial)
    with subprocess.Popen(["true", "last"]) as last:
        pass

    def is_last(event: Event) -> bool:
        return isinstance(event, Exec) and event.pid == last.pid

    events = events_until(connector, is_last)
    assert is_lossless(events)
    found = [
        (serials[pid], program)
        for pid, program in programs_in(events)
        if pid in serials
    ]
    assert others == len(found)
    right = sum(program.argv == ("true", serial) for serial, program in found)
    absent = sum(program.argv is None for _, program in found)
    return right, others - right - absent


@with_few_and_many
def test_blocked_execs_do_not_block_reading_of_others(
    files: BlockingFileSystem, others: int
) -> None:
    with ProcConnector(MASK, programs=True) as connector:
        with blocked_execs(files):
            right, wrong = run_others(connector, others)
        realtime = is_realtime(connector)

    assert 0 == wrong
    assert right >= required_share(others) * others or not realtime


@with_few_and_many
def test_execs_blocked_before_they_are_read_do_not_block_reading_of_others(
    files: BlockingFileSystem, others: int
) -> None:
    before = threads()
    with (
        ProcConnector(MASK, programs=True) as connector,
        delayed_readers(before) as delay,
    ):
        delay.begin(300)
        with blocked_execs(files):
            delay.end()
            right, wrong = run_others(connector, others)
        realtime = is_realtime(connector)

    assert 0 == wrong
    assert right >= required_share(others) * others or not realtime


@contextmanager
def locked(files: BlockingFileSystem, delay: Delay) -> Iterator[int]:
    """Run a process that blocks reads of its arguments until the context is left."""
    delay.begin(500)  # long enough for the process to lock its memory
    with files.run(compiled("lock")) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            delay.end()
            wait_for(lambda: blocked_readers(process.pid) == len(LOCK_CHAIN))
            yield process.pid
        finally:
            files.release()


def blocked_readers(pid: int) -> int:
    """Return how many threads of this process are blocked in /proc/PID/cmdline.

    Each of these threads has a descriptor table of its own.
    """
    path = f"/proc/{pid}/cmdline"
    count = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            text = (task / "syscall").read_text()
            count += os.readlink(f"{task}/fd/{int(text.split()[1], 16)}") == path
        except (OSError, IndexError, ValueError):
            continue  # the thread runs, has ended, or is in another call
    return count


@with_few_and_many
def test_blocked_read_of_arguments_does_not_block_reading_of_others(
    files: BlockingFileSystem, others: int
) -> None:
    """A blocked read does not block close(), either."""
    before = threads()
    with (
        ProcConnector(MASK, programs=True) as connector,
        delayed_readers(before) as delay,
    ):
        with locked(files, delay) as pid:
            right, wrong = run_others(connector, others)
            realtime = is_realtime(connector)
            connector.close()
            was_blocked = blocked_readers(pid) > 0
        wait_for(lambda: not blocked_readers(pid))

    assert was_blocked
    assert 0 == wrong
    assert right >= required_share(others) * others or not realtime
