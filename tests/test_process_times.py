"""Times in the table of processes: events older than a reading change nothing."""

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
    """Make a table that has process 10 from a snapshot at 1 s."""
    table = ProcessTable()
    table.resync(snapshot(snapshot_entry(10, 0, S, *threads), at=S))
    return table


def test_a_name_from_before_the_reading_is_older() -> None:
    table = table_of()
    table.feed(Comm(10, 10, b"old", S - MS, 0))

    assert "seen" == table.processes[10].name


def test_an_exit_from_before_the_reading_is_of_another() -> None:
    table = table_of()

    assert [] == table.feed(exit_event(10, 10, S - MS))
    assert 10 in table.processes


def test_an_exec_from_before_the_reading_ends_no_thread_that_was_read() -> None:
    table = table_of(10, 11)
    process = table.processes[10]
    table.feed(execute(10, S - MS))

    assert [] == table.feed(exit_event(10, 10, 2 * S))
    assert [Ended(process, 3 * S)] == table.feed(exit_event(11, 10, 3 * S))


def test_a_fork_or_exec_long_before_the_beginning_is_of_an_earlier_process() -> None:
    table, process = started()

    assert [] == feed(table, fork(10, S - 500 * MS), execute(10, S - 500 * MS))
    assert process is table.processes[10]


def test_a_process_that_is_younger_than_the_child_is_no_parent() -> None:
    table, _ = started()
    (change,) = table.feed(fork(20, S // 2, parent=10))

    assert isinstance(change, Started)
    assert change.process.parent is None


def test_who_ended_in_a_gap_has_no_status_of_a_thread() -> None:
    lost = Lost(1, S + 3)
    table, process = started(
        thread(11, 10, S + 1), exit_event(11, 10, S + 2, 5 << 8), lost
    )
    (change,) = table.resync(snapshot(at=2 * S))

    assert change == Ended(process, 2 * S)
    assert process.returncode is None


def test_a_snapshot_from_before_the_beginning_does_not_end_it() -> None:
    table, process = started(Lost(1, S + 1))

    assert [] == table.resync(snapshot(at=S // 2 + 1))
    assert process is table.processes[10]


def test_a_reading_from_before_the_beginning_does_not_end_it() -> None:
    table = ProcessTable()
    feed(table, fork(10, S // 2), exit_event(10, 10, 3 * S - 2), fork(10, 3 * S))

    assert [] == table.resync(
        Snapshot((snapshot_entry(10, S // 2, 2 * S),), 2 * S, 4 * S)
    )
    assert 3 * S == table.processes[10].started_ns


def test_who_executes_after_a_loss_began_in_it() -> None:
    table, _ = started(Lost(1, S + 1))
    changes = table.feed(execute(20, 2 * S))

    process = table.processes[20]
    assert [Started(process, 2 * S), Executed(process, None, 2 * S)] == changes


def test_an_exec_from_before_its_process_was_found_gone_begins_none() -> None:
    table, process = started(Lost(1, S + 1))

    assert [Ended(process, 2 * S)] == table.resync(snapshot(at=2 * S))
    assert [] == table.feed(execute(10, S + 900 * MS))
    assert {} == table.processes


def test_a_pid_that_comes_again_after_a_loss_ends_who_had_it() -> None:
    table, process = started(Lost(1, S + 1))
    ended, begun = table.feed(fork(10, 5 * S))

    assert ended == Ended(process, 5 * S)
    assert process.returncode is None
    assert begun == Started(table.processes[10], 5 * S)


def test_an_exit_from_after_the_next_ones_beginning_is_not_the_lasts() -> None:
    """A thread of the next one has ended, which has others."""
    table, process = started(Lost(3, 2 * S), exit_event(10, 10, 4 * S, 3 << 8))
    ended, begun = table.resync(
        snapshot(snapshot_entry(10, 3 * S, 5 * S, 11), at=5 * S)
    )

    assert ended == Ended(process, 5 * S)
    assert process.returncode is None
    assert begun == Started(table.processes[10], 3 * S)


def test_a_thread_from_before_the_reading_that_was_not_read_has_ended() -> None:
    table = table_of(10)
    process = table.processes[10]
    table.feed(thread(11, 10, S - MS))

    assert [Ended(process, 2 * S)] == table.feed(exit_event(10, 10, 2 * S))


def test_threads_that_were_read_are_not_those_of_who_has_the_pid_since() -> None:
    table, _ = started(exit_event(10, 10, 3 * S - 2), fork(10, 3 * S))
    process = table.processes[10]

    assert [] == table.resync(
        Snapshot((snapshot_entry(10, S, 2 * S, 10, 11),), 2 * S, 4 * S)
    )
    assert [Ended(process, 5 * S)] == table.feed(exit_event(10, 10, 5 * S))


def test_who_was_read_is_gone_when_the_pid_was_anothers_since() -> None:
    table = ProcessTable()
    table.resync(snapshot(at=S // 2))
    feed(table, Lost(1, S), Lost(1, 2 * S + 2 * MS))
    feed(table, fork(10, 3 * S), exit_event(10, 10, 4 * S))

    assert [] == table.resync(snapshot(snapshot_entry(10, S, 2 * S, 10, 11), at=2 * S))
    assert {} == table.processes
