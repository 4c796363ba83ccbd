"""Timestamps in the process table: events older than a snapshot are ignored."""

from support.process_events import (
    MS,
    S,
    execute,
    exit_event,
    feed,
    fork,
    snapshot,
    snapshot_entry,
    started,
    thread,
)

from procconn import Comm, Lost
from procconn.processes import Ended, Executed, ProcessTable, Snapshot, Started


def table_of(*threads: int) -> ProcessTable:
    """Build a table with process 10, from a snapshot at 1 s."""
    table = ProcessTable()
    table.resync(snapshot(snapshot_entry(10, 0, S, *threads), at=S))
    return table


def test_comm_older_than_the_snapshot_is_ignored() -> None:
    table = table_of()
    table.feed(Comm(10, 10, b"old", S - MS, 0))

    assert "seen" == table.processes[10].name


def test_exit_older_than_the_snapshot_is_ignored() -> None:
    table = table_of()

    assert [] == table.feed(exit_event(10, 10, S - MS))
    assert 10 in table.processes


def test_exec_older_than_the_snapshot_ends_none_of_its_threads() -> None:
    table = table_of(10, 11)
    process = table.processes[10]
    table.feed(execute(10, S - MS))

    assert [] == table.feed(exit_event(10, 10, 2 * S))
    assert [Ended(process, 3 * S)] == table.feed(exit_event(11, 10, 3 * S))


def test_fork_or_exec_long_before_the_start_is_of_an_earlier_process() -> None:
    table, process = started()

    assert [] == feed(table, fork(10, S - 500 * MS), execute(10, S - 500 * MS))
    assert process is table.processes[10]


def test_process_younger_than_the_child_is_not_the_parent() -> None:
    table, _ = started()
    (change,) = table.feed(fork(20, S // 2, parent=10))

    assert isinstance(change, Started)
    assert change.process.parent is None


def test_process_that_ended_during_a_loss_does_not_get_a_threads_status() -> None:
    lost = Lost(1, S + 3)
    table, process = started(
        thread(11, 10, S + 1), exit_event(11, 10, S + 2, 5 << 8), lost
    )
    (change,) = table.resync(snapshot(at=2 * S))

    assert change == Ended(process, 2 * S)
    assert process.returncode is None


def test_snapshot_older_than_the_start_does_not_end_the_process() -> None:
    table, process = started(Lost(1, S + 1))

    assert [] == table.resync(snapshot(at=S // 2 + 1))
    assert process is table.processes[10]


def test_snapshot_entry_older_than_the_start_does_not_end_the_process() -> None:
    table = ProcessTable()
    feed(table, fork(10, S // 2), exit_event(10, 10, 3 * S - 2), fork(10, 3 * S))

    assert [] == table.resync(
        Snapshot((snapshot_entry(10, S // 2, 2 * S),), 2 * S, 4 * S)
    )
    assert 3 * S == table.processes[10].started_ns


def test_exec_of_an_unknown_process_after_a_loss_reports_its_start() -> None:
    table, _ = started(Lost(1, S + 1))
    changes = table.feed(execute(20, 2 * S))

    process = table.processes[20]
    assert [Started(process, 2 * S), Executed(process, None, 2 * S)] == changes


def test_exec_older_than_the_snapshot_that_ended_its_process_is_ignored() -> None:
    table, process = started(Lost(1, S + 1))

    assert [Ended(process, 2 * S)] == table.resync(snapshot(at=2 * S))
    assert [] == table.feed(execute(10, S + 900 * MS))
    assert {} == table.processes


def test_pid_reuse_after_a_loss_ends_the_previous_process() -> None:
    table, process = started(Lost(1, S + 1))
    ended, next_start = table.feed(fork(10, 5 * S))

    assert ended == Ended(process, 5 * S)
    assert process.returncode is None
    assert next_start == Started(table.processes[10], 5 * S)


def test_exit_after_the_pid_was_reused_is_not_of_the_previous_process() -> None:
    """It is the exit of one thread of the next process, whose other threads run."""
    table, process = started(Lost(3, 2 * S), exit_event(10, 10, 4 * S, 3 << 8))
    ended, next_start = table.resync(
        snapshot(snapshot_entry(10, 3 * S, 5 * S, 11), at=5 * S)
    )

    assert ended == Ended(process, 5 * S)
    assert process.returncode is None
    assert next_start == Started(table.processes[10], 3 * S)


def test_thread_older_than_the_snapshot_and_not_in_it_has_ended() -> None:
    table = table_of(10)
    process = table.processes[10]
    table.feed(thread(11, 10, S - MS))

    assert [Ended(process, 2 * S)] == table.feed(exit_event(10, 10, 2 * S))


def test_threads_of_a_snapshot_are_not_those_of_a_later_process() -> None:
    table, _ = started(exit_event(10, 10, 3 * S - 2), fork(10, 3 * S))
    process = table.processes[10]

    assert [] == table.resync(
        Snapshot((snapshot_entry(10, S, 2 * S, 10, 11),), 2 * S, 4 * S)
    )
    assert [Ended(process, 5 * S)] == table.feed(exit_event(10, 10, 5 * S))


def test_snapshot_entry_has_ended_if_its_pid_was_reused_since() -> None:
    table = ProcessTable()
    table.resync(snapshot(at=S // 2))
    feed(table, Lost(1, S), Lost(1, 2 * S + 2 * MS))
    feed(table, fork(10, 3 * S), exit_event(10, 10, 4 * S))

    assert [] == table.resync(snapshot(snapshot_entry(10, S, 2 * S, 10, 11), at=2 * S))
    assert {} == table.processes
