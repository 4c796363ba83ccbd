"""The tracker returns each event once, with its process, also after a loss."""

import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
)
from support.process_histories import POSITION, STEP_KINDS, STEPS, History

from procconn import Comm, Event, Exit, Fork, Lost, Uid
from procconn.processes import ProcessTable, Snapshot, SnapshotEntry, Started
from procconn.processes.descent import descendants_among
from procconn.processes.tracker import EventInContext, Tracker
from procconn.programs import Program

OTHER = PROGRAM._replace(argv=("sleep", "2"), exe="/bin/sleep", euid=1000)


def tracking(*entries: SnapshotEntry) -> Tracker:
    """Build a tracker with a snapshot at 1 s, which is in the past."""
    return Tracker(ProcessTable(), snapshot(*entries, at=S))


def take(tracker: Tracker, *events: Event) -> list[EventInContext]:
    return [item for event in events for item in tracker.feed(event)]


def reported(items: list[EventInContext]) -> list[tuple[str, int, bool]]:
    """Return kind, time in milliseconds and `ended` of each event."""
    return [
        (type(item.event).__name__, item.event.timestamp_ns // MS, item.ended)
        for item in items
    ]


def test_exit_after_a_loss_is_returned_once_a_snapshot_confirms_it() -> None:
    tracker = tracking()
    end = exit_event(10, 10, 4 * S, 3 << 8)
    before = take(tracker, fork(10, 2 * S), execute(10, 2 * S, OTHER), Lost(1, 3 * S))
    held = take(tracker, end, fork(20, 5 * S))
    tracker.put_snapshot(snapshot(snapshot_entry(20, 5 * S, 6 * S), at=6 * S))
    *after, last = take(tracker, fork(30, 7 * S))
    (ended,) = after

    assert [False] * 3 == [item.ended for item in before]
    assert [("Fork", 5000, False)] == reported(held)
    assert (ended.event, ended.ended) == (end, True)
    assert (ended.program, ended.uid, ended.duration) == (OTHER, 1000, 2.0)
    assert ended.returncode_of(end) == 3
    assert ("Fork", 7000, False) == reported([last])[0]


def test_exit_that_leaves_threads_is_of_a_thread() -> None:
    """The snapshot has the process, with a thread that started during the loss."""
    tracker = tracking(snapshot_entry(10, 0, S))
    held = take(tracker, Lost(1, 2 * S), exit_event(10, 10, 3 * S))
    tracker.put_snapshot(snapshot(snapshot_entry(10, 0, 4 * S, 11), at=4 * S))
    returned = take(tracker, exit_event(11, 10, 5 * S, 7 << 8))

    assert ["Lost"] == [type(item.event).__name__ for item in held]
    assert [("Exit", 3000, False), ("Exit", 5000, True)] == reported(returned)
    assert isinstance(returned[-1].event, Exit)
    assert 7 == returned[-1].returncode_of(returned[-1].event)


def test_last_exit_ends_the_process_whose_threads_exited_during_a_loss() -> None:
    tracker = tracking(snapshot_entry(10, 0, S, 10, 11, 12))  # 12's exit is lost
    first = take(tracker, Lost(1, 2 * S), exit_event(10, 10, 3 * S, 9))
    second = take(tracker, exit_event(11, 10, 3 * S + MS, 9))
    tracker.put_snapshot(snapshot(at=4 * S))
    last = take(tracker, fork(20, 5 * S))

    assert [("Lost", 2000, False)] == reported(first)
    assert [("Exit", 3000, False)] == reported(second)  # another exit follows
    assert [("Exit", 3001, True), ("Fork", 5000, False)] == reported(last)
    assert (last[0].process and last[0].process.returncode) == -9


def test_snapshot_waits_for_older_events_also_after_another_loss() -> None:
    """Events after the loss may be older than it, if the reader was stopped."""
    tracker = tracking(snapshot_entry(10, 0, S), snapshot_entry(20, 0, S))
    take(tracker, Lost(1, 2 * S))
    tracker.put_snapshot(snapshot(snapshot_entry(30, 3 * S, 5 * S), at=5 * S))
    held = take(tracker, Lost(7, 6 * S), exit_event(10, 10, 4 * S, 3 << 8))
    returned = take(tracker, fork(40, 5 * S + 50 * MS))

    assert [("Lost", 6000, False)] == reported(held)
    assert [("Exit", 4000, True), ("Fork", 5050, False)] == reported(returned)
    assert (returned[0].process and returned[0].process.returncode) == 3
    assert {30, 40} == set(tracker.table.processes)  # 20's exit was lost
    assert tracker.is_due  # the second loss may include newer events


def test_loss_after_a_snapshot_makes_its_processes_ambiguous() -> None:
    tracker = tracking()
    take(tracker, Lost(1, 2 * S))
    tracker.put_snapshot(snapshot(snapshot_entry(10, 3 * S, 4 * S), at=4 * S))
    held = take(
        tracker, Lost(1, 4 * S), exit_event(20, 20, 5 * S), exit_event(10, 10, 5 * S)
    )
    tracker.put_snapshot(snapshot(at=6 * S))
    returned = take(tracker, fork(30, 7 * S))

    assert [("Lost", 4000, False), ("Exit", 5000, True)] == reported(held)
    assert [("Exit", 5000, True), ("Fork", 7000, False)] == reported(returned)


def test_idle_stream_shows_that_older_events_have_arrived() -> None:
    tracker = tracking(snapshot_entry(10, 0, S))
    take(tracker, Lost(1, 2 * S), exit_event(10, 10, 3 * S))
    now = time.monotonic_ns()
    tracker.put_snapshot(Snapshot((), now, now + S))
    timeout = tracker.next_timeout(None)
    early = tracker.feed_idle()
    tracker.put_snapshot(Snapshot((), now - 2 * S, now - S))

    assert timeout is not None
    assert 0 < timeout < 2
    assert [] == early
    assert [("Exit", 3000, True)] == reported(tracker.feed_idle())
    assert tracker.next_timeout(None) is None


def test_idle_time_is_longer_with_a_larger_max_latency() -> None:
    tracker = Tracker(ProcessTable(), snapshot(at=S), max_latency=1.0)
    take(tracker, Lost(1, 2 * S))
    now = time.monotonic_ns()
    tracker.put_snapshot(Snapshot((), now, now))
    timeout = tracker.next_timeout(None)

    assert timeout is not None
    assert timeout > 2


def test_finish_returns_held_events_with_and_without_a_snapshot() -> None:
    ends = []
    for last in (snapshot(at=5 * S), None):
        tracker = tracking(snapshot_entry(10, 0, S))
        take(tracker, Lost(1, 2 * S), exit_event(10, 10, 3 * S, 3 << 8))
        assert tracker.has_held_exits
        ends.append(tracker.finish(last))
        assert not tracker.has_held_exits

    assert [[("Exit", 3000, True)]] * 2 == list(map(reported, ends))
    assert [3, 3] == [end.process and end.process.returncode for (end,) in ends]


def test_failed_snapshot_ends_nothing_and_is_retried_later() -> None:
    tracker = tracking(snapshot_entry(10, 0, S))
    take(tracker, Lost(1, 2 * S))
    assert tracker.is_due
    tracker.put_snapshot(None)
    returned = take(tracker, fork(20, 9 * S))

    assert not tracker.is_due
    assert [("Fork", 9000, False)] == reported(returned)
    assert {10, 20} == set(tracker.table.processes)
    timeout = tracker.next_timeout(None)
    assert timeout is not None
    assert 0 < timeout <= 1


def test_slow_snapshots_are_rarely_taken() -> None:
    now = time.monotonic_ns()
    tracker = Tracker(ProcessTable(), Snapshot((), now - 2 * S, now))
    take(tracker, Lost(1, now))
    timeout = tracker.next_timeout(None)

    assert not tracker.is_due
    assert timeout is not None
    assert timeout > 4


def test_tracker_without_snapshots_returns_events_at_once() -> None:
    tracker = Tracker(ProcessTable())
    *_, lost, end = take(
        tracker, fork(10, 0), Lost(1, 1), exit_event(10, 10, 2, 3 << 8)
    )

    assert isinstance(lost.event, Lost)
    assert (end.ended, end.duration) == (True, 2e-9)
    assert not tracker.is_due
    assert [] == tracker.finish()


def test_exit_reported_after_its_pid_is_reused_is_of_the_earlier_process() -> None:
    """The kernel reports the exit of the first process after the fork of the second."""
    tracker = tracking()
    take(tracker, fork(10, 2 * S), execute(10, 2 * S, PROGRAM))
    first = tracker.table.processes[10]
    take(tracker, fork(10, 3 * S), execute(10, 3 * S + MS, OTHER))
    (end,) = take(tracker, exit_event(10, 10, 3 * S - MS, 3 << 8))
    (last,) = take(tracker, exit_event(10, 10, 4 * S))

    assert (end.process, end.program, end.ended) == (first, PROGRAM, True)
    assert (last.program, last.ended) == (OTHER, True)


def test_exit_older_than_the_snapshot_does_not_explain_an_unobserved_end() -> None:
    """Its thread exited before the snapshot; the process's own exit was lost."""
    tracker = tracking(snapshot_entry(10, 0, S))
    take(tracker, Lost(1, 2 * S), exit_event(11, 10, S - MS, 3 << 8))
    tracker.put_snapshot(snapshot(at=4 * S))
    returned = take(tracker, fork(20, 5 * S))

    assert [("Exit", 999, False), ("Fork", 5000, False)] == reported(returned)
    assert [20] == list(tracker.table.processes)


@given(STEPS, st.tuples(*[POSITION] * 5), st.integers(0, 3))
def test_each_event_is_returned_once_and_ends_match_the_history(
    steps: list[tuple[str, int, int]], where: tuple[int, ...], stride: int
) -> None:
    """Also with a second loss, between the snapshot and its application."""
    check_events_and_ends(steps, where, stride)


@pytest.mark.parametrize("seed", range(2))
def test_each_event_is_returned_once_in_long_histories(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(700):
        steps = [
            (rng.choice(STEP_KINDS), rng.randint(0, 20), rng.randint(0, 20))
            for _ in range(60)
        ]
        where = tuple(rng.randint(0, 100) for _ in range(5))
        check_events_and_ends(steps, where, rng.randint(0, 3))


def check_events_and_ends(
    steps: list[tuple[str, int, int]], where: tuple[int, ...], stride: int
) -> None:
    history = History(steps)
    begin, length, delay, later, second = where
    states, events = history.states, history.events
    lost_from = begin % (len(events) + 1)
    lost_to = min(len(events), lost_from + length % 20)
    after = [i for i, state in enumerate(states) if state.events >= lost_to]
    first = after[delay % len(after)]
    position = states[first].events
    second_loss = min(len(events), position + second % 10)
    resumed = min(len(events), second_loss + later % 5)
    tracker = Tracker(ProcessTable(), history.snapshot(0, 0))
    out = take(tracker, *events[:lost_from], Lost(1, 0), *events[lost_to:position])
    tracker.put_snapshot(history.snapshot(first, stride))
    out += take(tracker, *events[position:second_loss], Lost(1, 0), *events[resumed:])
    lost = events[second_loss:resumed]
    # A lost exit may have been the last one, and a lost fork may have reused a PID.
    ambiguous = {event.tgid for event in lost if isinstance(event, Exit)}
    ambiguous |= {event.child_pid for event in lost if isinstance(event, Fork)}
    last = history.snapshot(len(states) - 1, 0)
    out += tracker.finish(last)

    fed = [*events[:lost_from], *events[lost_to:second_loss], *events[resumed:]]
    assert Counter(map(id, fed)) == Counter(
        id(item.event) for item in out if not isinstance(item.event, Lost)
    )
    assert set(states[-1].running) == set(tracker.table.processes)
    ends = [item.process for item in out if item.ended and item.process is not None]
    assert len(ends) == len(set(ends))
    true_ends = {(model.pid, model.ended_ns) for model in history.all}
    for item in out:
        if item.ended and isinstance(item.event, Exit) and item.process is not None:
            end = item.process.pid, item.event.timestamp_ns
            assert end in true_ends or end[0] in ambiguous


# Attributes of processes in the table


def test_child_inherits_the_program_and_user_of_its_parent() -> None:
    table = ProcessTable()
    feed(table, execute(7, S, OTHER), fork(8, 2 * S, parent=7), execute(7, 3 * S))
    child = table.processes[8]

    assert (child.program, child.uid, child.euid) == (OTHER, 0, 1000)
    assert table.processes[7].program is None


def test_user_follows_the_uid_events_of_the_main_thread() -> None:
    table, process = started(execute(10, S, OTHER))
    feed(table, Uid(11, 10, 5, 6, 2 * S, 0), Uid(10, 10, 33, 34, 2 * S, 0))

    assert (process.uid, process.euid) == (33, 34)


def test_snapshot_supplies_programs_of_pre_existing_processes() -> None:
    table = ProcessTable()
    entry = snapshot_entry(10, 0, S)._replace(stored=OTHER, uid=0, euid=1000)
    table.resync(snapshot(entry, at=S))
    process = table.processes[10]

    assert (process.program, process.uid, process.euid) == (OTHER, 0, 1000)


@pytest.mark.parametrize(
    ("read", "is_used"),
    [
        (OTHER, True),
        (PROGRAM._replace(exe="/bin/dash"), True),
        (PROGRAM._replace(cwd="/tmp"), False),
        (PROGRAM._replace(argv=(*(PROGRAM.argv or ()), "", "")), False),
        (PROGRAM._replace(argv=None, missing="gone"), False),
        (None, False),
    ],
    ids=["arguments", "executable", "directory", "padding", "unread", "none"],
)
def test_snapshot_replaces_a_program_that_changed_during_a_loss(
    read: Program | None, is_used: bool
) -> None:
    """If arguments and executable are the same, the reading at the exec is kept."""
    table, process = started(execute(10, S, PROGRAM), Lost(1, 2 * S))
    entry = snapshot_entry(10, S, 3 * S)._replace(stored=read)
    table.resync(snapshot(entry, at=3 * S))

    assert (read if is_used else PROGRAM) is process.program


@pytest.mark.parametrize("at", [3 * S - MS, 3 * S + MS], ids=["older", "newer"])
def test_event_newer_than_the_snapshot_takes_precedence(at: int) -> None:
    """The snapshot may have read the program before or after the exec."""
    table, process = started(execute(10, S), Lost(1, 2 * S), execute(10, at, PROGRAM))
    feed(table, Uid(10, 10, 5, 5, at, 0))
    entry = snapshot_entry(10, S, 3 * S)._replace(stored=OTHER, uid=1, euid=1)
    table.resync(snapshot(entry, at=3 * S))
    is_older = at < 3 * S

    assert (OTHER if is_older else PROGRAM) is process.program
    assert (1 if is_older else 5) == process.euid


def test_exec_older_than_the_snapshot_is_ignored() -> None:
    table = ProcessTable()
    entry = snapshot_entry(10, 0, S)._replace(stored=OTHER)
    table.resync(snapshot(entry, at=S))
    feed(table, execute(10, S - MS, PROGRAM))

    assert OTHER is table.processes[10].program


def test_kernel_thread_gets_its_name_from_a_snapshot() -> None:
    table = ProcessTable()
    (change,) = feed(table, fork(10, S, parent=2))
    assert isinstance(change, Started)
    process = change.process
    before = (process.name, process.program, process.is_kernel_thread, process.euid)
    entry = snapshot_entry(10, S, 2 * S)._replace(
        name="kworker/0:1", is_kernel_thread=True
    )
    table.resync(snapshot(entry, at=2 * S))

    assert before == (None, None, True, 0)
    assert (process.name, process.is_kernel_thread) == ("kworker/0:1", True)


def test_child_of_a_kernel_thread_is_one_until_its_exec() -> None:
    """call_usermodehelper() starts programs such as modprobe this way."""
    table = ProcessTable()
    kthreadd = snapshot_entry(2, 0, S, ppid=0)._replace(
        name="kthreadd", is_kernel_thread=True
    )
    table.resync(snapshot(kthreadd, at=S))
    feed(table, fork(10, 2 * S, parent=2), fork(20, 3 * S, parent=10))
    process = table.processes[20]
    before_exec = process.is_kernel_thread
    feed(table, execute(20, 4 * S, OTHER), fork(30, 5 * S, parent=20))

    assert before_exec
    assert (process.is_kernel_thread, process.program) == (False, OTHER)
    assert not table.processes[30].is_kernel_thread
    assert table.processes[10].name is None


def test_child_of_pid_2_is_no_kernel_thread_if_pid_2_is_not_kthreadd() -> None:
    table = ProcessTable()
    table.resync(snapshot(snapshot_entry(2, 0, S)._replace(stored=OTHER), at=S))
    feed(table, fork(10, 2 * S, parent=2))

    assert not table.processes[10].is_kernel_thread
    assert OTHER is table.processes[10].program


class _Counting(dict[int, tuple[SnapshotEntry, set[int]]]):
    """A dict that counts its lookups."""

    lookups = 0

    def __getitem__(self, pid: int) -> tuple[SnapshotEntry, set[int]]:
        self.lookups += 1
        return super().__getitem__(pid)


def test_long_line_of_descent_takes_linear_time() -> None:
    count = 2000
    chain = _Counting(
        {
            pid: (snapshot_entry(pid, 0, S, ppid=pid - 1), {pid})
            for pid in range(count, 10, -1)
        }
    )
    strangers = descendants_among(chain, {}, root=None)
    descendants = descendants_among(chain, {10}, root=None)

    assert (set(), set(chain)) == (strangers, descendants)
    assert chain.lookups <= 3 * count


def test_cycle_of_parents_is_walked_once() -> None:
    """PIDs reused while a snapshot is taken can form such a cycle."""
    cycle = {pid: (snapshot_entry(pid, 0, S, ppid=11 - pid), {pid}) for pid in (5, 6)}

    assert set() == descendants_among(cycle, {}, root=None)


def test_thread_forks_and_comms_do_not_add_a_process() -> None:
    tracker = tracking()
    returned = take(tracker, thread(11, 10, 2 * S), Comm(10, 10, b"x", 2 * S, 0))

    assert [None, None] == [item.process for item in returned]
    assert isinstance(returned[0].event, Fork)
