"""The state table in the docstring of procconn/processes/table.py, row by row."""

import re

import pytest
from support.process_events import (
    MS,
    S,
    execute,
    exit_event,
    feed,
    fork,
    snapshot,
    snapshot_entry,
    thread,
)

from procconn import Event, Lost
from procconn.processes import ProcessTable, Snapshot, table
from procconn.processes.record import State

Step = Event | Snapshot | None  # None: no snapshot will follow

SINGLE: list[Step] = [snapshot(at=S), fork(10, 2 * S)]
THREADED: list[Step] = [*SINGLE, thread(11, 10, 2 * S + 1)]
AMBIGUOUS: list[Step] = [*SINGLE, Lost(1, 3 * S)]
UNCONFIRMED: list[Step] = [*AMBIGUOUS, exit_event(10, 10, 4 * S)]
REUSED: list[Step] = [*SINGLE, fork(10, 3 * S)]
AMBIGUOUS_EXIT: list[Step] = [*THREADED, Lost(1, 3 * S), exit_event(11, 10, 4 * S)]

ROWS: dict[tuple[str, str], tuple[list[Step], Step, str]] = {
    ("UNKNOWN", "fork"): ([snapshot(at=S)], fork(10, 2 * S), "SINGLE"),
    ("UNKNOWN", "exec"): ([snapshot(at=S)], execute(10, 2 * S), "SINGLE"),
    ("UNKNOWN", "snapshot: it runs"): (
        [snapshot(at=S)],
        snapshot(snapshot_entry(10, 0, 2 * S, 10, 11), at=2 * S),
        "THREADED",
    ),
    ("any known", "exec"): (THREADED, execute(10, 3 * S), "SINGLE"),
    ("any known", "fork of a thread"): (SINGLE, thread(11, 10, 3 * S), "THREADED"),
    ("SINGLE", "exit of another thread"): (SINGLE, exit_event(11, 10, 3 * S), "SINGLE"),
    ("THREADED", "exit of a thread, others run"): (
        THREADED,
        exit_event(10, 10, 3 * S),
        "THREADED",
    ),
    ("certain", "exit of the last thread"): (
        SINGLE,
        exit_event(10, 10, 3 * S),
        "UNKNOWN",
    ),
    ("ambiguous", "exit of the last thread"): (
        AMBIGUOUS,
        exit_event(10, 10, 4 * S),
        "UNCONFIRMED",
    ),
    ("ambiguous", "snapshot: gone, after an exit"): (
        AMBIGUOUS_EXIT,
        snapshot(at=5 * S),
        "UNKNOWN",
    ),
    ("UNCONFIRMED", "no snapshot will follow"): (UNCONFIRMED, None, "UNKNOWN"),
    ("any known", "snapshot: it runs"): (
        UNCONFIRMED,
        snapshot(snapshot_entry(10, 2 * S, 5 * S, 12), at=5 * S),
        "THREADED",
    ),
    ("any known", "snapshot: gone"): (SINGLE, snapshot(at=5 * S), "UNKNOWN"),
    ("any known", "snapshot: started later"): (
        SINGLE,
        snapshot(snapshot_entry(10, 4 * S, 5 * S), at=5 * S),
        "SINGLE",
    ),
    ("observed", "fork of the same PID"): (SINGLE, fork(10, 3 * S), "REUSED"),
    ("otherwise", "fork of the same PID"): (AMBIGUOUS, fork(10, 4 * S), "SINGLE"),
    ("otherwise", "its own fork"): (
        [snapshot(snapshot_entry(10, S, 2 * S), at=2 * S)],
        fork(10, S + MS),
        "SINGLE",
    ),
    ("REUSED", "exit of the main thread"): (
        REUSED,
        exit_event(10, 10, 3 * S + MS),
        "SINGLE",
    ),
    ("REUSED", "exit of the main thread, too late"): (
        REUSED,
        exit_event(10, 10, 5 * S),
        "UNKNOWN",
    ),
}
ANY = {"as shown", "as before"}


def apply(processes: ProcessTable, step: Step) -> list[str]:
    """Apply a step; return the names of its changes."""
    if step is None:
        changes = processes.end_unconfirmed()
    elif isinstance(step, Snapshot):
        changes = processes.resync(step)
    else:
        changes = processes.feed(step)
    return [type(change).__name__ for change in changes]


def state_of(processes: ProcessTable) -> str:
    process = processes.processes.get(10)
    if process is None:
        return "UNKNOWN"
    return "REUSED" if 10 in processes._reused else process._record.state.name


def rows() -> dict[tuple[str, str], tuple[str, list[str]]]:
    """Parse the table: map state and event to the next state and the changes."""
    lines = re.findall(r"^\|(.*)\|$", table.__doc__ or "", re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines[2:]]
    return {
        (state, event): (next_state, re.findall("[A-Z][a-z]+", changes))
        for state, event, next_state, changes in cells
    }


@pytest.mark.parametrize("row", rows(), ids=" ".join)
def test_row_of_the_state_table(row: tuple[str, str]) -> None:
    next_state, changes = rows()[row]
    before, step, expected = ROWS[row]
    processes = ProcessTable()
    for earlier in before:
        apply(processes, earlier)

    assert changes == apply(processes, step)
    assert expected == state_of(processes)
    assert next_state in {expected, *ANY}


def test_every_state_has_a_row() -> None:
    named = {state for state, _ in rows()} | {
        next_state for next_state, _ in rows().values()
    }

    assert {state.name for state in State} <= named
    assert set(ROWS) == set(rows())


def test_exec_reports_a_start_if_its_fork_was_dropped() -> None:
    processes = ProcessTable()
    processes.resync(snapshot(at=S))
    feed(processes, Lost(1, 2 * S))

    assert ["Started", "Executed"] == apply(processes, execute(10, 3 * S))
