"""Resource usage of processes at exit, compared with the result of wait4(2)."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.live import DEADLINE
from support.machine import KERNEL
from support.subprocesses import PROGRAMS, run_python, spawn

from procconn import EventMask, Exit, Lost, ProcConnector
from procconn.processes import Ended, Process, ProcessMonitor

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="taskstats requires root")

QUEUE = 64 << 20  # holds the events of other processes while a test waits
COSTLY = str(PROGRAMS / "costly.py")
RUSAGE_BLOCK = 512  # bytes of a block in ru_oublock


def wait_for_end(monitor: ProcessMonitor, pid: int) -> Process:
    for change in monitor:
        if isinstance(change, Ended) and change.process.pid == pid:
            return change.process
    raise AssertionError("the monitor was closed")


def check(process: Process, used: resource.struct_rusage) -> None:
    """Compare the usage of a process with the result of wait4()."""
    usage = process.usage
    assert usage is not None
    assert usage.cpu_ns is not None
    assert usage.cpu_ns / 1e9 == pytest.approx(used.ru_utime + used.ru_stime, rel=0.1)
    # ru_maxrss includes the time between fork and exec, at the size of this process.
    if used.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        assert usage.peak_rss == pytest.approx(used.ru_maxrss * 1024, rel=0.05)
    assert used.ru_oublock * RUSAGE_BLOCK == usage.write_bytes
    assert usage.write_chars is not None


def test_usage_sums_all_threads_of_a_process(tmp_path: Path) -> None:
    with ProcessMonitor(usage=True, programs=False, queue=QUEUE) as monitor:
        pid = spawn(sys.executable, COSTLY, str(tmp_path / "file"))
        used = os.wait4(pid, 0)[2]
        process = wait_for_end(monitor, pid)

    check(process, used)
    assert process.usage is not None
    assert (process.usage.write_chars or 0) >= 10 << 20
    if used.ru_oublock:  # 0 on tmpfs
        assert (process.usage.write_bytes or 0) >= 10 << 20


def test_usage_of_a_grandchild_matches_wait4(tmp_path: Path) -> None:
    parent = """
import os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
used = os.wait4(pid, 0)[2]
print(pid, used.ru_utime + used.ru_stime, used.ru_maxrss, used.ru_oublock)
"""
    command = [sys.executable, "-c", parent, COSTLY, str(tmp_path / "file")]
    with ProcessMonitor(usage=True, programs=False, queue=QUEUE) as monitor:
        output = subprocess.check_output(command, text=True, timeout=DEADLINE)
        pid, cpu, peak, written = output.split()
        usage = wait_for_end(monitor, int(pid)).usage

    assert usage is not None
    assert (usage.cpu_ns or 0) / 1e9 == pytest.approx(float(cpu), rel=0.1)
    assert usage.peak_rss == pytest.approx(int(peak) * 1024, rel=0.05)
    assert int(written) * RUSAGE_BLOCK == usage.write_bytes


@pytest.mark.parametrize("name", ["leader_ends_first", "thread_execs"])
def test_usage_is_complete_without_the_thread_group_leader(name: str) -> None:
    with ProcessMonitor(usage=True, programs=False, queue=QUEUE) as monitor:
        pid = spawn(sys.executable, str(PROGRAMS / f"{name}.py"))
        used = os.wait4(pid, 0)[2]
        usage = wait_for_end(monitor, pid).usage

    assert usage is not None
    assert used.ru_minflt == usage.minor_faults
    assert (usage.cpu_ns or 0) / 1e9 == pytest.approx(
        used.ru_utime + used.ru_stime, rel=0.1, abs=0.01
    )


@pytest.mark.heavy
@pytest.mark.parametrize("count", [1000, pytest.param(6000, marks=pytest.mark.slow)])
def test_usage_of_short_processes_is_not_mixed_up(count: int) -> None:
    """Exactly the large processes have a large peak_rss."""
    command = (sys.executable, "-S", "-c", "b'1' * (64 << 20)")
    large: set[int] = set()
    pids: set[int] = set()

    def start() -> None:
        for number in range(count // 2):
            is_large = number % 100 == 0
            pid = spawn(*command) if is_large else spawn("/bin/true")
            pids.add(pid)
            if is_large:
                large.add(pid)
            os.waitpid(pid, 0)

    starters = [threading.Thread(target=start) for _ in range(2)]
    peaks: dict[int, int | None] = {}
    with ProcConnector(
        EventMask.EXIT, usage=True, threads=False, queue=QUEUE
    ) as connector:
        for thread in starters:
            thread.start()
        while any(t.is_alive() for t in starters) or not pids <= peaks.keys():
            for event in connector.recv_many(1):
                if isinstance(event, Exit):
                    peaks[event.pid] = event.usage and event.usage.peak_rss
        assert (0, 0) == (connector.lost, connector.usage_lost)

    assert len(pids) == count
    assert [] == [pid for pid in pids if peaks[pid] is None]
    assert large == {pid for pid in pids if (peaks[pid] or 0) > 64 << 20}


@pytest.mark.heavy
@pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="requires make and cc"
)
@pytest.mark.parametrize("files", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_cpu_time_of_a_build_matches_wait4(files: int, tmp_path: Path) -> None:
    names = [f"{number}.o" for number in range(files)]
    (tmp_path / "Makefile").write_text(f"all: {' '.join(names)}\n")
    for number in range(files):
        functions = "".join(
            f"int f{number}_{n}(int x) {{ return x * {n} + {number}; }}\n"
            for n in range(400)
        )
        (tmp_path / f"{number}.c").write_text(f"#include <stdio.h>\n{functions}")
    cpu_ns = 0
    with (
        ProcessMonitor(usage=True, programs=False, queue=QUEUE) as monitor,
        ThreadPoolExecutor() as pool,
    ):
        make = subprocess.Popen(["make", "--silent", "-j2", "-C", tmp_path])
        tree = {make.pid}
        waiting = pool.submit(os.wait4, make.pid, 0)
        for change in monitor:
            assert not isinstance(change, Lost)
            if change.process.ppid in tree:
                tree.add(change.process.pid)
            if isinstance(change, Ended) and change.process.pid in tree:
                assert change.process.usage is not None
                cpu_ns += change.process.usage.cpu_ns or 0
                if change.process.pid == make.pid:
                    break
        used = waiting.result(DEADLINE)[2]
        make.returncode = 0

    assert cpu_ns / 1e9 == pytest.approx(used.ru_utime + used.ru_stime, rel=0.05)


@pytest.mark.skipif(KERNEL < (6, 6), reason="unprivileged use requires Linux 6.6")
def test_unprivileged_user_gets_one_warning_and_no_usage() -> None:
    result = run_python(
        """
import os, warnings
from procconn import EventMask, Exit, ProcConnector
os.setresuid(65534, 65534, 65534)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with ProcConnector(EventMask.EXIT, usage=True, receive_buffer=4096) as connector:
        exits = []
        while not exits:  # the small buffer may lose an EXIT: try again
            pid = os.posix_spawn("/bin/true", ["true"], {})
            os.waitpid(pid, 0)
            events = connector.recv_many(30)
            exits = [e for e in events if isinstance(e, Exit) and e.pid == pid]
print(exits[0].usage, len(caught), "CAP_NET_ADMIN" in str(caught[0].message))
"""
    )

    assert ("None 1 True\n", "") == (result.stdout, result.stderr)
