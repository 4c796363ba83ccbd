"""The event journal: events that a snapshot's entries are brought up to date with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procconn.events import Comm, Exec, Exit, Uid
from procconn.processes.record import SLACK_NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from procconn.processes.snapshot import SnapshotEntry


class JournalEntry(NamedTuple):
    """An event that changed the threads, name, program or users of a process."""

    tgid: int
    pid: int
    kind: type
    timestamp_ns: int


def by_pid(journal: Iterable[JournalEntry]) -> dict[int, list[JournalEntry]]:
    """Sort a journal by process; each one's events stay in their order."""
    events: dict[int, list[JournalEntry]] = {}
    for event in journal:
        events.setdefault(event.tgid, []).append(event)
    return events


def updated(
    entry: SnapshotEntry, journal: Iterable[JournalEntry]
) -> tuple[SnapshotEntry, set[int]]:
    """Apply to an entry what happened after its reading.

    Args:
        entry: what a snapshot shows of a process.
        journal: the events of its PID, in their order.

    Returns:
        The entry, with None for what changed since, and the threads that run.
    """
    threads = set(entry.threads)
    for _, pid, kind, timestamp_ns in journal:
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
            return entry, set()  # after PID wrap-around, the PID is another's
    return entry, threads
