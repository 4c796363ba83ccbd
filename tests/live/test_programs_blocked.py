"""Readings that another process blocks: other programs are read meanwhile."""

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

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")

HELD = 30
TO_LOCK = ("nsenter", "setpriv", "lock")  # execs of one process, each read by a thread
FEW, MANY = 250, 2000
many = pytest.mark.parametrize(
    "others", [FEW, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.heavy])]
)


class HeldFiles:
    """A file system whose file is closed when we say so; in a mount namespace."""

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self._server = server
        self._environment = {**os.environ, "FILE": str(folder / "file")}

    def run(self, *command: str | int | Path) -> subprocess.Popen[str]:
        """Let an ordinary user run a program where the file is: FILE names it."""
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
        """Wait until so many closings wait."""
        assert self._server.stdout is not None
        while int(self._server.stdout.readline()) < count:
            pass

    def release(self) -> None:
        """Let them close it."""
        assert self._server.stdin is not None
        self._server.stdin.write("\n")
        self._server.stdin.flush()


@pytest.fixture
def files() -> Iterator[HeldFiles]:
    with tempfile.TemporaryDirectory(prefix="procconn-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with program("held_files", str(folder)) as server:
            assert server.stdout is not None
            if server.stdout.readline() != "ready\n":
                pytest.skip("no FUSE file system can be mounted here")
            yield HeldFiles(server, folder)


def tell(burst: subprocess.Popen[str]) -> None:
    assert burst.stdin is not None
    burst.stdin.write(".")
    burst.stdin.flush()


@contextmanager
def held(files: HeldFiles, count: int = HELD) -> Iterator[list[int]]:
    """Give processes that are in the middle of an exec until the end."""
    stages = str(compiled("stages"))
    with files.run(compiled("burst"), count, stages, "held", stages) as burst:
        assert burst.stdin is not None
        assert burst.stdout is not None
        tell(burst)
        pids = [int(burst.stdout.readline()) for _ in range(count)]
        tell(burst)
        files.wait(count)
        try:
            yield pids
        finally:
            files.release()
            assert burst.stdout.readline() == "ended\n"
            burst.stdin.close()


def share_of(others: int) -> float:
    """Of many, 99 in a hundred are right; others may have the CPUs for a moment."""
    return 0.99 if others == MANY else 0.9


def run_others(connector: ProcConnector, others: int) -> tuple[int, int]:
    """Run programs; count how many of them were right, and wrong."""
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
    found = [(serials[pid], it) for pid, it in programs_in(events) if pid in serials]
    assert others == len(found)
    right = sum(it.argv == ("true", serial) for serial, it in found)
    absent = sum(it.argv is None for _, it in found)
    return right, others - right - absent


@many
def test_execs_that_are_held_keep_no_others_from_being_read(
    files: HeldFiles, others: int
) -> None:
    with ProcConnector(MASK, programs=True) as connector:
        with held(files):
            right, wrong = run_others(connector, others)
        realtime = is_realtime(connector)

    assert 0 == wrong
    assert right >= share_of(others) * others or not realtime


@many
def test_nor_do_they_if_all_are_held_before_they_are_read(
    files: HeldFiles, others: int
) -> None:
    before = threads()
    with (
        ProcConnector(MASK, programs=True) as connector,
        delayed_readers(before) as delay,
    ):
        delay.begin(300)
        with held(files):
            delay.end()
            right, wrong = run_others(connector, others)
        realtime = is_realtime(connector)

    assert 0 == wrong
    assert right >= share_of(others) * others or not realtime


@contextmanager
def waited_for(files: HeldFiles, delay: Delay) -> Iterator[int]:
    """Give a process whose arguments a reader here waits for, until the end."""
    delay.begin(500)  # its memory is locked by then
    with files.run(compiled("lock")) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            delay.end()
            wait_for(lambda: waiting_for(process.pid) == len(TO_LOCK))
            yield process.pid
        finally:
            files.release()


def waiting_for(pid: int) -> int:
    """Count the threads here that wait for the arguments of a process.

    They have descriptors of their own.
    """
    path = f"/proc/{pid}/cmdline"
    count = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            text = (task / "syscall").read_text()
            count += os.readlink(f"{task}/fd/{int(text.split()[1], 16)}") == path
        except (OSError, IndexError, ValueError):
            continue  # it runs, has ended, or has another call
    return count


@many
def test_arguments_that_are_waited_for_keep_no_others_from_being_read(
    files: HeldFiles, others: int
) -> None:
    """Not even from closing the connector."""
    before = threads()
    with (
        ProcConnector(MASK, programs=True) as connector,
        delayed_readers(before) as delay,
    ):
        with waited_for(files, delay) as pid:
            right, wrong = run_others(connector, others)
            realtime = is_realtime(connector)
            connector.close()
            was_waited_for = waiting_for(pid) > 0
        wait_for(lambda: not waiting_for(pid))

    assert was_waited_for
    assert 0 == wrong
    assert right >= share_of(others) * others or not realtime
