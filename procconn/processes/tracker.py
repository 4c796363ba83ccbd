"""`Tracker`: combine each event with the state of its process.

Between an overrun and the next snapshot, it can be ambiguous whether the exit of a
thread ended its process. Such an exit is held until the snapshot resolves it. Each
event is delivered once. `Resync` decides when a snapshot is taken and applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from procconn.events import Event, Exec, Exit, Fork, Lost, Unknown
from procconn.processes.packed import unpack
from procconn.processes.process import Ended
from procconn.processes.resync import Resync

if TYPE_CHECKING:
    from procconn.processes.packed import Stored
    from procconn.processes.process import Change, Process
    from procconn.processes.snapshot import Snapshot
    from procconn.processes.table import ProcessTable
    from procconn.programs import Program, Usage


class EventInContext:
    """An event with its process, and the program and user at the time of the event.

    Attributes:
        event: the event.
        process: the process; for a fork, the child; None if not known.
        uid: the effective user ID of the process; None if not known.
        ended: whether the event is the exit that ended the process.
    """

    __slots__ = ("_stored", "ended", "event", "process", "uid")

    def __init__(
        self,
        event: Event,
        process: Process | None = None,
        program: Stored = None,
        uid: int | None = None,
        ended: bool = False,
    ) -> None:
        self.event = event
        self.process = process
        self._stored = program
        self.uid = uid
        self.ended = ended

    @classmethod
    def without_process(cls, event: Event) -> EventInContext:
        """Return an event whose process is not known."""
        if isinstance(event, Exec):
            program = event.program
            return cls(event, None, program, program.euid if program else None)
        return cls(event, ended=isinstance(event, Exit) and not event.is_thread)

    @property
    def program(self) -> Program | None:
        """The program that the process ran; None if not known."""
        return unpack(self._stored)

    @property
    def name(self) -> str | None:
        """The name of the program, or of a kernel thread; None if not known."""
        if (program := self.program) is not None:
            return program.name
        return self.process.name if self.is_of_kernel_thread and self.process else None

    @property
    def is_of_kernel_thread(self) -> bool:
        """Whether the process is a kernel thread, which runs no program."""
        return self.process is not None and self.process.is_kernel_thread

    def returncode_of(self, event: Exit) -> int:
        """Return the exit status of the process if it ended, else of the thread."""
        process = self.process
        if self.ended and process is not None and process.returncode is not None:
            return process.returncode
        return event.returncode

    def usage_of(self, event: Exit) -> Usage | None:
        """Return the usage of the process if it ended, else of the thread."""
        if self.ended and self.process is not None:
            return self.process.usage
        return event.usage

    @property
    def duration(self) -> float | None:
        """How long the process ran, in seconds; None unless this event ended it."""
        return self.process.duration if self.ended and self.process else None


class Tracker(Resync):
    """A process table that returns each event in the context of its process.

    Args:
        table, initial, max_latency: as in `Resync`.
    """

    def __init__(
        self,
        table: ProcessTable,
        initial: Snapshot | None = None,
        *,
        max_latency: float = 0.0,
    ) -> None:
        super().__init__(table, initial, max_latency=max_latency)
        self._held: dict[Process, EventInContext] = {}  # exits, at most one per process

    @property
    def has_held_exits(self) -> bool:
        """Whether any exits are held until the next snapshot."""
        return bool(self._held)

    def feed(self, event: Event) -> list[EventInContext]:
        """Process the next event.

        Returns:
            The exits that the event releases, then the event itself unless it is held.
        """
        released = self._release_by_snapshot() if self._is_past_snapshot(event) else []
        if isinstance(event, Exit):
            return released + self._exit_in_context(event)
        changes = self._feed(event)
        if self._held:
            released += self._release_ended(changes)
        released.append(self._in_context(event))
        return released

    def feed_idle(self) -> list[EventInContext]:
        """Record that the stream is idle; return the exits that this releases."""
        return self._release_by_snapshot() if self._is_idle_past_snapshot else []

    def finish(self, snapshot: Snapshot | None = None) -> list[EventInContext]:
        """Record the end of the stream; return all held exits.

        Args:
            snapshot: a snapshot taken after the end of the stream, or None.
        """
        if snapshot is not None:
            self.put_snapshot(snapshot)
        released = self._release_by_snapshot()
        released += self._release_ended(self.table.end_unconfirmed())
        released += self._held.values()
        self._held.clear()
        return released

    def _in_context(self, event: Event) -> EventInContext:
        if isinstance(event, (Lost, Unknown)):
            return EventInContext(event)
        pid = event.child_tgid if isinstance(event, Fork) else event.tgid
        if (process := self.table.processes.get(pid)) is None:
            return EventInContext.without_process(event)
        program = event.program if isinstance(event, Exec) else process._stored
        return EventInContext(event, process, program, process.euid)

    def _exit_in_context(self, event: Exit) -> list[EventInContext]:
        process = self.table.processes.get(event.tgid)
        changes = self._feed(event)
        if process is None:
            return [EventInContext.without_process(event)]
        released = []
        if (held := self._held.pop(process, None)) is not None:
            released.append(held)  # not the end of the process: another exit follows
        has_ended = False
        for change in changes:
            if isinstance(change, Ended) and change.timestamp_ns == event.timestamp_ns:
                process, has_ended = change.process, True
        item = EventInContext(event, process, process._stored, process.euid, has_ended)
        if not has_ended and self.table.is_ambiguous(process):
            self._held[process] = item
        else:
            released.append(item)
        return released

    def _release_by_snapshot(self) -> list[EventInContext]:
        """Apply the snapshot; release the exits that are no longer ambiguous."""
        released = self._release_ended(self._apply_snapshot())
        certain = [it for it in self._held if not self.table.is_ambiguous(it)]
        released += [self._held.pop(process) for process in certain]
        return released

    def _release_ended(self, changes: list[Change]) -> list[EventInContext]:
        """Release the held exits of processes that have ended."""
        released = []
        for change in changes:
            if not isinstance(change, Ended):
                continue
            if (held := self._held.pop(change.process, None)) is not None:
                held.ended = change.timestamp_ns == held.event.timestamp_ns
                released.append(held)
        return released
