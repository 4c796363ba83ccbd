"""`Follower`: a table that is kept in step with a stream, and with /proc after a loss.

When events were lost, another snapshot is due, at most one a second. The events that
queued meanwhile are older than it in part, and know better how what is gone has ended:
so it goes into the table when the stream has passed its time, or is silent.

It does no I/O. Whoever reads asks `is_due`, waits no longer than `patience` says, and
hands over what came, also if that is nothing.
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

_SILENCE = 0.01  # seconds without an event: then what was queued has come
_LATE_NS = 10_000_000  # an event may come so long after one that is newer
_PAUSE_NS = NS_PER_S  # from one snapshot to the next


class Follower:
    """What was received and not fed, what was changed and not told."""

    def __init__(self, table: ProcessTable, first: Snapshot) -> None:
        self.table = table
        table.resync(first)
        self._events: deque[Event] = deque()
        self._changes: deque[Change] = deque()
        self._is_stale = False  # whether events were lost since the last snapshot
        self._due_ns = first.after_ns + _PAUSE_NS
        self._snapshot: Snapshot | None = None  # taken, and not in the table yet

    @property
    def is_due(self) -> bool:
        """Whether another snapshot is to be taken now."""
        return self._is_stale and time.monotonic_ns() >= self._due_ns

    def patience(self, timeout: float | None) -> float | None:
        """Tell how long to wait for events, if the caller has so many seconds."""
        if self._snapshot is not None:
            own = _SILENCE
        elif self._is_stale:
            own = max(0, self._due_ns - time.monotonic_ns()) / NS_PER_S
        else:
            return timeout
        return own if timeout is None else min(own, timeout)

    def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot until the stream has passed its time."""
        self._snapshot = snapshot
        self._is_stale = False
        self._due_ns = snapshot.after_ns + _PAUSE_NS

    def put_events(self, events: list[Event]) -> None:
        """Queue what was received; nothing says that the stream is silent."""
        self._events.extend(events)
        if not events and self._snapshot is not None:
            self._resync(self._snapshot)

    def each_change(self) -> Iterator[Change]:
        """Feed what is queued, an event at a time, and tell what it changes."""
        while self._changes or self._events:
            if self._changes:
                yield self._changes.popleft()
            else:
                self._feed()

    def all_changes(self) -> list[Change]:
        """Feed all that is queued, then tell what it changed."""
        while self._events:
            self._feed()
        changes = list(self._changes)
        self._changes.clear()
        return changes

    def _feed(self) -> None:
        """Take in the next event, or first the snapshot whose time it has passed.

        A loss passes it whatever its time is: some of it may be newer, as more can be
        dropped until it is told.
        """
        event = self._events[0]
        is_loss = isinstance(event, Lost)
        if (snapshot := self._snapshot) is not None and (
            is_loss or event.timestamp_ns > snapshot.after_ns + _LATE_NS
        ):
            self._resync(snapshot)
            return
        self._is_stale = self._is_stale or is_loss
        self._changes.extend(self.table.feed(self._events.popleft()))

    def _resync(self, snapshot: Snapshot) -> None:
        self._changes.extend(self.table.resync(snapshot))
        self._snapshot = None
