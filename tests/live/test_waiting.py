"""wait() and wait_async() for any process, on the running kernel."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.blocking import wait_until_blocked
from support.c_programs import REPORTED_STATUS, WAIT_STATUS
from support.live import DEADLINE
from support.machine import KERNEL
from support.subprocesses import any_user_can_run_python, close_stdin, started_with_pid

from procconn import Event, ProcConnector
from procconn.processes import Process, take_snapshot, wait, wait_async
from procconn.processes.waiting import _read_exit_code


def expected_status(how: str) -> int | None:
    return REPORTED_STATUS.get(how, 4)


@contextmanager
def waiting(pid: int) -> Iterator[Future[dict[int, Process]]]:
    """Wait for a process in another thread; yield when that thread is blocked."""
    with ThreadPoolExecutor() as pool:
        future = pool.submit(wait, [pid], DEADLINE)
        wait_until_blocked(next(iter(pool._threads)))
        yield future


@pytest.mark.parametrize("how", [*REPORTED_STATUS, "double-fork"])
def test_wait_returns_the_status_of_any_process(lifetimes: Path, how: str) -> None:
    expected = expected_status(how)
    with started_with_pid(lifetimes, how) as (program, pid), waiting(pid) as future:
        close_stdin(program)

        assert expected == future.result()[pid].returncode


def test_wait_returns_the_signal_of_a_non_child(
    lifetimes: Path,
) -> None:
    with started_with_pid(lifetimes, "double-fork") as (_, pid), waiting(pid) as future:
        os.kill(pid, signal.SIGTERM)

        process = future.result()[pid]
        assert (process.returncode, process.signal) == (-15, signal.SIGTERM)


def test_wait_raises_for_an_ended_process() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()

    with pytest.raises(ProcessLookupError, match=f"no process {gone.pid}"):
        wait([gone.pid])


@pytest.mark.parametrize("pid", [0, -1, 2**31])
def test_wait_raises_for_an_impossible_pid(pid: int) -> None:
    with pytest.raises(ProcessLookupError, match=f"no process {pid}"):
        wait([pid])


def test_wait_raises_for_a_thread() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        with pytest.raises(ProcessLookupError, match="thread"):
            wait([thread.native_id])
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("script", "expected"), [("exit 3", 3), ("exit 0", 0), ("kill -9 $$", -9)]
)
def test_wait_returns_a_zombie_at_once(script: str, expected: int) -> None:
    with subprocess.Popen(["sh", "-c", script]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)

        process = wait([zombie.pid])[zombie.pid]

    assert expected == process.returncode
    assert process.duration is None, "the time of the exit is unknown"


@pytest.mark.parametrize("how", WAIT_STATUS)
def test_status_of_a_zombie_matches_wait(lifetimes: Path, how: str) -> None:
    """Before Linux 5.17 /proc has the status of the leader, not of the process."""
    with started_with_pid(lifetimes, how) as (program, pid):
        close_stdin(program)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        returncode = wait([pid])[pid].returncode
        status = program.wait(DEADLINE)

    known = KERNEL >= (5, 17)
    assert (WAIT_STATUS[how], status if known else None) == (status, returncode)


def test_status_of_a_later_process_with_the_same_pid_is_ignored() -> None:
    with subprocess.Popen(["sh", "-c", "exit 3"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        (entry,) = take_snapshot([zombie.pid]).processes
        codes = []
        for age_ns in (1_000_000_000, 0):
            started_ns = (entry.started_ns or 0) - age_ns
            process = Process(
                zombie.pid,
                1,
                None,
                name=None,
                started_ns=started_ns,
                known_since="start",
            )
            process.ended_ns = entry.after_ns
            _read_exit_code(process)
            codes.append(process.returncode)

    assert codes == [None, 3]


_AS_NOBODY = """
import os, sys
from procconn.processes import wait
os.setgid(65534), os.setuid(65534)
print({pid: process.returncode for pid, process in wait([int(sys.argv[1])]).items()})
"""


def test_wait_returns_none_if_the_status_may_not_be_read() -> None:
    if os.geteuid():
        pytest.skip("requires root")
    with subprocess.Popen(["sh", "-c", "exit 3"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        command = [sys.executable, "-c", _AS_NOBODY, str(zombie.pid)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)

    assert f"{{{zombie.pid}: None}}\n" == done.stdout


_HIDDEN = """
from procconn.processes import take_snapshot, wait
entries = take_snapshot(known=[1]).processes
print([entry.started_ns for entry in entries if entry.pid == 1])
try:
    wait([1])
except PermissionError as error:
    print(error)
"""


@pytest.mark.skipif(
    not any_user_can_run_python(), reason="requires a Python that any user can run"
)
@pytest.mark.parametrize("hidepid", [1, 2])
def test_hidden_process_is_in_snapshots_and_denied_to_wait(hidepid: int) -> None:
    as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    script = f'mount -t proc -o hidepid={hidepid} proc /proc && exec {as_nobody} "$@"'
    private = ["unshare", "--mount", "sh", "-c", script, "sh"]
    if os.geteuid() or subprocess.call([*private, "true"], stderr=subprocess.DEVNULL):
        pytest.skip("cannot mount /proc with hidepid")
    command = [*private, sys.executable, "-c", _HIDDEN]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)

    known, error = done.stdout.splitlines()
    assert known == "[None]"
    assert "hidepid=" in error


def test_wait_returns_ended_processes_on_timeout(lifetimes: Path) -> None:
    with (
        subprocess.Popen(["true"]) as ended,
        started_with_pid(lifetimes, "leader-first") as (_, pid),
    ):
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)

        assert [ended.pid] == list(wait([pid, ended.pid], timeout=0.05))
        assert {} == wait([pid], timeout=0)
        assert {} == wait([])


@pytest.mark.parametrize("how", ["leader-first", "double-fork"])
def test_wait_async_returns_the_status_of_any_process(
    lifetimes: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends as soon as wait_async() waits for events."""
    arecv_many = ProcConnector.arecv_many
    with started_with_pid(lifetimes, how) as (program, pid):

        async def end_and_receive(
            connector: ProcConnector, timeout: float | None
        ) -> list[Event]:
            close_stdin(program)
            return await arecv_many(connector, timeout)

        monkeypatch.setattr(ProcConnector, "arecv_many", end_and_receive)
        ended = asyncio.run(wait_async([pid], DEADLINE))

    assert expected_status(how) == ended[pid].returncode


def test_exit_is_not_missed_while_wait_starts() -> None:
    """A process that ends meanwhile is gone, or returned with its status."""
    for delay in range(40):
        child = subprocess.Popen(["sh", "-c", f"sleep 0.00{delay % 10}; exit 3"])
        reaper = threading.Thread(target=child.wait)
        reaper.start()
        try:
            codes = [
                process.returncode for process in wait([child.pid], DEADLINE).values()
            ]
        except ProcessLookupError:
            codes = [3]
        reaper.join()

        assert codes[0] in {3, None}
        assert len(codes) == 1
