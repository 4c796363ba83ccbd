"""Builds process events, snapshots and process tables."""

from procconn import Event, Exec, Exit, Fork
from procconn.processes import (
    Change,
    Process,
    ProcessTable,
    Snapshot,
    SnapshotEntry,
    Started,
)
from procconn.programs import Program, Usage

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


def exit_event(
    tid: int, tgid: int, at: int, code: int = 0, usage: Usage | None = None
) -> Exit:
    return Exit(tid, tgid, code, 17, 0, 0, at, 0, usage)


def usage(number: int) -> Usage:
    return Usage(*range(number, number + len(Usage._fields)))


def snapshot_entry(
    pid: int, started: int, at: int, *threads: int, ppid: int = 1
) -> SnapshotEntry:
    """Build a snapshot entry; for a zombie `threads` is 0."""
    ids = tuple(tid for tid in threads or (pid,) if tid)
    return SnapshotEntry(pid, ppid, "seen", started, ids, at, at + 1)


def snapshot(*entries: SnapshotEntry, at: int) -> Snapshot:
    return Snapshot(entries, at, at + MS)


def feed(table: ProcessTable, *events: Event) -> list[Change]:
    return [change for event in events for change in table.feed(event)]


def started(*events: Event) -> tuple[ProcessTable, Process]:
    """Return a table with process 10, which started at 1 s, after the events."""
    table = ProcessTable()
    table.resync(snapshot(at=S // 2))
    (change,) = table.feed(fork(10, S))
    assert isinstance(change, Started)
    feed(table, *events)
    return table, change.process
