"""`Resync`: when to take a snapshot after a loss, and when to apply it to the table.

After a loss a snapshot of /proc is due, at most once a second. Queued events may be
older than the snapshot, and only they show the exit status of a process that is gone.
So the snapshot is applied when the stream has passed its time, or is idle. If more
events are lost before that, some may be newer than the snapshot, so another is due.

`Resync` does no I/O. Its caller checks `is_due`, waits at most `next_timeout()`, and
feeds the received events, or the fact that there were none. `ChangeQueue` is for
callers that want changes, `Tracker` for those that want each event with its process.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from procconn.clock import NS_PER_S
from procconn.events import Event, Lost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procconn.processes.process import Change
    from procconn.processes.snapshot import Snapshot
    from procconn.processes.table import ProcessTable

_IDLE_NS = 10_000_000  # without events, after which all older ones were received
_LATENCIES = 8  # and this many `max_latency`, as an exec may wait for its program
_LATE_NS = 10_000_000  # an event may be received this long after a newer one
_PAUSE_NS = NS_PER_S  # minimum from one snapshot to the next
_SHARE = 4  # and this many times the duration of the last one


class Resync:
    """A process table that snapshots bring up to date after losses.

    Args:
        table: the table.
        initial: the first snapshot; without it, no snapshot is ever due.
        max_latency: the `max_latency` of the connector, in seconds.
    """

    def __init__(
        self,
        table: ProcessTable,
        initial: Snapshot | None = None,
        *,
        max_latency: float = 0.0,
    ) -> None:
        self.table = table
        self._has_snapshots = initial is not None
        self._idle_ns = _IDLE_NS + int(_LATENCIES * max_latency * NS_PER_S)
        self._has_lost = False  # since the last snapshot was taken
        self._due_ns = 0
        self._snapshot: Snapshot | None = None  # taken, but not applied yet
        if initial is not None:
            table.resync(initial)
            self._due_ns = _next_due_ns(initial)

    @property
    def is_due(self) -> bool:
        """Whether to take another snapshot now."""
        is_needed = self._has_lost and self._has_snapshots and self._snapshot is None
        return is_needed and time.monotonic_ns() >= self._due_ns

    def next_timeout(self, timeout: float | None = None) -> float | None:
        """Return how long to wait for events, at most `timeout`, in seconds."""
        if self._snapshot is not None:
            until_ns = self._snapshot.after_ns + self._idle_ns
        elif self._has_lost and self._has_snapshots:
            until_ns = self._due_ns
        else:
            return timeout
        own = max(0, until_ns - time.monotonic_ns()) / NS_PER_S
        return own if timeout is None else min(own, timeout)

    def put_snapshot(self, snapshot: Snapshot | None) -> None:
        """Store a snapshot, to be applied when the stream has passed its time.

        None means that it could not be taken; it is due again later.
        """
        if snapshot is None:
            self._has_lost = True
            self._due_ns = time.monotonic_ns() + _PAUSE_NS
            return
        self._snapshot = snapshot
        self._has_lost = False
        self._due_ns = _next_due_ns(snapshot)

    def _feed(self, event: Event) -> list[Change]:
        """Apply the snapshot if the event has passed its time; feed the event."""
        changes = self._apply_snapshot() if self._is_past_snapshot(event) else []
        self._has_lost = self._has_lost or isinstance(event, Lost)
        changes += self.table.feed(event)
        return changes

    def _is_past_snapshot(self, event: Event) -> bool:
        """Return whether an event shows that the stream has passed the snapshot's time.

        A `Lost` does not: its time is when the drops were noticed, and older events may
        follow it.
        """
        snapshot = self._snapshot
        if snapshot is None or isinstance(event, Lost):
            return False
        return event.timestamp_ns > snapshot.after_ns + _LATE_NS

    @property
    def _is_idle_past_snapshot(self) -> bool:
        """Whether the lack of an event now shows that all older ones were received."""
        snapshot, now_ns = self._snapshot, time.monotonic_ns()
        return snapshot is not None and now_ns >= snapshot.after_ns + self._idle_ns

    def _apply_snapshot(self) -> list[Change]:
        """Apply the snapshot to the table, if there is one."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is None:
            return []
        return self.table.resync(snapshot, is_newest=not self._has_lost)


class ChangeQueue(Resync):
    """Queue of received events and the changes that they cause."""

    def __init__(
        self,
        table: ProcessTable,
        initial: Snapshot | None = None,
        *,
        max_latency: float = 0.0,
    ) -> None:
        super().__init__(table, initial, max_latency=max_latency)
        self._events: deque[Event] = deque()
        self._changes: deque[Change] = deque()

    def put_events(self, events: list[Event]) -> None:
        """Queue received events; an empty list means that the stream is idle."""
        self._events.extend(events)
        if not events and not self._events and self._is_idle_past_snapshot:
            self._changes.extend(self._apply_snapshot())

    def each_change(self) -> Iterator[Change]:
        """Feed queued events one at a time; yield the changes."""
        while self._changes or self._events:
            if self._changes:
                yield self._changes.popleft()
            else:
                self._changes.extend(self._feed(self._events.popleft()))

    def all_changes(self) -> list[Change]:
        """Feed all queued events; return the changes."""
        while self._events:
            self._changes.extend(self._feed(self._events.popleft()))
        changes = list(self._changes)
        self._changes.clear()
        return changes


def _next_due_ns(snapshot: Snapshot) -> int:
    """Return when to take the next snapshot, so that most time is left for events."""
    took_ns = snapshot.after_ns - snapshot.before_ns
    return snapshot.after_ns + max(_PAUSE_NS, _SHARE * took_ns)
