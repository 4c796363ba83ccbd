"""The event journal, which brings the entries of a snapshot up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procconn.events import Comm, Exec, Exit, Uid
from procconn.processes.record import SLACK_NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from procconn.processes.snapshot import SnapshotEntry


class JournalEntry(NamedTuple):
    """An event that changed the threads, name, program or user IDs of a process."""

    tgid: int
    pid: int
    kind: type
    timestamp_ns: int


def by_pid(journal: Iterable[JournalEntry]) -> dict[int, list[JournalEntry]]:
    """Group a journal by PID; the events of a process stay in order."""
    events: dict[int, list[JournalEntry]] = {}
    for event in journal:
        events.setdefault(event.tgid, []).append(event)
    return events


def updated(
    entry: SnapshotEntry, journal: Iterable[JournalEntry]
) -> tuple[SnapshotEntry, set[int]]:
    """Apply the events that are later than an entry of a snapshot.

    Args:
        entry: the process as it was read.
        journal: the events of its PID, in order.

    Returns:
        The entry, with None for fields that have changed since; the running threads.
    """
    threads = set(entry.threads)
    for _, pid, kind, timestamp_ns in journal:
        if timestamp_ns < entry.before_ns:
            continue
        if kind is Exec:
            threads = {entry.pid}
            entry = entry._replace(
                name=None, stored=None, uid=None, euid=None, is_kernel_thread=False
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
            return entry, set()  # PID wrap-around: another process has the PID now
    return entry, threads
