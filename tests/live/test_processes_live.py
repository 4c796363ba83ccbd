"""ProcessMonitor and snapshots on the running kernel."""

import asyncio
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.blocking import wait_until_blocked
from support.c_programs import REPORTED_STATUS, WAIT_STATUS, compiled
from support.live import DEADLINE, preserve_name, set_serials
from support.machine import PYTHON
from support.subprocesses import PROGRAMS, close_stdin, run, started_with_pid

from procconn import Lost
from procconn.processes import (
    Change,
    Ended,
    Executed,
    ProcessMonitor,
    Started,
    take_snapshot,
)


def changes_of(monitor: ProcessMonitor, pid: int) -> list[Change]:
    """Receive the changes of a PID, up to its first Ended."""
    reported: list[Change] = []
    for change in monitor:
        if not isinstance(change, Lost) and change.process.pid == pid:
            reported.append(change)
            if isinstance(change, Ended):
                return reported
    raise AssertionError("the monitor was closed")


def kinds(changes: Sequence[Change]) -> list[type]:
    return [type(change) for change in changes]


@pytest.mark.parametrize("how", WAIT_STATUS)
def test_process_ends_with_its_last_thread(lifetimes: Path, how: str) -> None:
    """The returncode is the status that wait(2) returns, or None."""
    with (
        ProcessMonitor(programs=False) as monitor,
        started_with_pid(lifetimes, how) as (program, pid),
    ):
        close_stdin(program)
        changes = changes_of(monitor, pid)
        status = program.wait(DEADLINE)

    process = changes[-1].process if isinstance(changes[-1], Ended) else None
    assert process is not None
    execs = [Executed] * (2 if "exec" in how else 1)
    assert kinds(changes) == [Started, *execs, Ended]
    assert (process.returncode, status) == (REPORTED_STATUS[how], WAIT_STATUS[how])
    assert (process.ppid, process.known_since) == (os.getpid(), "start")
    assert process.duration is not None
    assert process.duration > 0


@pytest.mark.parametrize("how", WAIT_STATUS)
def test_pre_existing_process_is_tracked_to_its_end(lifetimes: Path, how: str) -> None:
    with (
        started_with_pid(lifetimes, how) as (program, pid),
        ProcessMonitor(programs=False) as monitor,
    ):
        process = monitor.processes[pid]
        close_stdin(program)
        changes = changes_of(monitor, pid)
        program.wait(DEADLINE)

    assert kinds(changes) == [Executed] * ("exec" in how) + [Ended]
    assert all(
        not isinstance(change, Lost) and change.process is process for change in changes
    )
    assert process.known_since == "snapshot"
    assert process.returncode == REPORTED_STATUS[how]


def test_monitor_reports_programs_and_usage() -> None:
    """Each value is correct or None. The process has the name of its program."""
    with ProcessMonitor(tree=os.getpid(), usage=True) as monitor:
        with subprocess.Popen(["sh", "-c", "sleep 0.1; exit 3"]) as child:
            pass
        changes = changes_of(monitor, child.pid)

    executed, ended = changes[1:]
    assert isinstance(executed, Executed)
    assert executed.program is not None
    assert executed.process.program is executed.program
    assert executed.program.argv in {("sh", "-c", "sleep 0.1; exit 3"), None}
    assert executed.process.name == executed.program.name
    assert isinstance(ended, Ended)
    used = ended.process.usage
    assert used is None or used.elapsed_ns is None or used.elapsed_ns > 100_000_000


def test_core_dump_is_reported_whichever_thread_exits_last(
    lifetimes: Path, tmp_path: Path
) -> None:
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
        pytest.skip("core dumps are piped to a program")
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    command = ["sh", "-c", f"cd '{tmp_path}' && exec '{lifetimes}' core"]
    try:
        with (
            ProcessMonitor(programs=False) as monitor,
            started_with_pid(*command) as (program, pid),
        ):
            close_stdin(program)
            ended = changes_of(monitor, pid)[-1]
            program.wait(DEADLINE)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)
    if not any(tmp_path.iterdir()):
        pytest.skip("no core was dumped")

    assert isinstance(ended, Ended)
    assert (ended.process.signal, ended.process.dumped_core) == (signal.SIGABRT, True)


def test_tree_includes_reparented_daemons(lifetimes: Path) -> None:
    """`ppid` is still the PID of the process that forked the daemon."""
    with ProcessMonitor(tree=os.getpid(), programs=False) as monitor:
        with started_with_pid(lifetimes, "double-fork") as (program, daemon):
            program.wait(DEADLINE)
            close_stdin(program)
        changes = changes_of(monitor, daemon)

    assert isinstance(changes[0], Started)
    process = changes[0].process
    assert process.returncode == 4
    assert process.ppid not in {os.getpid(), program.pid}


def test_tree_excludes_other_processes(lifetimes: Path) -> None:
    with (
        started_with_pid(lifetimes, "leader-first") as (program, root),
        ProcessMonitor(tree=root, programs=False) as monitor,
    ):
        subprocess.run(["true"], check=True)
        close_stdin(program)
        changes = monitor.recv_many(DEADLINE)

    assert [Ended] == kinds(changes)
    assert not monitor.processes


def test_tree_root_must_exist() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    with pytest.raises(ProcessLookupError, match=f"no process {gone.pid}"):
        ProcessMonitor(tree=gone.pid, programs=False)


def test_reused_pid_is_another_process() -> None:
    with ProcessMonitor(tree=os.getpid(), programs=False) as monitor:
        done = subprocess.run(
            [compiled("same_pid")], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            pytest.skip("cannot choose the next PID")
        first, second = (changes_of(monitor, int(done.stdout)) for _ in range(2))

    assert kinds(first) == kinds(second) == [Started, Ended]
    ends = [
        change.process
        for change in (first[-1], second[-1])
        if isinstance(change, Ended)
    ]
    assert [1, 2] == [process.returncode for process in ends]
    assert ends[0] is not ends[1]


def test_monitor_resynchronizes_after_an_overrun() -> None:
    """Processes that started or ended during the overrun are reported."""
    with (
        ProcessMonitor(receive_buffer=8192, programs=False) as monitor,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as old,
    ):
        changes = _until(monitor, lambda: old.pid in monitor.processes)
        process = monitor.processes[old.pid]
        with preserve_name():
            set_serials(range(1000))  # fills the receive buffer
        new = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        old.kill()
        old.wait()
        changes += _until(
            monitor,
            lambda: old.pid not in monitor.processes and new.pid in monitor.processes,
        )
        new.communicate(timeout=DEADLINE)
        changes += _until(monitor, lambda: new.pid not in monitor.processes)

    assert any(isinstance(change, Lost) for change in changes)
    assert process.returncode in {None, -9}  # its EXIT may arrive after wait(2)
    assert not process.is_running
    reported = [
        change
        for change in changes
        if not isinstance(change, Lost) and change.process is process
    ]
    assert kinds(reported) in ([Started, Executed, Ended], [Started, Ended])
    started = [
        change
        for change in changes
        if isinstance(change, Started) and change.process.pid == new.pid
    ]
    ended = [
        change
        for change in changes
        if isinstance(change, Ended) and change.process.pid == new.pid
    ]
    assert [change.process for change in started] == [
        change.process for change in ended
    ]
    assert ended[0].process.returncode in {0, None}  # the EXIT may be lost, too


def _until(monitor: ProcessMonitor, condition: Callable[[], bool]) -> list[Change]:
    changes: list[Change] = []
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, changes
        changes += monitor.recv_many(deadline - time.monotonic())
    return changes


def test_async_iteration_reports_the_same_changes(lifetimes: Path) -> None:
    async def receive(monitor: ProcessMonitor, pid: int) -> list[type]:
        found = []
        async with monitor:
            async for change in monitor:
                if not isinstance(change, Lost) and change.process.pid == pid:
                    found.append(type(change))
                    if isinstance(change, Ended):
                        break
        return found

    with (
        ProcessMonitor(programs=False) as monitor,
        started_with_pid(lifetimes, "leader-first") as (program, pid),
    ):
        close_stdin(program)

        assert [Started, Executed, Ended] == asyncio.run(receive(monitor, pid))
        assert monitor.closed


def test_close_by_another_thread_ends_iteration() -> None:
    with (
        ProcessMonitor(tree=os.getpid(), programs=False) as monitor,
        ThreadPoolExecutor() as pool,
    ):
        changes = pool.submit(list, monitor)
        wait_until_blocked(next(iter(pool._threads)))
        monitor.close()

        assert changes.result(DEADLINE)[1:] == []
        with pytest.raises(ValueError, match="closed"):
            iter(monitor)


def test_snapshot_includes_the_threads_of_each_process(lifetimes: Path) -> None:
    with started_with_pid(lifetimes, "leader-first") as (_, pid):
        task = Path(f"/proc/{pid}/stat")
        while task.read_text().split()[2] != "Z":  # until the leader is a zombie
            time.sleep(0.001)
        before = time.monotonic_ns()
        entries = {entry.pid: entry for entry in take_snapshot().processes}
    mine, other = entries[os.getpid()], entries[pid]

    assert threading.get_native_id() in mine.threads
    assert (mine.ppid, other.ppid) == (os.getppid(), os.getpid())
    assert len(other.threads) == 1
    assert pid not in other.threads
    assert before < mine.before_ns < mine.after_ns
    assert mine.started_ns is not None
    assert other.started_ns is not None
    assert mine.started_ns <= other.started_ns < before


def test_running_processes_are_not_reported_as_ended_on_emfile() -> None:
    """Reads fail with EMFILE until the monitor can read /proc again."""
    done = run(*PYTHON, str(PROGRAMS / "monitor_without_descriptors.py"))

    assert json.loads(done.stdout or done.stderr) == {
        "errors": [errno.EMFILE, errno.EMFILE],
        "lost": True,
        "ended_early": False,
        "known": [True, True],
        "killed_is_reported_later": True,
        "still_running": True,
    }


def test_snapshot_includes_kernel_threads_and_programs() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        entries = {entry.pid: entry for entry in take_snapshot(programs=True).processes}
        child.kill()
    mine = entries[child.pid]

    assert mine.program is not None
    assert mine.program.argv == ("sleep", "600")
    assert (mine.uid, mine.euid) == (os.getuid(), os.geteuid())
    assert not mine.is_kernel_thread
    kernel = {entry.pid for entry in entries.values() if entry.is_kernel_thread}
    assert kernel == {
        pid for pid, entry in entries.items() if 2 in (pid, entry.ppid) and entry.name
    }
    assert {None} >= {entries[pid].program for pid in kernel}


_CHECK_UNSUPPORTED = """
import procconn
from procconn.processes import ProcessMonitor, wait
for attempt in (
    lambda: procconn.ProcConnector(programs=True),
    lambda: procconn.read_program(1),
    lambda: ProcessMonitor(programs=False),
    lambda: wait([1], 0),
):
    try:
        attempt()
    except procconn.UnsupportedError as error:
        print("PID namespace; mount" in str(error) or "time namespace" in str(error))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
@pytest.mark.parametrize(
    "setup", ["umount -l /proc", "unshare --pid --fork mount -t proc proc /proc"]
)
def test_proc_of_another_pid_namespace_is_rejected(setup: str) -> None:
    """The PIDs in such a /proc do not match the PIDs of events."""
    line = f"{setup} && exec {sys.executable} -c '{_CHECK_UNSUPPORTED}'"
    done = run("unshare", "--mount", "sh", "-c", line)

    assert done.stdout.split() == ["True"] * 4, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
def test_time_namespace_is_rejected() -> None:
    """The clocks of a time namespace differ from the clock of events."""
    shifted = ["unshare", "--time", "--monotonic", "100000", "--fork"]
    if run(*shifted, "true").returncode:
        pytest.skip("requires time namespaces")
    done = run(*shifted, sys.executable, "-c", _CHECK_UNSUPPORTED)

    assert done.stdout.split() == ["True"] * 4, done.stderr
