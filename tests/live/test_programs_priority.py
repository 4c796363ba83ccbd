"""The priority of the program reader, with and without privilege."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.exec_programs import (
    is_realtime,
    program_reader,
    requires_ordinary_user,
    threads,
)
from support.live import DEADLINE
from support.machine import NOBODY, has_realtime_priority
from support.sandbox import NO_PRIORITY, run_sandboxed
from support.subprocesses import PROGRAMS, program, run

from procconn import EventMask, ProcConnector

requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")


@pytest.fixture
def group_without_runtime() -> Iterator[Path]:
    """Create a cgroup without real-time runtime."""
    directory = Path(f"/sys/fs/cgroup/cpu/procconn-{os.getpid()}")
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"requires the cgroup v1 cpu controller: {error}")
    try:
        if not (directory / "cpu.rt_runtime_us").exists():
            pytest.skip("requires CONFIG_RT_GROUP_SCHED")
        yield directory
    finally:
        directory.rmdir()


def priority_obstacle(*arguments: str | Path) -> str:
    with program("priority", *map(str, arguments)) as process:
        output, _ = process.communicate()
    assert isinstance(output, str)
    return output.strip()


@requires_root
def test_missing_capability_is_reported() -> None:
    if priority_obstacle("nothing") != "nothing":
        pytest.skip("requires real-time priority")

    assert "capability" == priority_obstacle("capability")


@requires_root
def test_sandbox_is_reported() -> None:
    if priority_obstacle("nothing") != "nothing":
        pytest.skip("requires real-time priority")
    refused = run_sandboxed(NO_PRIORITY, PROGRAMS / "priority.py", "nothing")

    assert ("sandbox\n", "") == (refused.stdout, refused.stderr)


@requires_root
def test_cgroup_without_runtime_is_reported(group_without_runtime: Path) -> None:
    assert "runtime" == priority_obstacle("runtime", group_without_runtime)


@requires_ordinary_user
def test_unprivileged_user_gets_each_warning_once() -> None:
    """The warnings name the line that opened the connector."""
    code = """
import warnings
from procconn import ProcConnector
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with ProcConnector(programs=True, usage=True, receive_buffer=4096) as connector:
        connector.recv(0)
for warning in caught:
    print(issubclass(warning.category, RuntimeWarning), warning.lineno, warning.message)
"""
    done = run(*NOBODY, sys.executable, "-c", code)
    lines = done.stdout.splitlines()

    assert "" == done.stderr
    assert 2 == len(lines), lines
    programs, usage = lines
    assert programs.startswith("True 6 programs are read at normal priority")
    assert "CAP_SYS_NICE" in programs
    assert usage.startswith("True 6 usage is not reported")
    assert "CAP_NET_ADMIN" in usage


@requires_ordinary_user
def test_unprivileged_user_gets_no_wrong_program() -> None:
    done = run(*NOBODY, sys.executable, PROGRAMS / "unprivileged.py")

    assert ("60\n", "") == (done.stdout, done.stderr)


@pytest.fixture
def realtime_thread() -> Iterator[Path]:
    before = threads()
    with ProcConnector(EventMask.EXEC, programs=True) as connector:
        if not is_realtime(connector):
            pytest.skip("requires real-time priority")
        thread = program_reader(before)
        task = Path("/proc/self/task", str(thread))
        assert has_realtime_priority(task)
        yield task


@pytest.mark.heavy
def test_burst_of_other_events_does_not_wake_the_realtime_thread(
    realtime_thread: Path,
) -> None:
    """The thread may run for any exec, but not for a million COMM events."""

    def runs() -> int:
        return int((realtime_thread / "schedstat").read_text().split()[2])

    with ProcConnector(EventMask.EXEC) as connector:
        before = runs()
        with program("rename", 1_000_000, 0) as renamer:
            renamer.wait(DEADLINE)
        ran = runs() - before
        execs = len(connector.recv_many(0))

    assert ran < 1000 + 10 * execs  # waiting for a lock in /proc also counts as a run
