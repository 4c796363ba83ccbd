"""Usage in the stream: in every read mode, and when records are missing."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
from support.live import DEADLINE, events_until
from support.read_modes import LAST, READ_MODES, ReadMode, is_last
from support.subprocesses import spawn, started
from support.usage import exits_by_pid, usage_at_exit

from procconn import EventMask, Exit, ProcConnector
from procconn.processes import Ended, ProcessMonitor

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="taskstats requires root")

TRUE = ("/bin/true",)
LARGE = ("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1", "status=none")
MIB_64 = 64 << 20

BURN_IN_A_THREAD = """
import threading, time
def burn():
    while time.thread_time() < 0.3:
        pass
thread = threading.Thread(target=burn)
thread.start()
thread.join()
"""


def run_each(*commands: tuple[str, ...]) -> list[int]:
    pids = []
    for command in commands:
        pids.append(spawn(*command))
        os.waitpid(pids[-1], 0)
    return pids


@pytest.mark.parametrize("queue", [0, 1 << 20])
@pytest.mark.parametrize("mode", READ_MODES)
def test_every_read_mode_delivers_usage(mode: ReadMode, queue: int) -> None:
    """Only the large process has a large peak_rss."""
    commands = [TRUE, TRUE, LARGE, TRUE, TRUE, LAST]
    with (
        ProcConnector(EventMask.EXIT, usage=True, queue=queue) as connector,
        ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(run_each, *commands)
        exits = exits_by_pid(mode(connector))
        pids = running.result(DEADLINE)
        lost = connector.lost, connector.usage_lost

    assert (0, 0) == lost
    peaks = []
    for pid in pids[:-1]:  # iterations stop before the last EXIT
        usage = exits[pid].usage
        assert usage is not None
        peaks.append(usage.peak_rss or 0)
    assert [False, False, True, False, False] == [peak > MIB_64 for peak in peaks]


@pytest.mark.parametrize("max_latency", [0, 0.01])
def test_usage_is_delivered_at_any_max_latency(max_latency: float) -> None:
    with ProcConnector(usage=True, max_latency=max_latency) as connector:
        pids = [pid for _ in range(5) for pid in run_each(TRUE)]
        run_each(LAST)
        exits = exits_by_pid(events_until(connector, is_last))

    assert None not in [exits[pid].usage for pid in pids]


def test_overrun_leaves_exits_without_usage_and_is_counted() -> None:
    """Records need more space than EXITs, so only records are lost."""
    count = 30
    with ProcConnector(
        EventMask.EXIT, threads=False, usage=True, receive_buffer=16_384
    ) as connector:
        pids = run_each(*[TRUE] * count)
        exits = exits_by_pid(connector.recv_many(DEADLINE))
        usage_lost = connector.usage_lost
        after, deadline = None, time.monotonic() + DEADLINE
        while after is None and time.monotonic() < deadline:
            after = usage_at_exit(connector, *run_each(TRUE))
    lost = connector.usage_lost

    assert set(exits) & set(pids)
    assert {None} == {exits[pid].usage for pid in pids if pid in exits}
    assert count <= usage_lost <= lost
    assert after is not None


def test_late_reader_gets_the_usage_of_thousands_of_exits() -> None:
    """The first batch of EXITs drains the records of all."""
    count = 10_000
    with ProcConnector(EventMask.EXIT, usage=True) as connector:
        for _ in range(count):
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
        ours = (
            event
            for event in connector
            if isinstance(event, Exit) and event.tgid == os.getpid()
        )
        usages = [event.usage for event in islice(ours, count)]

        assert (usages.count(None), connector.usage_lost) == (0, 0)


def test_records_of_filtered_exits_are_not_matched_with_others() -> None:
    with ProcConnector(EventMask.NONZERO_EXIT, usage=True) as connector:
        run_each(LARGE, TRUE)
        usage = usage_at_exit(connector, *run_each(("/bin/false",)))
        run_each(LARGE)
        connector.subscribe(EventMask.EXIT)
        later = usage_at_exit(connector, *run_each(TRUE))

    assert usage is not None
    assert later is not None
    assert (usage.peak_rss or 0) < MIB_64
    assert (later.peak_rss or 0) < MIB_64


def test_exit_has_usage_of_the_leader_and_process_of_all_threads() -> None:
    with (
        ProcConnector(EventMask.EXIT, threads=False, usage=True) as connector,
        ProcessMonitor(usage=True, programs=False, tree=os.getpid()) as monitor,
    ):
        (pid,) = run_each((sys.executable, "-c", BURN_IN_A_THREAD))
        own = usage_at_exit(connector, pid)
        process_usage = next(
            change.process.usage
            for change in monitor
            if isinstance(change, Ended) and change.process.pid == pid
        )

    assert own is not None
    assert process_usage is not None
    assert (process_usage.cpu_ns or 0) - (own.cpu_ns or 0) > 250_000_000


def test_exit_of_a_thread_has_the_usage_of_the_thread() -> None:
    def burn() -> None:
        while time.thread_time() < 0.2:
            pass

    with ProcConnector(EventMask.EXIT, usage=True) as connector:
        idle = threading.Thread(target=int)
        idle.start()
        idle.join()
        thread = threading.Thread(target=burn)
        thread.start()
        assert thread.native_id is not None
        usage = usage_at_exit(connector, thread.native_id)
        thread.join()

    assert usage is not None
    assert 180_000_000 < (usage.cpu_ns or 0) < 400_000_000


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_close_in_a_forked_child_keeps_accounting() -> None:
    with ProcConnector(EventMask.EXIT, usage=True) as connector:
        child = os.fork()
        if child == 0:
            connector.close()
            os._exit(0)
        os.waitpid(child, 0)

        assert usage_at_exit(connector, *run_each(TRUE)) is not None


def test_usage_with_programs() -> None:
    with ProcConnector(programs=True, usage=True) as connector:
        with started("cat", "some argument") as process:
            process.communicate()
        usage = usage_at_exit(connector, process.pid)

    assert usage is not None


def test_usage_lost_is_available_after_close() -> None:
    connector = ProcConnector(
        EventMask.EXIT, threads=False, usage=True, receive_buffer=16_384
    )
    run_each(*[TRUE] * 30)
    connector.recv_many(DEADLINE)
    before = connector.usage_lost
    connector.close()

    assert 30 <= before <= connector.usage_lost


def test_pre_existing_process_has_usage() -> None:
    with (
        started("cat") as process,
        ProcConnector(EventMask.EXIT, usage=True) as connector,
    ):
        process.communicate()
        usage = usage_at_exit(connector, process.pid)

    assert usage is not None
    assert usage.elapsed_ns is not None
