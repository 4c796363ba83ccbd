"""`Tracker`: one event in, its process in context out; resynchronizes after losses.

After a loss a snapshot of /proc is due, at most one a second. Some queued events are
older than the snapshot, and only they say how a process that is gone has ended. So the
snapshot goes into the table when the stream has passed its time, or is silent. If more
events are lost before that, some of them may be newer than the snapshot, and another
one follows.

Between a loss and the snapshot, an exit may be that of a process or only of a thread.
It is held until the snapshot shows which. Each event is delivered once.

The tracker does no I/O. Its caller checks `is_due`, waits no longer than `patience()`,
and passes on what was received, even if that is nothing.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from procconn.clock import NS_PER_S
from procconn.events import Event, Exec, Exit, Fork, Lost, Unknown
from procconn.processes.packed import unpacked
from procconn.processes.process import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procconn.processes.packed import Kept
    from procconn.processes.process import Change, Process
    from procconn.processes.snapshot import Snapshot
    from procconn.processes.table import ProcessTable
    from procconn.programs import Program
    from procconn.usage import Usage

_SILENCE_NS = 10_000_000  # without an event: then what was queued has come
_LATENCIES = 8  # and so many more, as the reading of a program is waited for
_LATE_NS = 10_000_000  # an event may come so long after one that is newer
_PAUSE_NS = NS_PER_S  # from one snapshot to the next
_SHARE = 4  # and so many times as long as the last one took


class EventInContext:
    """An event, and its process as it was then.

    Attributes:
        process: of a fork the child; None if none is known.
        uid: its effective user ID; None if not known.
        ended: whether the event is the exit that ended the process.
    """

    __slots__ = ("_kept", "ended", "event", "process", "uid")

    def __init__(
        self,
        event: Event,
        process: Process | None = None,
        program: Kept = None,
        uid: int | None = None,
        ended: bool = False,
    ) -> None:
        self.event = event
        self.process = process
        self._kept = program
        self.uid = uid
        self.ended = ended

    @classmethod
    def alone(cls, event: Event) -> EventInContext:
        """Return an event with what it says by itself."""
        if isinstance(event, Exec):
            program = event.program
            return cls(event, None, program, program.euid if program else None)
        return cls(event, ended=isinstance(event, Exit) and not event.is_thread)

    @property
    def program(self) -> Program | None:
        """What it ran; None if not known."""
        return unpacked(self._kept)

    @property
    def name(self) -> str | None:
        """The name of its program, or of a kernel thread; None if not known."""
        if (program := self.program) is not None:
            return program.name
        return self.process.name if self.is_of_kernel_thread and self.process else None

    @property
    def is_of_kernel_thread(self) -> bool:
        """Whether the process is a kernel thread, which runs no program."""
        return self.process is not None and self.process.is_kernel_thread

    def returncode_of(self, event: Exit) -> int:
        """Return the status of the process; of a thread, its own."""
        process = self.process
        if self.ended and process is not None and process.returncode is not None:
            return process.returncode
        return event.returncode

    def usage_of(self, event: Exit) -> Usage | None:
        """Return what the process used if it ended, else what the thread used."""
        if self.ended and self.process is not None:
            return self.process.usage
        return event.usage

    @property
    def duration(self) -> float | None:
        """How long the process lived, in seconds; None unless it ended here."""
        return self.process.duration if self.ended and self.process else None


class Tracker:
    """A table of processes, in step with the stream and with snapshots of /proc.

    Args:
        table: the table.
        first: what ran at the beginning; without it, no snapshot is due later either.
        max_latency: that of the connector, in seconds.
    """

    def __init__(
        self,
        table: ProcessTable,
        first: Snapshot | None = None,
        *,
        max_latency: float = 0.0,
    ) -> None:
        self.table = table
        self._has_snapshots = first is not None
        self._settle_ns = _SILENCE_NS + int(_LATENCIES * max_latency * NS_PER_S)
        self._events: deque[Event] = deque()
        self._changes: deque[Change] = deque()
        self._held: dict[Process, EventInContext] = {}  # exits, at most one of each
        self._is_stale = False  # whether events were lost since the last snapshot
        self._due_ns = 0
        self._snapshot: Snapshot | None = None  # taken, and not in the table yet
        if first is not None:
            table.resync(first)
            self._due_ns = _next_after(first)

    @property
    def is_due(self) -> bool:
        """Whether another snapshot is to be taken now."""
        is_wanted = self._is_stale and self._has_snapshots and self._snapshot is None
        return is_wanted and time.monotonic_ns() >= self._due_ns

    @property
    def is_waiting(self) -> bool:
        """Whether exits are held until the next snapshot."""
        return bool(self._held)

    def patience(self, timeout: float | None = None) -> float | None:
        """Return how long to wait for events, at most `timeout`, in seconds."""
        if self._snapshot is not None:
            until_ns = self._snapshot.after_ns + self._settle_ns
        elif self._is_stale and self._has_snapshots:
            until_ns = self._due_ns
        else:
            return timeout
        own = max(0, until_ns - time.monotonic_ns()) / NS_PER_S
        return own if timeout is None else min(own, timeout)

    def put_snapshot(self, snapshot: Snapshot | None) -> None:
        """Keep a snapshot until the stream has passed its time.

        None: it could not be taken, and is due again later.
        """
        if snapshot is None:
            self._is_stale = True
            self._due_ns = time.monotonic_ns() + _PAUSE_NS
            return
        self._snapshot = snapshot
        self._is_stale = False
        self._due_ns = _next_after(snapshot)

    def put_events(self, events: list[Event]) -> None:
        """Queue received events; an empty list means that the stream is silent."""
        self._events.extend(events)
        if not events and not self._events and self._is_settled:
            self._changes.extend(self._pass_snapshot())

    def each_change(self) -> Iterator[Change]:
        """Feed queued events one at a time; yield what each changes."""
        while self._changes or self._events:
            if self._changes:
                yield self._changes.popleft()
            else:
                self._changes.extend(self._feed(self._events.popleft()))

    def all_changes(self) -> list[Change]:
        """Feed all queued events; return what they changed."""
        while self._events:
            self._changes.extend(self._feed(self._events.popleft()))
        changes = list(self._changes)
        self._changes.clear()
        return changes

    def take(self, event: Event) -> list[EventInContext]:
        """Take in the next event.

        Returns:
            The exits that were held until now, then the event; nothing if the event is
            held itself.
        """
        taken = self._take_snapshot() if self._is_passed_by(event) else []
        if isinstance(event, Exit):
            return taken + self._take_exit(event)
        changes = self._feed(event)
        if self._held:
            taken += self._ends_among(changes)
        taken.append(self._in_context(event))
        return taken

    def take_silence(self) -> list[EventInContext]:
        """Take in that no event waits; return the exits that were held until now."""
        return self._take_snapshot() if self._is_settled else []

    def finish(self, snapshot: Snapshot | None = None) -> list[EventInContext]:
        """Take in that the stream has ended; return the exits that are held.

        Args:
            snapshot: what runs now; None if not known.
        """
        if snapshot is not None:
            self.put_snapshot(snapshot)
        taken = self._take_snapshot() + self._ends_among(self.table.end_unconfirmed())
        taken += self._held.values()
        self._held.clear()
        return taken

    def _in_context(self, event: Event) -> EventInContext:
        if isinstance(event, Lost | Unknown):
            return EventInContext(event)
        pid = event.child_tgid if isinstance(event, Fork) else event.tgid
        if (process := self.table.processes.get(pid)) is None:
            return EventInContext.alone(event)
        program = event.program if isinstance(event, Exec) else process._kept
        return EventInContext(event, process, program, process.euid)

    def _take_exit(self, event: Exit) -> list[EventInContext]:
        process = self.table.processes.get(event.tgid)
        changes = self._feed(event)
        if process is None:
            return [EventInContext.alone(event)]
        taken = []
        if (held := self._held.pop(process, None)) is not None:
            taken.append(held)  # of a thread, as this exit is later
        has_ended = False
        for change in changes:
            if isinstance(change, Ended) and change.timestamp_ns == event.timestamp_ns:
                process, has_ended = change.process, True
        this = EventInContext(event, process, process._kept, process.euid, has_ended)
        if not has_ended and self.table.is_ambiguous(process):
            self._held[process] = this
        else:
            taken.append(this)
        return taken

    def _take_snapshot(self) -> list[EventInContext]:
        """Put the snapshot into the table; release the exits that it decides about."""
        taken = self._ends_among(self._pass_snapshot())
        decided = [it for it in self._held if not self.table.is_ambiguous(it)]
        taken += [self._held.pop(process) for process in decided]
        return taken

    def _ends_among(self, changes: list[Change]) -> list[EventInContext]:
        """Release the held exits of processes that have ended."""
        taken = []
        for change in changes:
            if not isinstance(change, Ended):
                continue
            if (held := self._held.pop(change.process, None)) is not None:
                held.ended = change.timestamp_ns == held.event.timestamp_ns
                taken.append(held)
        return taken

    def _feed(self, event: Event) -> list[Change]:
        """Feed an event, after the snapshot if the event has passed its time."""
        changes = self._pass_snapshot() if self._is_passed_by(event) else []
        self._is_stale = self._is_stale or isinstance(event, Lost)
        changes += self.table.feed(event)
        return changes

    def _is_passed_by(self, event: Event) -> bool:
        """Return whether all events older than the snapshot have been received.

        A `Lost` does not show that: its time is when the drops were noticed, and older
        events may follow it.
        """
        snapshot = self._snapshot
        if snapshot is None or isinstance(event, Lost):
            return False
        return event.timestamp_ns > snapshot.after_ns + _LATE_NS

    @property
    def _is_settled(self) -> bool:
        """Whether the silence shows that all older events have been received."""
        snapshot, now_ns = self._snapshot, time.monotonic_ns()
        return snapshot is not None and now_ns >= snapshot.after_ns + self._settle_ns

    def _pass_snapshot(self) -> list[Change]:
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is None:
            return []
        return self.table.resync(snapshot, is_newest=not self._is_stale)


def _next_after(snapshot: Snapshot) -> int:
    """Return when the next one may be taken, so that most time is left for events."""
    took_ns = snapshot.after_ns - snapshot.before_ns
    return snapshot.after_ns + max(_PAUSE_NS, _SHARE * took_ns)
