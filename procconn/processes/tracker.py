"""`Tracker`: one event in, its process in context out.

Between a loss and the snapshot that follows it, an exit may be that of a process or
only of a thread. It is held until the snapshot shows which. Each event is delivered
once. `Resync` has the rule when a snapshot is taken and used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from procconn.events import Event, Exec, Exit, Fork, Lost, Unknown
from procconn.processes.packed import unpack
from procconn.processes.process import Ended
from procconn.processes.resync import Resync

if TYPE_CHECKING:
    from procconn.processes.packed import Kept
    from procconn.processes.process import Change, Process
    from procconn.processes.snapshot import Snapshot
    from procconn.processes.table import ProcessTable
    from procconn.programs import Program, Usage


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
        """Return an event whose process is not known."""
        if isinstance(event, Exec):
            program = event.program
            return cls(event, None, program, program.euid if program else None)
        return cls(event, ended=isinstance(event, Exit) and not event.is_thread)

    @property
    def program(self) -> Program | None:
        """What it ran; None if not known."""
        return unpack(self._kept)

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


class Tracker(Resync):
    """A table of processes that shows each event with its process.

    Args:
        table, first, max_latency: as of `Resync`.
    """

    def __init__(
        self,
        table: ProcessTable,
        first: Snapshot | None = None,
        *,
        max_latency: float = 0.0,
    ) -> None:
        super().__init__(table, first, max_latency=max_latency)
        self._held: dict[Process, EventInContext] = {}  # exits, at most one of each

    @property
    def is_waiting(self) -> bool:
        """Whether exits are held until the next snapshot."""
        return bool(self._held)

    def take(self, event: Event) -> list[EventInContext]:
        """Process the next event.

        Returns:
            The exits that it releases, then the event itself unless it is held.
        """
        taken = self._release_by_snapshot() if self._is_passed_by(event) else []
        if isinstance(event, Exit):
            return taken + self._exit_in_context(event)
        changes = self._feed(event)
        if self._held:
            taken += self._release_ended(changes)
        taken.append(self._in_context(event))
        return taken

    def take_silence(self) -> list[EventInContext]:
        """Process that the stream is silent; return the exits that this releases."""
        return self._release_by_snapshot() if self._is_passed_by_silence else []

    def finish(self, snapshot: Snapshot | None = None) -> list[EventInContext]:
        """Process the end of the stream; return the exits that are held.

        Args:
            snapshot: what runs now; None if not known.
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
            return EventInContext.alone(event)
        program = event.program if isinstance(event, Exec) else process._kept
        return EventInContext(event, process, program, process.euid)

    def _exit_in_context(self, event: Exit) -> list[EventInContext]:
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

    def _release_by_snapshot(self) -> list[EventInContext]:
        """Put the snapshot into the table; release the exits that are certain now."""
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
