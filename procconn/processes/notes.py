"""Entries of a snapshot: brought up to date by events, put into processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procconn.events import Comm, Exec, Exit, Uid

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from procconn.processes.process import Process
    from procconn.processes.snapshot import SnapshotEntry
    from procconn.programs import Program

SLACK_NS = 100_000_000  # /proc rounds times to 10 ms; a fork is reported later still


class Note(NamedTuple):
    """An event that changed the threads, name, program or users of a process."""

    tgid: int
    pid: int
    kind: type
    timestamp_ns: int


def brought_up_to_date(
    entry: SnapshotEntry, notes: list[Note]
) -> tuple[SnapshotEntry, set[int]]:
    """Apply to an entry what came after its reading.

    Returns:
        The entry, with None for what changed since, and the threads that run.
    """
    threads = set(entry.threads)
    for _, pid, kind, timestamp_ns in notes:
        if timestamp_ns < entry.before_ns:
            continue
        if kind is Exec:
            threads = {entry.pid}
            entry = entry._replace(
                name=None, kept=None, uid=None, euid=None, is_kernel_thread=False
            )
        elif kind is Comm:
            entry = entry._replace(name=None)
        elif kind is Uid:
            entry = entry._replace(uid=None, euid=None)
        elif kind is Exit:
            threads.discard(pid)
        elif pid != entry.pid:
            threads.add(pid)
        elif timestamp_ns > max(entry.after_ns, (entry.started_ns or 0) + SLACK_NS):
            return entry, set()  # the pid is another's since
    return entry, threads


def is_same(process: Process, entry: SnapshotEntry) -> bool:
    """Return whether an entry is of that process, not of a later one with its PID."""
    started_ns = entry.started_ns
    return started_ns is not None and started_ns <= process._known_ns + SLACK_NS


def fill(process: Process, entry: SnapshotEntry, threads: set[int]) -> None:
    """Set the attributes of a process from an entry."""
    process._threads = None if threads == {entry.pid} else threads
    process._read_ns = entry.before_ns
    process._seems_ended_epoch = -1
    process.is_kernel_thread = entry.is_kernel_thread
    if entry.name is not None:
        process.name = entry.name
    program = entry.program
    if program is not None and is_other(program, process.program):
        process.program = program
    if entry.euid is not None:
        process.uid, process.euid = entry.uid, entry.euid
    if process.started_ns is None and entry.started_ns is not None:
        process.started_ns = process._known_ns = entry.started_ns
        process.ppid = entry.ppid


def kin_among(
    strangers: Mapping[int, tuple[SnapshotEntry, set[int]]],
    kept: Container[int | None],
    root: int | None,
) -> set[int]:
    """Return the unknown processes that are the root, or descend from it or a kept one.

    Each is visited once, however long the chains are.
    """
    kin = {pid for pid in strangers if pid == root}
    passed: set[int] = set()
    for pid in strangers:
        path: list[int] = []
        at: int | None = pid
        while at is not None and at in strangers and not (at in kin or at in passed):
            path.append(at)
            passed.add(at)
            at = strangers[at][0].ppid
        if at in kin or at in kept:
            kin.update(path)
    return kin


def is_other(program: Program, known: Program | None) -> bool:
    """Return whether a reading is of another program than the known one.

    If it is of the same program, the known reading is nearer to its exec.
    """
    if known is None or known.argv is None:
        return known is None or program.argv is not None
    if program.argv is None:
        return False
    if program.exe is not None and known.exe is not None and program.exe != known.exe:
        return True
    return _shown(program.argv) != _shown(known.argv)


def _shown(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Strip empty arguments from the end: padding, if the title was rewritten."""
    end = len(argv)
    while end and not argv[end - 1]:
        end -= 1
    return argv[:end]
