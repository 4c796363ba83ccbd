"""Random process histories, compared with a slow model."""

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
    """Changes that a table has reported, each of which the history allows."""

    def __init__(self, history: History, *, has_loss: bool = False) -> None:
        self._history, self._has_loss = history, has_loss
        self.started: Counter[ModelProcess] = Counter()
        self.ended: dict[ModelProcess, Process] = {}
        self.executed: list[int] = []

    def add(self, changes: list[Change]) -> None:
        """Add changes; assert that the history allows each of them."""
        for change in changes:
            if isinstance(change, Lost):
                continue
            model = self._model(change.process)
            if isinstance(change, Started):
                assert model not in self.ended
                self.started[model] += 1
            elif isinstance(change, Executed):
                self.executed.append(change.timestamp_ns)
            else:
                assert model not in self.ended
                self.ended[model] = change.process
                assert model.ended_ns is not None

    def check(self, table: ProcessTable) -> None:
        """Assert that the changes, and the table at the end, agree with the history."""
        running = self._history.states[-1].running

        assert {pid: threads for pid, (_, threads) in running.items()} == (
            threads_of(table)
        )
        assert not set(table.processes.values()) & set(self.ended.values())
        assert set(self.started.values()) <= {1}
        for model in self.started:
            assert model in self.ended or model.pid in running
        for model, process in self.ended.items():
            if process.returncode is not None:
                assert (code_of(process), process.ended_ns) in self._ends(model)

    def _ends(self, model: ModelProcess) -> set[tuple[int | None, int | None]]:
        """Return the exit code and time of a process.

        After a loss, include all processes with the same PID: an exit event does not
        say which of them exited.
        """
        return {
            (other.exit_code, other.ended_ns)
            for other in self._history.all
            if other is model or (other.pid == model.pid and self._has_loss)
        }

    def _model(self, process: Process) -> ModelProcess:
        model = self._history.process_at(process.pid, process._record.known_ns)
        assert model is not None
        return model


@given(STEPS)
def test_table_that_gets_all_events_equals_the_model(
    steps: list[tuple[str, int, int]],
) -> None:
    history = History(steps)
    table, reported = ProcessTable(), Reported(history)
    table.resync(history.snapshot(0, 0))
    fed = 0
    for state in history.states:
        while fed < state.events:
            reported.add(table.feed(history.events[fed]))
            fed += 1

        assert {pid: threads for pid, (_, threads) in state.running.items()} == (
            threads_of(table)
        )

    reported.check(table)
    assert set(history.all[1:]) == set(reported.started)
    ended = {model for model in history.all if model.ended_ns is not None}
    assert ended == set(reported.ended)
    assert all(process.returncode is not None for process in reported.ended.values())
    execs = sorted(ns for model in history.all for ns in model.execs)
    assert execs == reported.executed


@given(STEPS)
def test_tree_has_the_root_and_its_descendants(
    steps: list[tuple[str, int, int]],
) -> None:
    history = History(steps)
    root = next((model for model in history.all if model.in_tree), None)
    table = ProcessTable(tree=root.pid if root else 0)
    fed = 0
    for state in history.states:
        for event in history.events[fed : state.events]:
            if root and event.timestamp_ns >= root.started_ns:
                table.feed(event)
        fed = state.events

        assert {
            pid: threads
            for pid, (model, threads) in state.running.items()
            if model.in_tree
        } == threads_of(table)


@given(STEPS, POSITION, POSITION, st.integers(0, 3), POSITION)
def test_snapshot_supplies_pre_existing_processes(
    steps: list[tuple[str, int, int]],
    begin: int,
    delay: int,
    stride: int,
    position: int,
) -> None:
    """The table may get the snapshot before or after the events that it covers."""
    history = History(steps)
    states = history.states
    opened = states[begin % len(states)]
    first = begin % len(states) + delay % (len(states) - begin % len(states))
    events = history.events[opened.events :]
    table, reported = ProcessTable(), Reported(history)
    position %= len(events) + 1
    for event in events[:position]:
        reported.add(table.feed(event))
    reported.add(table.resync(history.snapshot(first, stride)))
    for event in events[position:]:
        reported.add(table.feed(event))

    reported.check(table)
    for model in history.all:
        begins = model.started_ns > opened.now_ns
        assert model not in reported.started or begins
        # The start may go unreported if the snapshot has a later process with this PID.
        last = history.process_at(model.pid, states[first].now_ns)
        assert model in reported.started or not begins or model is not last


@given(STEPS, st.tuples(*[POSITION] * 4), st.integers(0, 3))
def test_snapshot_repairs_a_loss(
    steps: list[tuple[str, int, int]], where: tuple[int, ...], stride: int
) -> None:
    """The snapshot is taken after the loss and applied after the events it covers."""
    check_resync_after_a_loss(steps, where, stride)


@pytest.mark.parametrize("seed", range(4))
def test_snapshot_repairs_a_loss_in_long_histories(seed: int) -> None:
    """Longer histories than Hypothesis generates, with frequent PID reuse."""
    rng = random.Random(seed)
    for _ in range(1500):
        steps = [
            (rng.choice(STEP_KINDS), rng.randint(0, 20), rng.randint(0, 20))
            for _ in range(60)
        ]
        where = tuple(rng.randint(0, 100) for _ in range(4))
        check_resync_after_a_loss(steps, where, rng.randint(0, 3))


def check_resync_after_a_loss(
    steps: list[tuple[str, int, int]], where: tuple[int, ...], stride: int
) -> None:
    history = History(steps)
    begin, length, delay, late = where
    states, events = history.states, history.events
    lost_from = begin % (len(events) + 1)
    lost_to = min(len(events), lost_from + length % 20)
    after = [i for i, state in enumerate(states) if state.events >= lost_to]
    first = after[delay % len(after)]
    snapshot = history.snapshot(first, stride)
    covered = max(
        [lost_to]
        + [
            i + 1
            for i, event in enumerate(events)
            if event.timestamp_ns <= snapshot.after_ns
        ]
    )
    position = min(len(events), covered + late % 10)
    lost_ns = events[lost_from - 1].timestamp_ns if lost_from else 0
    loss: list[Event] = [Lost(lost_to - lost_from, lost_ns)]
    table, reported = ProcessTable(), Reported(history, has_loss=True)
    table.resync(history.snapshot(0, 0))
    for event in events[:lost_from] + loss + events[lost_to:position]:
        reported.add(table.feed(event))
    reported.add(table.resync(snapshot))
    for event in events[position:]:
        reported.add(table.feed(event))

    reported.check(table)
