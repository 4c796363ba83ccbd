"""The table of processes: made events in, changes out."""

import gc
import pickle
import time
import tracemalloc
from collections.abc import Callable

import pytest

from procconn import Comm, Event, Exec, Exit, Fork, Lost
from procconn.processes import (
    Change,
    Ended,
    Executed,
    Process,
    ProcessTable,
    Snapshot,
    SnapshotEntry,
    Started,
)
from procconn.programs import Program
from procconn.usage import Usage

S = 1_000_000_000
MS = 1_000_000

PROGRAM = Program(
    ("sh", "-c", "exit 3"),
    name="sh",
    exe="/bin/sh",
    cwd="/",
    ppid=1,
    uid=0,
    euid=0,
    gid=0,
    egid=0,
    cgroup="/",
    cut=False,
    missing="",
)


def fork(child: int, at: int, parent: int = 1) -> Fork:
    return Fork(parent, parent, child, child, at, 0)


def thread(tid: int, tgid: int, at: int) -> Fork:
    return Fork(1, 1, tid, tgid, at, 0)


def execute(pid: int, at: int, program: Program | None = None) -> Exec:
    return Exec(pid, pid, at, 0, program)


def exit_of(
    tid: int, tgid: int, at: int, code: int = 0, usage: Usage | None = None
) -> Exit:
    return Exit(tid, tgid, code, 17, 0, 0, at, 0, usage)


def usage(number: int) -> Usage:
    return Usage(*range(number, number + len(Usage._fields)))


def seen(
    pid: int, started: int, at: int, *threads: int, ppid: int = 1
) -> SnapshotEntry:
    """An entry of a snapshot: of a zombie, if threads are (0,)."""
    ids = tuple(tid for tid in threads or (pid,) if tid)
    return SnapshotEntry(pid, ppid, "seen", started, ids, at, at + 1)


def snapshot(*entries: SnapshotEntry, at: int) -> Snapshot:
    return Snapshot(entries, at, at + MS)


def feed(table: ProcessTable, *events: Event) -> list[Change]:
    return [change for event in events for change in table.feed(event)]


def started(*events: Event) -> tuple[ProcessTable, Process]:
    """Make a table that has process 10, begun at 1 s, and was fed some more."""
    table = ProcessTable()
    table.resync(snapshot(at=S // 2))
    (change,) = table.feed(fork(10, S))
    assert isinstance(change, Started)
    feed(table, *events)
    return table, change.process


def test_a_process_starts_executes_and_ends() -> None:
    table = ProcessTable()
    changes = feed(
        table, fork(10, S), execute(10, 2 * S, PROGRAM), exit_of(10, 10, 3 * S, 3 << 8)
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


def test_what_is_not_known_of_a_running_process_is_none() -> None:
    table, process = started()

    assert table.processes == {10: process}
    assert process.is_running
    assert (process.ended_ns, process.returncode, process.signal) == (None,) * 3
    assert (process.duration, process.usage, process.program) == (None,) * 3
    assert not process.dumped_core
    assert repr(process) == "<Process pid=10 name=None running>"


def test_a_signal_that_ended_a_process_is_named() -> None:
    table, process = started()
    table.feed(exit_of(10, 10, 2 * S, 11 | 128))

    assert process.signal is not None
    assert process.signal.name == "SIGSEGV"
    assert (process.returncode, process.dumped_core) == (-11, True)
    assert repr(process) == "<Process pid=10 name=None returncode=-11>"


def test_a_process_goes_on_without_its_first_thread() -> None:
    table, process = started(thread(11, 10, S + 1))

    assert [] == table.feed(exit_of(10, 10, 2 * S, 3 << 8))
    assert process.is_running
    assert [Ended(process, 3 * S)] == table.feed(exit_of(11, 10, 3 * S, 7 << 8))
    assert process.returncode == 7


def test_an_exec_by_another_thread_leaves_the_process_one_thread() -> None:
    """The exits of others come before it and after, one under the caller's id."""
    table, process = started(*(thread(tid, 10, S + tid) for tid in (11, 12, 13)))
    changes = feed(
        table,
        exit_of(13, 10, 2 * S),
        exit_of(10, 10, 2 * S + 1),
        execute(10, 2 * S + 2),
        exit_of(12, 10, 2 * S + 3),
        exit_of(11, 10, 2 * S + 4),
    )

    assert changes == [Executed(process, None, 2 * S + 2)]
    assert [Ended(process, 3 * S)] == table.feed(exit_of(10, 10, 3 * S, 1 << 8))
    assert process.returncode == 1


def test_the_status_is_not_that_of_a_thread_that_was_ending_anyway() -> None:
    """Its exit may be reported behind that of the thread that ended the process."""
    table, process = started(thread(11, 10, S + 1))
    feed(table, exit_of(10, 10, 2 * S, 7 << 8), exit_of(11, 10, 2 * S + 50_000))

    assert (process.returncode, process.ended_ns) == (7, 2 * S + 50_000)


def test_a_core_is_told_of_whichever_thread_has_the_bit() -> None:
    table, process = started(thread(11, 10, S + 1))
    feed(table, exit_of(10, 10, 2 * S, 6 | 128), exit_of(11, 10, 2 * S + 50_000, 6))

    assert (process.returncode, process.dumped_core) == (-6, True)


def test_a_pid_that_comes_again_is_another_process() -> None:
    table, first = started(exit_of(10, 10, 2 * S))
    (change,) = table.feed(fork(10, 3 * S))

    assert isinstance(change, Started)
    assert change.process is not first
    assert change.process != first


def test_a_process_whose_end_nobody_told_ends_when_its_pid_comes_again() -> None:
    table, first = started()
    ended, begun = table.feed(fork(10, 3 * S))

    assert ended == Ended(first, 3 * S)
    assert isinstance(begun, Started)
    assert first.returncode is None


def test_a_parent_is_let_go_once_its_end_was_told() -> None:
    table, parent = started(fork(20, S + 1, parent=10), fork(30, S + 2, parent=20))
    child, grandchild = table.processes[20], table.processes[30]
    (ended,) = table.feed(exit_of(20, 20, 2 * S))

    assert ended == Ended(child, 2 * S)
    assert child.parent is parent
    table.feed(exit_of(99, 99, 3 * S))
    assert child.parent is None
    assert (child.ppid, grandchild.ppid, grandchild.parent) == (10, 20, child)


def test_a_name_is_inherited_set_and_replaced() -> None:
    table, parent = started(Comm(10, 10, b"own", S + 1, 0), thread(11, 10, S + 2))
    table.feed(Comm(11, 10, b"thread", S + 3, 0))
    table.feed(fork(20, S + 4, parent=10))
    table.feed(Fork(11, 10, 30, 30, S + 5, 0))

    assert [parent.name, table.processes[20].name] == ["own", "own"]
    assert table.processes[30].name is None  # nobody asks for the names of threads
    table.feed(execute(10, 2 * S, PROGRAM))
    assert parent.name == "sh"
    table.feed(execute(10, 3 * S))
    assert parent.name is None


def test_usage_is_that_of_all_threads() -> None:
    table, process = started(thread(11, 10, S + 1), thread(12, 10, S + 2))
    feed(table, exit_of(11, 10, S + 3, 0, usage(1)), execute(10, S + 4))
    feed(table, exit_of(12, 10, S + 5, 0, usage(100)))
    assert process.usage is None
    table.feed(exit_of(10, 10, 2 * S, 0, usage(1000)))

    assert process.usage is not None
    assert process.usage.cpu_ns == 1 + 100 + 1000
    assert process.usage.peak_rss == 1003
    assert process.usage.elapsed_ns == 1012


@pytest.mark.parametrize("other", [None, usage(1)._replace(cpu_ns=None)])
def test_usage_is_none_where_a_part_is_not_known(other: Usage | None) -> None:
    table, process = started(thread(11, 10, S + 1))
    feed(table, exit_of(11, 10, S + 2, 0, other), exit_of(10, 10, 2 * S, 0, usage(1)))

    assert (process.usage and process.usage.cpu_ns) is None


def test_usage_is_not_known_after_a_loss() -> None:
    table, process = started(Lost(1, S + 1))
    table.resync(snapshot(seen(10, S, 2 * S), at=2 * S))
    table.feed(exit_of(10, 10, 3 * S, 0, usage(1)))

    assert not process.is_running
    assert process.usage is None


def test_what_ran_before_is_known_and_not_told() -> None:
    table = ProcessTable()
    first = snapshot(seen(1, 0, S), seen(10, S // 2, S, 10, 11), at=S)

    assert [] == table.resync(first)
    process = table.processes[10]
    assert (process.known_since, process.name, process.ppid) == ("snapshot", "seen", 1)
    assert process.parent is table.processes[1]
    assert [] == table.feed(exit_of(10, 10, 2 * S))
    assert [Ended(process, 3 * S)] == table.feed(exit_of(11, 10, 3 * S))


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "behind"])
def test_a_snapshot_and_the_events_it_has_seen_agree(is_late: bool) -> None:
    """Whichever comes first; each start is told once, and each end."""
    table = ProcessTable()
    taken = snapshot(
        seen(10, 980 * MS, 1200 * MS), seen(20, 500 * MS, 1200 * MS), at=1200 * MS
    )
    events: list[Event] = [
        fork(10, 985 * MS),
        execute(10, 990 * MS),
        execute(20, 995 * MS),
        fork(30, 996 * MS),
        exit_of(30, 30, 997 * MS, 3 << 8),
        exit_of(10, 10, 1300 * MS, 4 << 8),
    ]
    changes = feed(table, *events) if is_late else []
    changes += table.resync(taken)
    changes += [] if is_late else feed(table, *events)

    assert [
        (type(it).__name__, it[0].pid) for it in changes if not isinstance(it, Lost)
    ] == [
        ("Started", 10),
        ("Executed", 10),
        ("Executed", 20),
        ("Started", 30),
        ("Ended", 30),
        ("Ended", 10),
    ]
    assert {20: "snapshot"} == {
        pid: process.known_since for pid, process in table.processes.items()
    }
    assert table.processes[20].started_ns == 500 * MS


def test_what_ended_unseen_ends_without_a_status() -> None:
    table, process = started()

    assert [Lost(5, S + 1)] == table.feed(Lost(5, S + 1))
    assert [Ended(process, 2 * S)] == table.resync(snapshot(at=2 * S))
    assert (process.returncode, process.ended_ns) == (None, 2 * S)
    assert [] == table.resync(snapshot(at=3 * S))


def test_a_zombie_has_ended() -> None:
    table, process = started(Lost(5, S + 1))

    assert [Ended(process, 2 * S)] == table.resync(
        snapshot(seen(10, S, 2 * S, 0), at=2 * S)
    )


def test_what_started_unseen_is_told_once() -> None:
    table, _ = started(Lost(5, S + 1))
    taken = snapshot(seen(10, S, 3 * S), seen(20, 2 * S, 3 * S, ppid=10), at=3 * S)
    (change,) = table.resync(taken)

    assert isinstance(change, Started)
    assert change == Started(table.processes[20], 2 * S)
    assert (change.process.known_since, change.process.parent) == (
        "snapshot",
        table.processes[10],
    )
    assert [] == table.resync(taken)


def test_a_pid_that_was_used_again_unseen_is_another_process() -> None:
    table, first = started(Lost(5, S + 1))
    ended, begun = table.resync(snapshot(seen(10, 2 * S, 3 * S), at=3 * S))

    assert isinstance(ended, Ended)
    assert ended.process is first
    assert begun == Started(table.processes[10], 2 * S)


def test_after_a_loss_an_end_waits_for_the_snapshot_that_confirms_it() -> None:
    """Threads may have begun in the gap, so this exit may not be the last one."""
    table, process = started(fork(20, S, parent=1), Lost(5, S + 1))
    other = table.processes[20]

    assert [] == feed(table, exit_of(10, 10, 2 * S, 3 << 8), exit_of(20, 20, 2 * S))
    taken = snapshot(seen(20, S, 3 * S, 21), at=3 * S)
    assert [Ended(process, 2 * S)] == table.resync(taken)
    assert process.returncode == 3
    assert [Ended(other, 4 * S)] == table.feed(exit_of(21, 20, 4 * S, 5 << 8))
    assert other.returncode == 5


def test_without_snapshots_ends_are_told_at_once_also_after_a_loss() -> None:
    table = ProcessTable()
    changes = feed(table, fork(10, S), Lost(5, S + 1), exit_of(10, 10, 2 * S, 3 << 8))

    assert isinstance(changes[-1], Ended)
    assert changes[-1].process.returncode == 3


def test_a_process_that_proc_hides_is_left_alone() -> None:
    table, process = started(Lost(5, S + 1))
    hidden = SnapshotEntry(10, None, None, None, (10,), 2 * S, 2 * S)

    assert [] == table.resync(snapshot(hidden, at=2 * S))
    assert process.is_running


def test_an_exec_in_a_recording_makes_its_process_known() -> None:
    table = ProcessTable()
    (change,) = table.feed(execute(10, S, PROGRAM))

    assert isinstance(change, Executed)
    assert (change.process.ppid, change.process.started_ns) == (1, None)
    assert [Ended(change.process, 2 * S)] == table.feed(exit_of(10, 10, 2 * S))
    assert change.process.duration is None


def test_a_tree_is_marked_at_fork() -> None:
    """Reparenting does not take anybody out, and nobody else gets in."""
    table = ProcessTable(tree=10)
    table.resync(snapshot(seen(1, 0, S), seen(10, 0, S), seen(11, 0, S, ppid=10), at=S))
    feed(table, fork(20, 2 * S, parent=10), fork(30, 2 * S, parent=20))
    feed(table, exit_of(20, 20, 3 * S), fork(40, 3 * S, parent=1))
    feed(table, exit_of(10, 10, 4 * S), fork(50, 5 * S, parent=30), fork(10, 9 * S))

    assert [11, 30, 50] == sorted(table.processes)


def test_a_tree_grows_unseen() -> None:
    table = ProcessTable(tree=10)
    table.resync(snapshot(seen(10, 0, S), at=S))
    table.feed(Lost(5, 2 * S))
    changes = table.resync(
        snapshot(
            seen(10, 0, 5 * S),
            seen(20, 3 * S, 5 * S, ppid=10),
            seen(30, 3 * S, 5 * S, ppid=20),
            seen(40, 3 * S, 5 * S),
            at=5 * S,
        )
    )

    assert [Started(table.processes[pid], 3 * S) for pid in (20, 30)] == changes


def test_snapshots_can_be_kept_with_a_recording() -> None:
    taken = snapshot(seen(10, 0, S), at=S)

    assert taken == pickle.loads(pickle.dumps(taken))


def processes_alive() -> int:
    gc.collect()
    return sum(isinstance(it, Process) for it in gc.get_objects())


def lineage(generations: int) -> int:
    """Let each process fork once and end; count the processes that are kept."""
    table = started()[0]
    before = processes_alive()
    for number in range(generations):
        at, pid = 2 * S + number * MS, 10 + number % 30_000
        child = 10 + (number + 1) % 30_000
        feed(table, fork(child, at, parent=pid), exit_of(pid, pid, at + 1))

    assert len(table.processes) == 1
    table.feed(Lost(0, at))
    return processes_alive() - before


def test_a_lineage_keeps_one_process() -> None:
    assert lineage(10_007) == 1  # more than one: its parent, which it names


def memory_of(act: Callable[[], None]) -> int:
    """Return by how many bytes memory grows."""
    gc.collect()
    tracemalloc.start()
    try:
        act()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_running_process_takes_at_most_a_kilobyte() -> None:
    table, _ = started()
    count = 5003

    def begin() -> None:
        for pid in range(1000, 1000 + count):
            table.feed(fork(pid, pid * S, parent=10))
            table.feed(Comm(pid, pid, b"%d" % pid, pid * S + 1, 0))
            table.feed(thread(pid + 100_000, pid, pid * S + 2))

    assert memory_of(begin) / count <= 1024


@pytest.mark.heavy
def test_memory_is_that_of_what_runs_not_of_its_history(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ten million events, and a million generations; it prints what a change costs."""
    table, _ = started()

    def history(lives: int) -> None:
        for number in range(lives):
            at, pid = 2 * S + number * MS, 20 + number % 30_000
            for event in (
                fork(pid, at, parent=10),
                execute(pid, at + 1, PROGRAM),
                exit_of(pid, pid, at + 2),
            ):
                table.feed(event)

    history(10_007)
    begun = time.perf_counter()
    history(3_333_333)
    seconds = time.perf_counter() - begun
    grown = memory_of(lambda: history(100_003))
    kept = lineage(1_000_003)
    with capsys.disabled():
        print(f"\n{seconds / 10:.2f} µs a change with its event; {grown} bytes grown")

    assert grown < 100_000
    assert kept == 1
