"""Random histories of processes, against a slow model of them."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.process_histories import POSITION, STEP_KINDS, STEPS, History, ModelProcess

from procconn import Event, Lost
from procconn.processes import Change, Executed, Process, ProcessTable, Started


def threads_of(table: ProcessTable) -> dict[int, frozenset[int]]:
    return {
        pid: frozenset(process._record.threads or {pid})
        for pid, process in table.processes.items()
    }


def code_of(process: Process) -> int:
    assert process.returncode is not None
    return process.returncode << 8 if process.returncode >= 0 else -process.returncode


class Reported:
    """The changes that a table has reported; asserts that each is possible."""

    def __init__(self, history: History, *, has_loss: bool = False) -> None:
        self._history, self._has_loss = history, has_loss
        self.started: Counter[ModelProcess] = Counter()
        self.ended: dict[ModelProcess, Process] = {}
        self.executed: list[int] = []

    def take(self, changes: list[Change]) -> None:
        """Take changes; assert that each is possible."""
        for change in changes:
            if isinstance(change, Lost):
                continue
            truth = self._truth(change.process)
            if isinstance(change, Started):
                assert truth not in self.ended
                self.started[truth] += 1
            elif isinstance(change, Executed):
                self.executed.append(change.timestamp_ns)
            else:
                assert truth not in self.ended
                self.ended[truth] = change.process
                assert truth.ended_ns is not None

    def check(self, table: ProcessTable) -> None:
        """Assert that what the table reported and holds is true in the end."""
        running = self._history.states[-1].running

        assert {pid: threads for pid, (_, threads) in running.items()} == (
            threads_of(table)
        )
        assert not set(table.processes.values()) & set(self.ended.values())
        assert set(self.started.values()) <= {1}
        for truth in self.started:
            assert truth in self.ended or truth.pid in running
        for truth, process in self.ended.items():
            if process.returncode is not None:
                assert (code_of(process), process.ended_ns) in self._ends(truth)

    def _ends(self, truth: ModelProcess) -> set[tuple[int | None, int | None]]:
        """Tell how the holders of a pid ended: after a loss an exit may be the next's.

        Nothing in an exit says of which holder it is.
        """
        return {
            (it.exit_code, it.ended_ns)
            for it in self._history.all
            if it is truth or (it.pid == truth.pid and self._has_loss)
        }

    def _truth(self, process: Process) -> ModelProcess:
        truth = self._history.process_at(process.pid, process._record.known_ns)
        assert truth is not None
        return truth


@given(STEPS)
def test_a_table_that_sees_everything_knows_everything(
    steps: list[tuple[str, int, int]],
) -> None:
    history = History(steps)
    table, reported = ProcessTable(), Reported(history)
    table.resync(history.snapshot(0, 0))
    fed = 0
    for moment in history.states:
        while fed < moment.events:
            reported.take(table.feed(history.events[fed]))
            fed += 1

        assert {pid: threads for pid, (_, threads) in moment.running.items()} == (
            threads_of(table)
        )

    reported.check(table)
    assert set(history.all[1:]) == set(reported.started)
    ended = {it for it in history.all if it.ended_ns is not None}
    assert ended == set(reported.ended)
    assert all(process.returncode is not None for process in reported.ended.values())
    assert sorted(ns for it in history.all for ns in it.execs) == reported.executed


@given(STEPS)
def test_a_tree_is_what_comes_of_its_root(steps: list[tuple[str, int, int]]) -> None:
    history = History(steps)
    root = next((it for it in history.all if it.in_tree), None)
    table = ProcessTable(tree=root.pid if root else 0)
    fed = 0
    for moment in history.states:
        for event in history.events[fed : moment.events]:
            if root and event.timestamp_ns >= root.started_ns:
                table.feed(event)
        fed = moment.events

        assert {
            pid: threads
            for pid, (truth, threads) in moment.running.items()
            if truth.in_tree
        } == threads_of(table)


@given(STEPS, POSITION, POSITION, st.integers(0, 3), POSITION)
def test_a_snapshot_makes_up_for_what_was_before(
    steps: list[tuple[str, int, int]], begin: int, taken: int, stride: int, put: int
) -> None:
    """The snapshot may go into the table before or after the events that it covers."""
    history = History(steps)
    moments = history.states
    opened = moments[begin % len(moments)]
    first = begin % len(moments) + taken % (len(moments) - begin % len(moments))
    events = history.events[opened.events :]
    table, reported = ProcessTable(), Reported(history)
    position = put % (len(events) + 1)
    for event in events[:position]:
        reported.take(table.feed(event))
    reported.take(table.resync(history.snapshot(first, stride)))
    for event in events[position:]:
        reported.take(table.feed(event))

    reported.check(table)
    for truth in history.all:
        begins = truth.started_ns > opened.now_ns
        assert truth not in reported.started or begins
        # One that ended before its pid was another's in the snapshot may go untold.
        last = history.process_at(truth.pid, moments[first].now_ns)
        assert truth in reported.started or not begins or truth is not last


@given(STEPS, st.tuples(*[POSITION] * 4), st.integers(0, 3))
def test_a_snapshot_makes_up_for_a_loss(
    steps: list[tuple[str, int, int]], where: tuple[int, ...], stride: int
) -> None:
    """It is taken after the loss, and applied after the events that it covers."""
    see_it_made_up_for(steps, where, stride)


@pytest.mark.parametrize("seed", range(4))
def test_so_it_does_in_long_histories(seed: int) -> None:
    """Longer ones than hypothesis likes to make, in which pids come again and again."""
    numbers = random.Random(seed)
    for _ in range(1500):
        steps = [
            (numbers.choice(STEP_KINDS), numbers.randint(0, 20), numbers.randint(0, 20))
            for _ in range(60)
        ]
        where = tuple(numbers.randint(0, 100) for _ in range(4))
        see_it_made_up_for(steps, where, numbers.randint(0, 3))


def see_it_made_up_for(
    steps: list[tuple[str, int, int]], where: tuple[int, ...], stride: int
) -> None:
    history = History(steps)
    begin, length, taken, late = where
    moments, events = history.states, history.events
    lost_from = begin % (len(events) + 1)
    lost_to = min(len(events), lost_from + length % 20)
    after = [i for i, moment in enumerate(moments) if moment.events >= lost_to]
    first = after[taken % len(after)]
    snapshot = history.snapshot(first, stride)
    seen = max(
        [lost_to]
        + [
            i + 1
            for i, event in enumerate(events)
            if event.timestamp_ns <= snapshot.after_ns
        ]
    )
    position = min(len(events), seen + late % 10)
    lost_ns = events[lost_from - 1].timestamp_ns if lost_from else 0
    gap: list[Event] = [Lost(lost_to - lost_from, lost_ns)]
    table, reported = ProcessTable(), Reported(history, has_loss=True)
    table.resync(history.snapshot(0, 0))
    for event in events[:lost_from] + gap + events[lost_to:position]:
        reported.take(table.feed(event))
    reported.take(table.resync(snapshot))
    for event in events[position:]:
        reported.take(table.feed(event))

    reported.check(table)
