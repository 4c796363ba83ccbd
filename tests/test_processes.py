"""The process table: events in, changes out."""

import gc
import os
import tracemalloc
from collections.abc import Callable

import pytest
from support.process_events import (
    MS,
    PROGRAM,
    S,
    execute,
    exit_event,
    feed,
    fork,
    snapshot,
    snapshot_entry,
    started,
    thread,
    usage,
)

from procconn import Comm, Event, Fork, Lost
from procconn.processes import Ended, Executed, Process, ProcessTable, Started, exits
from procconn.programs import Usage


def test_process_starts_executes_and_ends() -> None:
    table = ProcessTable()
    changes = feed(
        table,
        fork(10, S),
        execute(10, 2 * S, PROGRAM),
        exit_event(10, 10, 3 * S, 3 << 8),
    )
    process = changes[0][0]

    assert isinstance(process, Process)
    assert changes == [
        Started(process, S),
        Executed(process, PROGRAM, 2 * S),
        Ended(process, 3 * S),
    ]
    assert (process.pid, process.ppid, process.name) == (10, 1, "sh")
    assert process.program is PROGRAM
    assert (process.started_ns, process.ended_ns) == (S, 3 * S)
    assert (process.returncode, process.signal, process.duration) == (3, None, 2.0)
    assert not process.is_running
    assert not table.processes


def test_unknown_attributes_of_a_running_process_are_none() -> None:
    table, process = started()

    assert table.processes == {10: process}
    assert process.is_running
    assert (process.ended_ns, process.returncode, process.signal) == (None,) * 3
    assert (process.duration, process.usage, process.program) == (None,) * 3
    assert not process.dumped_core
    assert repr(process) == "<Process pid=10 name=None running>"


def test_signal_that_killed_a_process_is_named() -> None:
    table, process = started()
    table.feed(exit_event(10, 10, 2 * S, 11 | 128))

    assert process.signal is not None
    assert process.signal.name == "SIGSEGV"
    assert (process.returncode, process.dumped_core) == (-11, True)
    assert repr(process) == "<Process pid=10 name=None returncode=-11>"


def test_process_outlives_its_thread_group_leader() -> None:
    table, process = started(thread(11, 10, S + 1))

    assert [] == table.feed(exit_event(10, 10, 2 * S, 3 << 8))
    assert process.is_running
    assert [Ended(process, 3 * S)] == table.feed(exit_event(11, 10, 3 * S, 7 << 8))
    assert process.returncode == 7


def test_exec_by_another_thread_leaves_one_thread() -> None:
    """Threads exit before and after the exec; the leader may have the caller's TID."""
    table, process = started(*(thread(tid, 10, S + tid) for tid in (11, 12, 13)))
    changes = feed(
        table,
        exit_event(13, 10, 2 * S),
        exit_event(10, 10, 2 * S + 1),
        execute(10, 2 * S + 2),
        exit_event(12, 10, 2 * S + 3),
        exit_event(11, 10, 2 * S + 4),
    )

    assert changes == [Executed(process, None, 2 * S + 2)]
    assert [Ended(process, 3 * S)] == table.feed(exit_event(10, 10, 3 * S, 1 << 8))
    assert process.returncode == 1


@pytest.mark.parametrize("clones", [(), (thread(14, 10, 2 * S + 3),)])
def test_exit_of_the_leader_may_follow_the_exec_that_ended_it(
    clones: tuple[Event, ...],
) -> None:
    table, process = started(thread(11, 10, S + 1))
    feed(table, execute(10, 2 * S + 2), *clones)

    assert [] == table.feed(exit_event(10, 10, 2 * S + 1))
    ends = [exit_event(14, 10, 3 * S - 1)] if clones else []
    assert [Ended(process, 3 * S)] == feed(table, *ends, exit_event(10, 10, 3 * S))


def test_thread_that_was_already_exiting_does_not_set_the_status() -> None:
    """The exit of such a thread may follow the exit that ended the process."""
    table, process = started(thread(11, 10, S + 1))
    feed(table, exit_event(10, 10, 2 * S, 7 << 8), exit_event(11, 10, 2 * S + 50_000))

    assert (process.returncode, process.ended_ns) == (7, 2 * S + 50_000)


def test_core_dump_bit_of_any_thread_counts() -> None:
    table, process = started(thread(11, 10, S + 1))
    feed(
        table, exit_event(10, 10, 2 * S, 6 | 128), exit_event(11, 10, 2 * S + 50_000, 6)
    )

    assert (process.returncode, process.dumped_core) == (-6, True)


def test_threads_may_exit_long_after_the_one_with_the_core_dump_bit() -> None:
    table, process = started(thread(11, 10, S + 1))
    feed(table, exit_event(10, 10, 2 * S, 6 | 128), exit_event(11, 10, 3 * S, 6))

    assert (process.returncode, process.dumped_core) == (-6, True)


@pytest.mark.parametrize("last_thread_decides", [True, False])
@pytest.mark.parametrize(
    ("first", "last", "known"),
    [(0, 7 << 8, False), (3 << 8, 5 << 8, False), (7 << 8, 7 << 8, True), (0, 9, True)],
)
def test_status_may_be_unknown_before_linux_6_if_the_leader_exits_first(
    monkeypatch: pytest.MonkeyPatch,
    *,
    first: int,
    last: int,
    known: bool,
    last_thread_decides: bool,
) -> None:
    monkeypatch.setattr(exits, "_LAST_THREAD_DECIDES", last_thread_decides)
    table, process = started(thread(11, 10, S + 1))
    feed(table, exit_event(10, 10, 2 * S, first), exit_event(11, 10, 3 * S, last))
    expected = os.waitstatus_to_exitcode(last)

    assert process.returncode == (expected if known or last_thread_decides else None)
    assert process.duration == 2.0


def test_exec_replaces_an_exited_leader_before_linux_6(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exits, "_LAST_THREAD_DECIDES", False)
    table, process = started(thread(11, 10, S + 1))
    feed(table, exit_event(10, 10, 2 * S), execute(10, 2 * S + 1))
    feed(table, exit_event(10, 10, 3 * S, 7 << 8))

    assert process.returncode == 7


def test_reused_pid_is_another_process() -> None:
    table, first = started(exit_event(10, 10, 2 * S))
    (change,) = table.feed(fork(10, 3 * S))

    assert isinstance(change, Started)
    assert change.process is not first
    assert change.process != first


def test_exit_may_be_reported_after_its_pid_is_reused() -> None:
    """The parent can reap a process before the kernel reports the exit."""
    table, first = started()
    (next_start,) = table.feed(fork(10, 3 * S))
    ended = feed(table, exit_event(10, 10, 3 * S + 1, 1 << 8))
    second = table.processes[10]

    assert next_start == Started(second, 3 * S)
    assert ended == [Ended(first, 3 * S + 1)]
    assert first.returncode == 1
    assert [Ended(second, 4 * S)] == table.feed(exit_event(10, 10, 4 * S, 2 << 8))
    assert second.returncode == 2


def test_process_without_an_exit_ends_when_its_pid_is_reused() -> None:
    table, first = started()
    (next_start,) = table.feed(fork(10, 3 * S))
    ended, _ = table.feed(exit_event(10, 10, 5 * S, 2 << 8))

    assert ended == Ended(first, 3 * S)
    assert isinstance(next_start, Started)
    assert first.returncode is None


def test_parent_is_released_after_its_end_is_reported() -> None:
    table, parent = started(fork(20, S + 1, parent=10), fork(30, S + 2, parent=20))
    child, grandchild = table.processes[20], table.processes[30]
    (ended,) = table.feed(exit_event(20, 20, 2 * S))

    assert ended == Ended(child, 2 * S)
    assert child.parent is parent
    table.feed(exit_event(99, 99, 3 * S))
    assert child.parent is None
    assert (child.ppid, grandchild.ppid, grandchild.parent) == (10, 20, child)


def test_name_is_inherited_set_by_comm_and_replaced_by_exec() -> None:
    table, parent = started(Comm(10, 10, b"own", S + 1, 0), thread(11, 10, S + 2))
    table.feed(Comm(11, 10, b"thread", S + 3, 0))
    table.feed(fork(20, S + 4, parent=10))
    table.feed(Fork(11, 10, 30, 30, S + 5, 0))

    assert [parent.name, table.processes[20].name] == ["own", "own"]
    assert table.processes[30].name is None  # names of threads are not kept
    table.feed(execute(10, 2 * S, PROGRAM))
    assert parent.name == "sh"
    table.feed(execute(10, 3 * S))
    assert parent.name is None


def test_usage_is_the_sum_of_all_threads() -> None:
    table, process = started(thread(11, 10, S + 1), thread(12, 10, S + 2))
    feed(table, exit_event(11, 10, S + 3, 0, usage(1)), execute(10, S + 4))
    feed(table, exit_event(12, 10, S + 5, 0, usage(100)))
    assert process.usage is None
    table.feed(exit_event(10, 10, 2 * S, 0, usage(1000)))

    assert process.usage is not None
    assert process.usage.cpu_ns == 1 + 100 + 1000
    assert process.usage.peak_rss == 1003
    assert process.usage.elapsed_ns == 1012


@pytest.mark.parametrize("other", [None, usage(1)._replace(cpu_ns=None)])
def test_usage_is_none_if_a_part_is_unknown(other: Usage | None) -> None:
    table, process = started(thread(11, 10, S + 1))
    feed(
        table,
        exit_event(11, 10, S + 2, 0, other),
        exit_event(10, 10, 2 * S, 0, usage(1)),
    )

    assert (process.usage and process.usage.cpu_ns) is None


def test_usage_is_none_after_a_loss() -> None:
    table, process = started(Lost(1, S + 1))
    table.resync(snapshot(snapshot_entry(10, S, 2 * S), at=2 * S))
    table.feed(exit_event(10, 10, 3 * S, 0, usage(1)))

    assert not process.is_running
    assert process.usage is None


def count_process_objects() -> int:
    gc.collect()
    return sum(isinstance(item, Process) for item in gc.get_objects())


def count_kept_ancestors(generations: int) -> int:
    """Let each process fork once and exit; return how many ended processes are kept."""
    table = started()[0]
    before = count_process_objects()
    for number in range(generations):
        at, pid = 2 * S + number * MS, 10 + number % 30_000
        child = 10 + (number + 1) % 30_000
        feed(table, fork(child, at, parent=pid), exit_event(pid, pid, at + 1))

    assert len(table.processes) == 1
    table.feed(Lost(0, at))
    return count_process_objects() - before


def test_lineage_keeps_one_ended_process() -> None:
    assert (
        count_kept_ancestors(10_007) == 1
    )  # the parent of the process that still runs


def memory_of(act: Callable[[], None]) -> int:
    """Return by how many bytes the call increases allocated memory."""
    gc.collect()
    tracemalloc.start()
    try:
        act()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_running_process_takes_at_most_a_kilobyte() -> None:
    table, _ = started()
    count = 5003

    def begin() -> None:
        for pid in range(1000, 1000 + count):
            table.feed(fork(pid, pid * S, parent=10))
            table.feed(Comm(pid, pid, b"%d" % pid, pid * S + 1, 0))
            table.feed(thread(pid + 100_000, pid, pid * S + 2))

    assert memory_of(begin) / count <= 1024


@pytest.mark.heavy
def test_memory_does_not_grow_with_history() -> None:
    """After half a million events and a hundred thousand generations."""
    table, _ = started()

    def history(count: int) -> None:
        for number in range(count):
            at, pid = 2 * S + number * MS, 20 + number % 30_000
            for event in (
                fork(pid, at, parent=10),
                execute(pid, at + 1, PROGRAM),
                exit_event(pid, pid, at + 2),
            ):
                table.feed(event)

    history(100_003)
    grown = memory_of(lambda: history(70_001))

    assert grown < 100_000
    assert count_kept_ancestors(100_003) == 1
