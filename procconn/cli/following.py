"""What is known of the process that an event is about: its program, user and lifetime.

A child runs its parent's program, as its parent's user, until it says otherwise. What
is not known stays unknown: a program is never guessed from a later look at /proc.
"""

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from procconn.clock import NS_PER_S
from procconn.events import Event, Exec, Exit, Fork, Lost, Uid, Unknown
from procconn.processes import Change, Ended, Process, ProcessTable, take_snapshot
from procconn.processes.packed import Kept, packed, unpacked
from procconn.processes.snapshot import check_there
from procconn.programs import Program
from procconn.reading import read_program
from procconn.usage import Usage

_PAUSE_NS = NS_PER_S  # from one look at all of /proc to the next


class Seen:
    """An event, and its process as it was then.

    Attributes:
        process: of a fork the child; None if none is followed.
        uid: its effective user, if known.
        ended: whether the event, an exit, ended the process as a whole.
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

    @property
    def program(self) -> Program | None:
        """What it ran, if known."""
        return unpacked(self._kept)

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


class Running(NamedTuple):
    """A process that runs, with its program and effective user, if known."""

    pid: int
    program: Program | None
    uid: int | None


def seen_alone(event: Event) -> Seen:
    """Say of an event what it tells by itself."""
    if isinstance(event, Exec):
        program = event.program
        uid = None if program is None else program.euid
        return Seen(event, None, program, uid)
    return Seen(event, ended=isinstance(event, Exit) and not event.is_thread)


class Following:
    """The processes that run, with their programs and users.

    Args:
        tree: follow only the process with this pid and all that come of it.
        is_live: whether the events are this machine's, as they happen, so that /proc
            tells of what ran before, and of what is left after a loss.

    Raises:
        ProcessLookupError: there is no process `tree`.
        PermissionError: /proc does not show it to this user.
    """

    def __init__(self, *, tree: int | None, is_live: bool) -> None:
        self._table = ProcessTable(tree=tree)
        self.running = self._table.processes
        self._programs: dict[int, Kept] = {}
        self._uids: dict[int, int | None] = {}
        self._is_stale = False
        self._is_live = is_live
        self._looked_ns = 0
        if is_live:
            self._look()
            if tree is not None:
                check_there([tree], self.running)

    def catch_up(self) -> list[Change]:
        """After a loss, look at /proc for what was missed, at most once a second."""
        if not (self._is_stale and self._is_live):
            return []
        if time.monotonic_ns() - self._looked_ns < _PAUSE_NS:
            return []
        return self._look()

    def take(self, event: Event) -> Seen:
        """Take in the next event, and tell what is known of its process."""
        if isinstance(event, Fork):
            return self._fork(event)
        if isinstance(event, Exec):
            return self._exec(event)
        if isinstance(event, Exit):
            return self._exit(event)
        if isinstance(event, Lost):
            self._table.feed(event)
            self._is_stale = True
            return Seen(event)
        if isinstance(event, Unknown):
            return Seen(event)
        pid = event.tgid
        process = self.running.get(pid)
        if isinstance(event, Uid) and process is not None and not event.is_thread:
            self._uids[pid] = event.euid
        return Seen(event, process, self._programs.get(pid), self._uids.get(pid))

    def running_now(self) -> Iterator[Running]:
        """Bring what runs now, as far as is known."""
        for pid in self.running:
            program = unpacked(self._programs.get(pid))
            yield Running(pid, program, self._uids.get(pid))

    def _fork(self, event: Fork) -> Seen:
        _, parent, pid, tgid, _, _ = event
        self._table.feed(event)
        process = self.running.get(tgid)
        if pid == tgid and process is not None:
            self._programs[pid] = self._programs.get(parent)
            self._uids[pid] = self._uids.get(parent)
        return Seen(event, process, self._programs.get(tgid), self._uids.get(tgid))

    def _exec(self, event: Exec) -> Seen:
        self._table.feed(event)
        pid, program = event.tgid, event.program
        process = self.running.get(pid)
        if process is None:
            return Seen(event, None, program, program.euid if program else None)
        self._programs[pid] = process._kept
        if program is not None and program.euid is not None:
            self._uids[pid] = program.euid
        return Seen(event, process, program, self._uids.get(pid))

    def _exit(self, event: Exit) -> Seen:
        pid = event.tgid
        process = self.running.get(pid)
        program, uid = self._programs.get(pid), self._uids.get(pid)
        changes = self._table.feed(event)
        if process is None:  # all that is known is the event
            return Seen(event, None, program, uid, not event.is_thread)
        if changes:
            self._programs.pop(pid, None)
            self._uids.pop(pid, None)
        return Seen(event, process, program, uid, bool(changes))

    def _look(self) -> list[Change]:
        changes = self._table.resync(take_snapshot())
        self._forget(changes)
        for pid in self.running:
            if pid not in self._uids:
                self._read(pid)
        self._is_stale = False
        self._looked_ns = time.monotonic_ns()
        return changes

    def _read(self, pid: int) -> None:
        """Read what a process runs that ran before."""
        program = read_program(pid)
        self._programs[pid] = packed(program)
        self._uids[pid] = program.euid if program else None

    def _forget(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if isinstance(change, Ended):
                self._programs.pop(change.process.pid, None)
                self._uids.pop(change.process.pid, None)
