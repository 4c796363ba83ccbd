"""Snapshots in the process table: pre-existing, unobserved and hidden processes."""

import pickle
import time

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
)

from procconn import Event, Lost
from procconn.processes import Ended, Executed, ProcessTable, SnapshotEntry, Started
from procconn.processes.resync import ChangeQueue


def test_pre_existing_process_is_known_but_not_reported() -> None:
    table = ProcessTable()
    first = snapshot(
        snapshot_entry(1, 0, S), snapshot_entry(10, S // 2, S, 10, 11), at=S
    )

    assert [] == table.resync(first)
    process = table.processes[10]
    assert (process.known_since, process.name, process.ppid) == ("snapshot", "seen", 1)
    assert process.parent is table.processes[1]
    assert [] == table.feed(exit_event(10, 10, 2 * S))
    assert [Ended(process, 3 * S)] == table.feed(exit_event(11, 10, 3 * S))


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "after"])
def test_snapshot_and_the_events_it_covers_agree(is_late: bool) -> None:
    """In either order, each start and each end is reported once."""
    table = ProcessTable()
    latest = snapshot(
        snapshot_entry(10, 980 * MS, 1200 * MS),
        snapshot_entry(20, 500 * MS, 1200 * MS),
        at=1200 * MS,
    )
    events: list[Event] = [
        fork(10, 985 * MS),
        execute(10, 990 * MS),
        execute(20, 995 * MS),
        fork(30, 996 * MS),
        exit_event(30, 30, 997 * MS, 3 << 8),
        exit_event(10, 10, 1300 * MS, 4 << 8),
    ]
    changes = feed(table, *events) if is_late else []
    changes += table.resync(latest)
    changes += [] if is_late else feed(table, *events)

    assert [
        (type(change).__name__, change.process.pid)
        for change in changes
        if not isinstance(change, Lost)
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


def test_unobserved_exit_has_no_status() -> None:
    table, process = started()

    assert [Lost(5, S + 1)] == table.feed(Lost(5, S + 1))
    assert [Ended(process, 2 * S)] == table.resync(snapshot(at=2 * S))
    assert (process.returncode, process.ended_ns) == (None, 2 * S)
    assert [] == table.resync(snapshot(at=3 * S))


def test_zombie_has_ended() -> None:
    table, process = started(Lost(5, S + 1))

    assert [Ended(process, 2 * S)] == table.resync(
        snapshot(snapshot_entry(10, S, 2 * S, 0), at=2 * S)
    )


def test_unobserved_start_is_reported_once() -> None:
    table, _ = started(Lost(5, S + 1))
    latest = snapshot(
        snapshot_entry(10, S, 3 * S),
        snapshot_entry(20, 2 * S, 3 * S, ppid=10),
        at=3 * S,
    )
    (change,) = table.resync(latest)

    assert isinstance(change, Started)
    assert change == Started(table.processes[20], 2 * S)
    assert (change.process.known_since, change.process.parent) == (
        "snapshot",
        table.processes[10],
    )
    assert [] == table.resync(latest)


def test_pid_reused_during_a_loss_is_another_process() -> None:
    table, first = started(Lost(5, S + 1))
    ended, next_start = table.resync(
        snapshot(snapshot_entry(10, 2 * S, 3 * S), at=3 * S)
    )

    assert isinstance(ended, Ended)
    assert ended.process is first
    assert next_start == Started(table.processes[10], 2 * S)


def test_end_after_a_loss_waits_for_a_confirming_snapshot() -> None:
    """Threads may have started during the loss, so other exits may follow."""
    table, process = started(fork(20, S, parent=1), Lost(5, S + 1))
    other = table.processes[20]

    assert [] == feed(
        table, exit_event(10, 10, 2 * S, 3 << 8), exit_event(20, 20, 2 * S)
    )
    latest = snapshot(snapshot_entry(20, S, 3 * S, 21), at=3 * S)
    assert [Ended(process, 2 * S)] == table.resync(latest)
    assert process.returncode == 3
    assert [Ended(other, 4 * S)] == table.feed(exit_event(21, 20, 4 * S, 5 << 8))
    assert other.returncode == 5


def test_end_after_a_loss_is_reported_at_once_without_snapshots() -> None:
    table = ProcessTable()
    changes = feed(
        table, fork(10, S), Lost(5, S + 1), exit_event(10, 10, 2 * S, 3 << 8)
    )

    assert isinstance(changes[-1], Ended)
    assert changes[-1].process.returncode == 3


def test_process_hidden_in_proc_is_kept() -> None:
    table, process = started(Lost(5, S + 1))
    hidden = SnapshotEntry(10, None, None, None, (10,), 2 * S, 2 * S)

    assert [] == table.resync(snapshot(hidden, at=2 * S))
    assert process.is_running


def test_exec_without_a_snapshot_adds_its_process() -> None:
    table = ProcessTable()
    (change,) = table.feed(execute(10, S, PROGRAM))

    assert isinstance(change, Executed)
    assert (change.process.ppid, change.process.started_ns) == (1, None)
    assert [Ended(change.process, 2 * S)] == table.feed(exit_event(10, 10, 2 * S))
    assert change.process.duration is None


def test_tree_membership_is_decided_at_fork() -> None:
    """Reparenting neither adds a process to the tree nor removes one."""
    table = ProcessTable(tree=10)
    table.resync(
        snapshot(
            snapshot_entry(1, 0, S),
            snapshot_entry(10, 0, S),
            snapshot_entry(11, 0, S, ppid=10),
            at=S,
        )
    )
    feed(table, fork(20, 2 * S, parent=10), fork(30, 2 * S, parent=20))
    feed(table, exit_event(20, 20, 3 * S), fork(40, 3 * S, parent=1))
    feed(table, exit_event(10, 10, 4 * S), fork(50, 5 * S, parent=30), fork(10, 9 * S))

    assert [11, 30, 50] == sorted(table.processes)


def test_tree_root_may_be_older_than_the_recording() -> None:
    table = ProcessTable(tree=10)
    feed(table, fork(20, S, parent=10), fork(30, 2 * S, parent=20), fork(40, 2 * S))

    assert [20, 30] == sorted(table.processes)


def test_snapshot_adds_descendants_forked_during_a_loss() -> None:
    table = ProcessTable(tree=10)
    table.resync(snapshot(snapshot_entry(10, 0, S), at=S))
    table.feed(Lost(5, 2 * S))
    changes = table.resync(
        snapshot(
            snapshot_entry(10, 0, 5 * S),
            snapshot_entry(20, 3 * S, 5 * S, ppid=10),
            snapshot_entry(30, 3 * S, 5 * S, ppid=20),
            snapshot_entry(40, 3 * S, 5 * S),
            at=5 * S,
        )
    )

    assert [Started(table.processes[pid], 3 * S) for pid in (20, 30)] == changes


def test_snapshot_can_be_pickled() -> None:
    latest = snapshot(snapshot_entry(10, 0, S), at=S)

    assert latest == pickle.loads(pickle.dumps(latest))


def test_loss_reported_after_a_snapshot_requires_another_one() -> None:
    """Its timestamp is that of the first drop noticed; more drops may have followed."""
    now = time.monotonic_ns() - 9 * S
    queue = ChangeQueue(ProcessTable(), snapshot(snapshot_entry(10, now, now), at=now))
    queue.put_events([Lost(1, now + S)])
    queue.all_changes()
    assert queue.is_due
    latest = snapshot(snapshot_entry(10, now, now + 2 * S), at=now + 2 * S)
    queue.put_snapshot(latest)
    queue.put_events([Lost(9, now + 2 * S - 50 * MS)])
    queue.all_changes()
    assert not queue.is_due  # that snapshot is not yet in the table
    queue.put_events([])

    assert queue.is_due
    queue.put_snapshot(snapshot(at=now + 4 * S))
    queue.put_events([])
    (change,) = queue.all_changes()
    assert isinstance(change, Ended)
    assert change.process.pid == 10
