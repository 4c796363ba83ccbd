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
    """Track from a snapshot of 1 s on; it is later than that now."""
    return Tracker(ProcessTable(), snapshot(*entries, at=S))


def take(tracker: Tracker, *events: Event) -> list[EventInContext]:
    return [it for event in events for it in tracker.take(event)]


def reported(taken: list[EventInContext]) -> list[tuple[str, int, bool]]:
    """Tell the kinds of events, when they were, and whether they ended processes."""
    return [
        (type(it.event).__name__, it.event.timestamp_ns // MS, it.ended) for it in taken
    ]


def test_an_exit_after_a_loss_is_told_when_a_snapshot_confirms_it() -> None:
    tracker = tracking()
    end = exit_event(10, 10, 4 * S, 3 << 8)
    before = take(tracker, fork(10, 2 * S), execute(10, 2 * S, OTHER), Lost(1, 3 * S))
    held = take(tracker, end, fork(20, 5 * S))
    tracker.put_snapshot(snapshot(snapshot_entry(20, 5 * S, 6 * S), at=6 * S))
    *after, last = take(tracker, fork(30, 7 * S))
    (ended,) = after

    assert [False] * 3 == [it.ended for it in before]
    assert [("Fork", 5000, False)] == reported(held)
    assert (ended.event, ended.ended) == (end, True)
    assert (ended.program, ended.uid, ended.duration) == (OTHER, 1000, 2.0)
    assert ended.returncode_of(end) == 3
    assert ("Fork", 7000, False) == reported([last])[0]


def test_an_exit_that_left_threads_is_that_of_a_thread() -> None:
    """Its process is in the snapshot, with a thread that began in the gap."""
    tracker = tracking(snapshot_entry(10, 0, S))
    held = take(tracker, Lost(1, 2 * S), exit_event(10, 10, 3 * S))
    tracker.put_snapshot(snapshot(snapshot_entry(10, 0, 4 * S, 11), at=4 * S))
    taken = take(tracker, exit_event(11, 10, 5 * S, 7 << 8))

    assert ["Lost"] == [type(it.event).__name__ for it in held]
    assert [("Exit", 3000, False), ("Exit", 5000, True)] == reported(taken)
    assert isinstance(taken[-1].event, Exit)
    assert 7 == taken[-1].returncode_of(taken[-1].event)


def test_a_process_has_ended_with_the_last_exit_whatever_threads_ended_in_the_gap() -> (
    None
):
    tracker = tracking(snapshot_entry(10, 0, S, 10, 11, 12))  # 12 ends in the gap
    first = take(tracker, Lost(1, 2 * S), exit_event(10, 10, 3 * S, 9))
    second = take(tracker, exit_event(11, 10, 3 * S + MS, 9))
    tracker.put_snapshot(snapshot(at=4 * S))
    last = take(tracker, fork(20, 5 * S))

    assert [("Lost", 2000, False)] == reported(first)
    assert [("Exit", 3000, False)] == reported(second)  # as another one follows it
    assert [("Exit", 3001, True), ("Fork", 5000, False)] == reported(last)
    assert (last[0].process and last[0].process.returncode) == -9


def test_a_snapshot_waits_for_what_is_older_also_behind_another_loss() -> None:
    """Events after the loss may be older than it, if the reader was stopped."""
    tracker = tracking(snapshot_entry(10, 0, S), snapshot_entry(20, 0, S))
    take(tracker, Lost(1, 2 * S))
    tracker.put_snapshot(snapshot(snapshot_entry(30, 3 * S, 5 * S), at=5 * S))
    held = take(tracker, Lost(7, 6 * S), exit_event(10, 10, 4 * S, 3 << 8))
    taken = take(tracker, fork(40, 5 * S + 50 * MS))

    assert [("Lost", 6000, False)] == reported(held)
    assert [("Exit", 4000, True), ("Fork", 5050, False)] == reported(taken)
    assert (taken[0].process and taken[0].process.returncode) == 3
    assert {30, 40} == set(tracker.table.processes)  # 20 has ended in a gap
    assert tracker.is_due  # that loss may be of what is newer


def test_a_loss_behind_a_snapshot_leaves_its_processes_in_doubt() -> None:
    tracker = tracking()
    take(tracker, Lost(1, 2 * S))
    tracker.put_snapshot(snapshot(snapshot_entry(10, 3 * S, 4 * S), at=4 * S))
    held = take(
        tracker, Lost(1, 4 * S), exit_event(20, 20, 5 * S), exit_event(10, 10, 5 * S)
    )
    tracker.put_snapshot(snapshot(at=6 * S))
    taken = take(tracker, fork(30, 7 * S))

    assert [("Lost", 4000, False), ("Exit", 5000, True)] == reported(held)
    assert [("Exit", 5000, True), ("Fork", 7000, False)] == reported(taken)


def test_silence_shows_that_what_is_older_has_come() -> None:
    tracker = tracking(snapshot_entry(10, 0, S))
    take(tracker, Lost(1, 2 * S), exit_event(10, 10, 3 * S))
    now = time.monotonic_ns()
    tracker.put_snapshot(Snapshot((), now, now + S))
    patience = tracker.patience(None)
    early = tracker.take_silence()
    tracker.put_snapshot(Snapshot((), now - 2 * S, now - S))

    assert patience is not None
    assert 0 < patience < 2
    assert [] == early
    assert [("Exit", 3000, True)] == reported(tracker.take_silence())
    assert tracker.patience(None) is None


def test_silence_is_longer_where_events_are_held_back() -> None:
    tracker = Tracker(ProcessTable(), snapshot(at=S), max_latency=1.0)
    take(tracker, Lost(1, 2 * S))
    now = time.monotonic_ns()
    tracker.put_snapshot(Snapshot((), now, now))
    patience = tracker.patience(None)

    assert patience is not None
    assert patience > 2


def test_at_the_end_all_is_told_with_and_without_a_last_snapshot() -> None:
    ends = []
    for last in (snapshot(at=5 * S), None):
        tracker = tracking(snapshot_entry(10, 0, S))
        take(tracker, Lost(1, 2 * S), exit_event(10, 10, 3 * S, 3 << 8))
        assert tracker.is_waiting
        ends.append(tracker.finish(last))
        assert not tracker.is_waiting

    assert [[("Exit", 3000, True)]] * 2 == list(map(reported, ends))
    assert [3, 3] == [end.process and end.process.returncode for (end,) in ends]


def test_without_a_snapshot_nothing_ends_and_it_is_asked_for_again_later() -> None:
    tracker = tracking(snapshot_entry(10, 0, S))
    take(tracker, Lost(1, 2 * S))
    assert tracker.is_due
    tracker.put_snapshot(None)
    taken = take(tracker, fork(20, 9 * S))

    assert not tracker.is_due
    assert [("Fork", 9000, False)] == reported(taken)
    assert {10, 20} == set(tracker.table.processes)
    patience = tracker.patience(None)
    assert patience is not None
    assert 0 < patience <= 1


def test_a_slow_snapshot_is_taken_seldom() -> None:
    now = time.monotonic_ns()
    tracker = Tracker(ProcessTable(), Snapshot((), now - 2 * S, now))
    take(tracker, Lost(1, now))
    patience = tracker.patience(None)

    assert not tracker.is_due
    assert patience is not None
    assert patience > 4


def test_a_recording_has_no_snapshots_and_tells_at_once() -> None:
    tracker = Tracker(ProcessTable())
    *_, lost, end = take(
        tracker, fork(10, 0), Lost(1, 1), exit_event(10, 10, 2, 3 << 8)
    )

    assert isinstance(lost.event, Lost)
    assert (end.ended, end.duration) == (True, 2e-9)
    assert not tracker.is_due
    assert [] == tracker.finish()


def test_an_exit_is_of_the_earlier_one_where_its_pid_is_used_again_already() -> None:
    """The kernel reports the exit of the first process after the fork of the second."""
    tracker = tracking()
    take(tracker, fork(10, 2 * S), execute(10, 2 * S, PROGRAM))
    first = tracker.table.processes[10]
    take(tracker, fork(10, 3 * S), execute(10, 3 * S + MS, OTHER))
    (end,) = take(tracker, exit_event(10, 10, 3 * S - MS, 3 << 8))
    (last,) = take(tracker, exit_event(10, 10, 4 * S))

    assert (end.process, end.program, end.ended) == (first, PROGRAM, True)
    assert (last.program, last.ended) == (OTHER, True)


def test_an_older_exit_does_not_stand_for_an_end_that_was_not_seen() -> None:
    """Its thread was gone when the process was read; what came later was lost."""
    tracker = tracking(snapshot_entry(10, 0, S))
    take(tracker, Lost(1, 2 * S), exit_event(11, 10, S - MS, 3 << 8))
    tracker.put_snapshot(snapshot(at=4 * S))
    taken = take(tracker, fork(20, 5 * S))

    assert [("Exit", 999, False), ("Fork", 5000, False)] == reported(taken)
    assert [20] == list(tracker.table.processes)


@given(STEPS, st.tuples(*[POSITION] * 5), st.integers(0, 3))
def test_each_event_comes_out_once_and_ends_agree(
    steps: list[tuple[str, int, int]], where: tuple[int, ...], stride: int
) -> None:
    """Whatever is lost, and if more is lost between the snapshot and its time."""
    see_that_ends_agree(steps, where, stride)


@pytest.mark.parametrize("seed", range(2))
def test_so_they_do_in_long_histories(seed: int) -> None:
    numbers = random.Random(seed)
    for _ in range(700):
        steps = [
            (numbers.choice(STEP_KINDS), numbers.randint(0, 20), numbers.randint(0, 20))
            for _ in range(60)
        ]
        where = tuple(numbers.randint(0, 100) for _ in range(5))
        see_that_ends_agree(steps, where, numbers.randint(0, 3))


def see_that_ends_agree(
    steps: list[tuple[str, int, int]], where: tuple[int, ...], stride: int
) -> None:
    history = History(steps)
    begin, length, taken, later, second = where
    moments, events = history.states, history.events
    lost_from = begin % (len(events) + 1)
    lost_to = min(len(events), lost_from + length % 20)
    after = [i for i, moment in enumerate(moments) if moment.events >= lost_to]
    first = after[taken % len(after)]
    position = moments[first].events
    gap_start = min(len(events), position + second % 10)
    resumed = min(len(events), gap_start + later % 5)
    tracker = Tracker(ProcessTable(), history.snapshot(0, 0))
    out = take(tracker, *events[:lost_from], Lost(1, 0), *events[lost_to:position])
    tracker.put_snapshot(history.snapshot(first, stride))
    out += take(tracker, *events[position:gap_start], Lost(1, 0), *events[resumed:])
    gap = events[gap_start:resumed]
    # An exit may have been the last one, or be that of who has the pid since.
    lost_again = {it.tgid for it in gap if isinstance(it, Exit)}
    lost_again |= {it.child_pid for it in gap if isinstance(it, Fork)}
    last = history.snapshot(len(moments) - 1, 0)
    out += tracker.finish(last)

    fed = [*events[:lost_from], *events[lost_to:gap_start], *events[resumed:]]
    assert Counter(map(id, fed)) == Counter(
        id(it.event) for it in out if not isinstance(it.event, Lost)
    )
    assert set(moments[-1].running) == set(tracker.table.processes)
    ends = [it.process for it in out if it.ended and it.process is not None]
    assert len(ends) == len(set(ends))
    true_ends = {(it.pid, it.ended_ns) for it in history.all}
    for it in out:
        if it.ended and isinstance(it.event, Exit) and it.process is not None:
            end = it.process.pid, it.event.timestamp_ns
            assert end in true_ends or end[0] in lost_again


# What the table knows of a process:


def test_a_fork_runs_its_parents_program_as_its_parents_user() -> None:
    table = ProcessTable()
    feed(table, execute(7, S, OTHER), fork(8, 2 * S, parent=7), execute(7, 3 * S))
    child = table.processes[8]

    assert (child.program, child.uid, child.euid) == (OTHER, 0, 1000)
    assert table.processes[7].program is None


def test_users_follow_their_events_of_the_first_thread() -> None:
    table, process = started(execute(10, S, OTHER))
    feed(table, Uid(11, 10, 5, 6, 2 * S, 0), Uid(10, 10, 33, 34, 2 * S, 0))

    assert (process.uid, process.euid) == (33, 34)


def test_a_snapshot_brings_the_programs_of_who_ran_before() -> None:
    table = ProcessTable()
    entry = snapshot_entry(10, 0, S)._replace(kept=OTHER, uid=0, euid=1000)
    table.resync(snapshot(entry, at=S))
    process = table.processes[10]

    assert (process.program, process.uid, process.euid) == (OTHER, 0, 1000)


@pytest.mark.parametrize(
    ("read", "is_taken"),
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
def test_after_a_loss_a_program_is_read_again(
    read: Program | None, is_taken: bool
) -> None:
    """An exec may have been lost. What was read at the exec is better, if the same."""
    table, process = started(execute(10, S, PROGRAM), Lost(1, 2 * S))
    entry = snapshot_entry(10, S, 3 * S)._replace(kept=read)
    table.resync(snapshot(entry, at=3 * S))

    assert (read if is_taken else PROGRAM) is process.program


@pytest.mark.parametrize("at", [3 * S - MS, 3 * S + MS], ids=["older", "newer"])
def test_what_an_event_said_is_kept_if_it_is_newer_than_the_reading(at: int) -> None:
    """The program that was read is of the exec before, or of the one after."""
    table, process = started(execute(10, S), Lost(1, 2 * S), execute(10, at, PROGRAM))
    feed(table, Uid(10, 10, 5, 5, at, 0))
    entry = snapshot_entry(10, S, 3 * S)._replace(kept=OTHER, uid=1, euid=1)
    table.resync(snapshot(entry, at=3 * S))
    is_older = at < 3 * S

    assert (OTHER if is_older else PROGRAM) is process.program
    assert (1 if is_older else 5) == process.euid


def test_an_exec_from_before_the_reading_that_comes_later_changes_nothing() -> None:
    table = ProcessTable()
    entry = snapshot_entry(10, 0, S)._replace(kept=OTHER)
    table.resync(snapshot(entry, at=S))
    feed(table, execute(10, S - MS, PROGRAM))

    assert OTHER is table.processes[10].program


def test_a_kernel_thread_has_no_program_and_no_name_until_proc_says_it() -> None:
    table = ProcessTable()
    thread_of = fork(10, S, parent=2)
    (change,) = feed(table, thread_of)
    assert isinstance(change, Started)
    process = change.process
    before = (process.name, process.program, process.is_kernel_thread, process.euid)
    entry = snapshot_entry(10, S, 2 * S)._replace(
        name="kworker/0:1", is_kernel_thread=True
    )
    table.resync(snapshot(entry, at=2 * S))

    assert before == (None, None, True, 0)
    assert (process.name, process.is_kernel_thread) == ("kworker/0:1", True)


def test_what_a_kernel_thread_forks_is_one_until_it_executes_a_program() -> None:
    """So does call_usermodehelper(), as for modprobe."""
    table = ProcessTable()
    kthreadd = snapshot_entry(2, 0, S, ppid=0)._replace(
        name="kthreadd", is_kernel_thread=True
    )
    table.resync(snapshot(kthreadd, at=S))
    feed(table, fork(10, 2 * S, parent=2), fork(20, 3 * S, parent=10))
    process = table.processes[20]
    was_one = process.is_kernel_thread
    feed(table, execute(20, 4 * S, OTHER), fork(30, 5 * S, parent=20))

    assert was_one
    assert (process.is_kernel_thread, process.program) == (False, OTHER)
    assert not table.processes[30].is_kernel_thread
    assert table.processes[10].name is None


def test_a_child_of_pid_2_is_none_where_that_is_not_kthreadd() -> None:
    table = ProcessTable()
    table.resync(snapshot(snapshot_entry(2, 0, S)._replace(kept=OTHER), at=S))
    feed(table, fork(10, 2 * S, parent=2))

    assert not table.processes[10].is_kernel_thread
    assert OTHER is table.processes[10].program


class _Counting(dict[int, tuple[SnapshotEntry, set[int]]]):
    """A dict that counts how often it is asked."""

    asked = 0

    def __getitem__(self, pid: int) -> tuple[SnapshotEntry, set[int]]:
        self.asked += 1
        return super().__getitem__(pid)


def test_a_long_line_of_descent_takes_linear_time() -> None:
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
    assert chain.asked <= 3 * count


def test_a_circle_of_descent_is_passed_once() -> None:
    """As where pids were used again while a snapshot was taken."""
    circle = {pid: (snapshot_entry(pid, 0, S, ppid=11 - pid), {pid}) for pid in (5, 6)}

    assert set() == descendants_among(circle, {}, root=None)


def test_threads_and_names_do_not_make_a_process_known() -> None:
    tracker = tracking()
    taken = take(tracker, thread(11, 10, 2 * S), Comm(10, 10, b"x", 2 * S, 0))

    assert [None, None] == [it.process for it in taken]
    assert isinstance(taken[0].event, Fork)
