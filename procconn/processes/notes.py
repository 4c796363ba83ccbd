"""What was noted of events, to bring an older reading of /proc up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procconn.events import Comm, Exec, Exit

if TYPE_CHECKING:
    from procconn.processes.snapshot import SnapshotEntry

SLACK_NS = 100_000_000  # /proc rounds times to 10 ms; a fork is reported later still


class Note(NamedTuple):
    """What an event did to the threads of a process, or to its name."""

    tgid: int
    pid: int
    kind: type
    timestamp_ns: int


def brought_up_to_date(
    entry: SnapshotEntry, notes: list[Note]
) -> tuple[set[int], bool]:
    """Apply to an entry what came after its reading.

    Returns:
        The threads that run, and whether its name is still the one that was read.
    """
    threads, is_named = set(entry.threads), True
    for _, pid, kind, timestamp_ns in notes:
        if timestamp_ns < entry.before_ns:
            continue
        if kind is Exec:
            threads, is_named = {entry.pid}, False
        elif kind is Comm:
            is_named = False
        elif kind is Exit:
            threads.discard(pid)
        elif pid != entry.pid:
            threads.add(pid)
        elif timestamp_ns > max(entry.after_ns, (entry.started_ns or 0) + SLACK_NS):
            return set(), False  # the pid is another's since
    return threads, is_named
