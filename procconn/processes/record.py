"""`Record`: the internal state that the table keeps for a process."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from procconn.processes.exits import ThreadExits

if TYPE_CHECKING:
    from procconn.events import Exit
    from procconn.programs import Program

SLACK_NS = 100_000_000  # /proc rounds start times to 10 ms, and forks are reported late


class State(Enum):
    """Which threads of a process are known to run."""

    SINGLE = auto()  # the main thread, the only one so far
    THREADED = auto()  # some, of a process that had other threads
    UNCONFIRMED = auto()  # none; the next snapshot shows whether unknown ones do


class Record:
    """The internal state that the table keeps for a process.

    Attributes:
        threads: the IDs of its running threads; None if it never had others than the
            main thread.
        exits: the exits of its threads so far; None if there are none.
        epoch: the table's epoch when the process became known.
        is_reported: whether its start was reported.
        known_ns: the earliest time at which it is known to exist, in nanoseconds.
        executed_ns: when it executed its program, if that was observed.
        read_ns: when a snapshot read it; earlier events do not change it.
    """

    __slots__ = (
        "epoch",
        "executed_ns",
        "exits",
        "is_reported",
        "known_ns",
        "read_ns",
        "threads",
    )

    def __init__(self, known_ns: int) -> None:
        self.threads: set[int] | None = None
        self.exits: ThreadExits | None = None
        self.epoch = 0
        self.is_reported = False
        self.known_ns = known_ns
        self.executed_ns = 0
        self.read_ns = 0

    @property
    def state(self) -> State:
        """Which of its threads are known to run."""
        if self.threads is None:
            return State.SINGLE
        return State.THREADED if self.threads else State.UNCONFIRMED

    @property
    def end_ns(self) -> int:
        """The time of an exit that may have been the last, in nanoseconds; else 0."""
        return 0 if self.exits is None else self.exits.end_ns

    @property
    def end_epoch(self) -> int | None:
        """The table's epoch at `end_ns`; None if no exit may have been the last."""
        return None if self.exits is None else self.exits.end_epoch

    def add_thread(self, tid: int, pid: int) -> None:
        """Add a new thread."""
        if self.threads is None:
            self.threads = {pid}
        self.threads.add(tid)

    def add_exit(self, event: Exit) -> None:
        """Add the exit of a thread."""
        if self.exits is None:
            self.exits = ThreadExits(event)
        else:
            self.exits.add(event)

    def forget_status(self) -> None:
        """Forget the status of threads that an exec has ended."""
        if self.exits is not None:
            self.exits.forget_status()

    def note_end(self, timestamp_ns: int, epoch: int) -> None:
        """Note that the last exit may have ended the process."""
        if self.exits is not None:
            self.exits.end_ns, self.exits.end_epoch = timestamp_ns, epoch

    def forget_end(self) -> None:
        """Forget the possible end: the process runs, or had ended before."""
        if self.exits is not None:
            self.exits.end_epoch = None


def is_other_program(program: Program, known: Program | None) -> bool:
    """Return whether a reading shows a program other than the known one.

    If it does not, the known reading is the better one, as it is closer to the exec.
    """
    if known is None or known.argv is None:
        return known is None or program.argv is not None
    if program.argv is None:
        return False
    if program.exe is not None and known.exe is not None and program.exe != known.exe:
        return True
    return _without_padding(program.argv) != _without_padding(known.argv)


def _without_padding(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Strip empty arguments from the end: padding of a rewritten process title."""
    end = len(argv)
    while end and not argv[end - 1]:
        end -= 1
    return argv[:end]
