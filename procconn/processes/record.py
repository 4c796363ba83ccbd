"""`Record`: what the table knows of a process, beside what users see."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from procconn.processes.exits import ThreadExits

if TYPE_CHECKING:
    from procconn.events import Exit
    from procconn.programs import Program

SLACK_NS = 100_000_000  # /proc rounds times to 10 ms; a fork is reported later still


class State(Enum):
    """Which threads of a process are known to run."""

    SINGLE = auto()  # the main thread only
    THREADED = auto()  # others, with or without the main thread
    UNCONFIRMED = auto()  # none: a snapshot shows whether there are unknown ones


class Record:
    """What the table knows of a process, beside what users see.

    Attributes:
        threads: the IDs of its running threads; None if it is the main thread only.
        exits: how those of its threads ended that have; None if none has.
        epoch: how many times events had been lost when it became known.
        is_reported: whether its start was reported.
        known_ns: the earliest time it is known of, in nanoseconds.
        executed_ns: when it executed its program, if that was observed.
        read_ns: when a snapshot read it; events before that change nothing.
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
        """When a thread ended that may have been the last, in nanoseconds; else 0."""
        return 0 if self.exits is None else self.exits.end_ns

    @property
    def end_epoch(self) -> int | None:
        """The table's epoch by then; None if none of them may have been the last."""
        return None if self.exits is None else self.exits.end_epoch

    def add_thread(self, tid: int, pid: int) -> None:
        """Add a thread that was forked to those of a process."""
        if self.threads is None:
            self.threads = {pid}
        self.threads.add(tid)

    def add_exit(self, event: Exit) -> None:
        """Add how a thread ended."""
        if self.exits is None:
            self.exits = ThreadExits(event)
        else:
            self.exits.add(event)

    def forget_status(self) -> None:
        """Forget the exits of threads that an exec has ended."""
        if self.exits is not None:
            self.exits.forget_status()

    def note_end(self, timestamp_ns: int, epoch: int) -> None:
        """Note that the last exit may have been the process's end."""
        if self.exits is not None:
            self.exits.end_ns, self.exits.end_epoch = timestamp_ns, epoch

    def forget_end(self) -> None:
        """Forget that an exit may have been its end: it runs, or had ended before."""
        if self.exits is not None:
            self.exits.end_epoch = None


def is_other_program(program: Program, known: Program | None) -> bool:
    """Return whether a reading is of another program than the known one.

    If it is of the same program, the known reading is nearer to its exec.
    """
    if known is None or known.argv is None:
        return known is None or program.argv is not None
    if program.argv is None:
        return False
    if program.exe is not None and known.exe is not None and program.exe != known.exe:
        return True
    return _without_padding(program.argv) != _without_padding(known.argv)


def _without_padding(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Strip empty arguments from the end: padding, if the title was rewritten."""
    end = len(argv)
    while end and not argv[end - 1]:
        end -= 1
    return argv[:end]
