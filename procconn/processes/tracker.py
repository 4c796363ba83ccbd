"""`Tracker`: one event in, its process in context out, in step with /proc after losses.

When events were lost, another snapshot is due, at most one a second. The events that
queued meanwhile are older than it in part, and know better how what is gone has ended:
so it goes into the table when the stream has passed its time, or is silent. If more was
lost before that, some of it may be newer than the snapshot, and another one follows.

Between a loss and the snapshot, an exit may be that of a process or of a thread. It is
held until the snapshot shows which, and then delivered; each event is, once.

The tracker does no I/O. Whoever reads asks `is_due`, waits no longer than `patience`
says, and hands over what came, also if that is nothing.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from procconn.clock import NS_PER_S
from procconn.events import Event, Exec, Exit, Fork, Lost, Unknown
from procconn.processes.process import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        program: what it ran, if known.
        uid: its effective user, if known.
        ended: whether the event, an exit, ended the process as a whole.
    """

    __slots__ = ("ended", "event", "process", "program", "uid")

    def __init__(
        self,
        event: Event,
        process: Process | None = None,
        program: Program | None = None,
        uid: int | None = None,
        ended: bool = False,
    ) -> None:
        self.event = event
        self.process = process
        self.program = program
        self.uid = uid
        self.ended = ended

    @classmethod
    def alone(cls, event: Event) -> EventInContext:
        """Say of an event what it tells by itself."""
        if isinstance(event, Exec):
            program = event.program
            return cls(event, None, program, program.euid if program else None)
        return cls(event, ended=isinstance(event, Exit) and not event.is_thread)

    @property
    def name(self) -> str | None:
        """The name of its program, or of a kernel thread; None if not known."""
        if self.program is not None:
            return self.program.name
        return self.process.name if self.is_of_kernel_thread and self.process else None

    @property
    def is_of_kernel_thread(self) -> bool:
        """Whether the process is the kernel's own, and runs no program."""
        return self.process is not None and self.process.is_kernel_thread

    def returncode_of(self, event: Exit) -> int:
        """Tell how the process ended, which its last thread alone may not know."""
        process = self.process
        if self.ended and process is not None and process.returncode is not None:
            return process.returncode
        return event.returncode

    def usage_of(self, event: Exit) -> Usage | None:
        """Tell what the task used; what the process did, if it ended."""
        if self.ended and self.process is not None:
            return self.process.usage
        return event.usage

    @property
    def duration(self) -> float | None:
        """How long the process lived that has ended, in seconds; None if not known."""
        return self.process.duration if self.ended and self.process else None


class Tracker:
    """What was received and not fed, what was changed and not told.

    Args:
        table: where the processes are kept.
        first: what ran at the beginning; without it, none is asked for later either.
        max_latency: how long the source may hold an event back, in seconds.
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
        """Whether exits are held that only a snapshot can tell more of."""
        return bool(self._held)

    def patience(self, timeout: float | None = None) -> float | None:
        """Tell how long to wait for events, if the caller has so many seconds."""
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

        None says that none could be taken: then it is due again later.
        """
        if snapshot is None:
            self._is_stale = True
            self._due_ns = time.monotonic_ns() + _PAUSE_NS
            return
        self._snapshot = snapshot
        self._is_stale = False
        self._due_ns = _next_after(snapshot)

    def put_events(self, events: list[Event]) -> None:
        """Queue what was received; nothing says that the stream is silent."""
        self._events.extend(events)
        if not events and not self._events and self._is_settled:
            self._changes.extend(self._pass_snapshot())

    def each_change(self) -> Iterator[Change]:
        """Feed what is queued, an event at a time, and tell what it changes."""
        while self._changes or self._events:
            if self._changes:
                yield self._changes.popleft()
            else:
                self._changes.extend(self._feed(self._events.popleft()))

    def all_changes(self) -> list[Change]:
        """Feed all that is queued, then tell what it changed."""
        while self._events:
            self._changes.extend(self._feed(self._events.popleft()))
        changes = list(self._changes)
        self._changes.clear()
        return changes

    def take(self, event: Event) -> list[EventInContext]:
        """Take in the next event.

        Returns:
            It with its process, behind the exits that were held until now; nothing if
            it is held itself.
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
        """Take in that nothing more has come for now."""
        return self._take_snapshot() if self._is_settled else []

    def finish(self, snapshot: Snapshot | None = None) -> list[EventInContext]:
        """Take in that nothing more will come; tell all that is held.

        Args:
            snapshot: what runs now, if that is known.
        """
        if snapshot is not None:
            self.put_snapshot(snapshot)
        taken = self._take_snapshot() + self._ends_among(self.table.settle())
        taken += self._held.values()
        self._held.clear()
        return taken

    def _in_context(self, event: Event) -> EventInContext:
        if isinstance(event, Lost | Unknown):
            return EventInContext(event)
        pid = event.child_tgid if isinstance(event, Fork) else event.tgid
        if (process := self.table.processes.get(pid)) is None:
            return EventInContext.alone(event)
        program = event.program if isinstance(event, Exec) else process.program
        return EventInContext(event, process, program, process.euid)

    def _take_exit(self, event: Exit) -> list[EventInContext]:
        process = self.table.processes.get(event.tgid)
        changes = self._feed(event)
        if process is None:  # all that is known is the event
            return [EventInContext.alone(event)]
        taken = []
        if (held := self._held.pop(process, None)) is not None:
            taken.append(held)  # that of a thread, as this one is later
        has_ended = False
        for change in changes:
            if isinstance(change, Ended) and change.timestamp_ns == event.timestamp_ns:
                process, has_ended = change.process, True
        this = EventInContext(event, process, process.program, process.euid, has_ended)
        if not has_ended and self.table.is_doubtful(process):
            self._held[process] = this
        else:
            taken.append(this)
        return taken

    def _take_snapshot(self) -> list[EventInContext]:
        """Put the snapshot into the table, and take out the exits it decides about."""
        taken = self._ends_among(self._pass_snapshot())
        decided = [it for it in self._held if not self.table.is_doubtful(it)]
        taken += [self._held.pop(process) for process in decided]
        return taken

    def _ends_among(self, changes: list[Change]) -> list[EventInContext]:
        """Take out the exits that were held of processes that have ended."""
        taken = []
        for change in changes:
            if not isinstance(change, Ended):
                continue
            if (held := self._held.pop(change.process, None)) is not None:
                held.ended = change.timestamp_ns == held.event.timestamp_ns
                taken.append(held)
        return taken

    def _feed(self, event: Event) -> list[Change]:
        """Take in an event, and first the snapshot whose time it has passed."""
        changes = self._pass_snapshot() if self._is_passed_by(event) else []
        self._is_stale = self._is_stale or isinstance(event, Lost)
        changes += self.table.feed(event)
        return changes

    def _is_passed_by(self, event: Event) -> bool:
        """Tell whether the event shows that those older than the snapshot have come.

        A loss does not: it stands where events were dropped, at the time when that was
        noticed, and older ones may follow it.
        """
        snapshot = self._snapshot
        if snapshot is None or isinstance(event, Lost):
            return False
        return event.timestamp_ns > snapshot.after_ns + _LATE_NS

    @property
    def _is_settled(self) -> bool:
        """Whether all that is older than the snapshot has come, as nothing waits."""
        snapshot, now_ns = self._snapshot, time.monotonic_ns()
        return snapshot is not None and now_ns >= snapshot.after_ns + self._settle_ns

    def _pass_snapshot(self) -> list[Change]:
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is None:
            return []
        return self.table.resync(snapshot, is_newest=not self._is_stale)


def _next_after(snapshot: Snapshot) -> int:
    """Tell when the next one may be taken, so that most time is left for events."""
    took_ns = snapshot.after_ns - snapshot.before_ns
    return snapshot.after_ns + max(_PAUSE_NS, _SHARE * took_ns)
