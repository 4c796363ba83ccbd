"""`ThreadExits`: the exit status and the usage that a process's threads make up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procconn.diagnosis import kernel_is_at_least
from procconn.programs import Usage

if TYPE_CHECKING:
    from procconn.events import Exit

_CORE_BIT = 0x80
_SIGNAL_BITS = 0x7F
_SAME_END_NS = 50_000_000  # between threads that one exit_group(2) or signal ends
_LAST_THREAD_COUNTS = kernel_is_at_least(6, 0)  # see ThreadExits.close()


class ThreadExits:
    """How the threads of a process ended, up to the last one.

    Attributes:
        exit: the exit whose status wait(2) returns; None if that is not known.
        leader_code: the wait status of the thread-group leader, once it has ended.
        usage: the sum over the threads; None if that of one is not known.
        end_ns: when one ended that may have been the last, in nanoseconds; else 0.
        end_epoch: the table's epoch by then; None if none of them may have been.
        is_observed: whether the exit that ended the process was reported.
    """

    __slots__ = (
        "end_epoch",
        "end_ns",
        "exit",
        "is_observed",
        "leader_code",
        "usage",
    )

    def __init__(self, event: Exit, is_observed: bool = True) -> None:
        self.exit: Exit | None = event
        self.leader_code = event.exit_code if event.pid == event.tgid else None
        self.usage = event.usage
        self.end_ns = 0
        self.end_epoch: int | None = None
        self.is_observed = is_observed

    def add(self, event: Exit) -> None:
        """Add the exit of another thread."""
        self.exit = _deciding(self.exit, event)
        if event.pid == event.tgid:
            self.leader_code = event.exit_code
        if event.usage is None or self.usage is None:
            self.usage = None
        else:
            self.usage = _sum(self.usage, event.usage)

    def forget_status(self) -> None:
        """Forget the status: an exec has ended those threads, and not the process."""
        self.exit = self.leader_code = None

    def close(self, *, is_complete: bool) -> None:
        """Forget what is not certain, now that all have ended.

        Before Linux 6.0 wait(2) returns the status of the thread-group leader, unless
        another thread called exit_group(2) or a fatal signal came.

        Args:
            is_complete: whether no exit of a thread can have been lost.
        """
        if not is_complete:
            self.usage = None
        if self.exit is None:
            self.is_observed = False
        elif not _LAST_THREAD_COUNTS:
            exit_code = self.exit.exit_code
            if not exit_code & _SIGNAL_BITS and exit_code != self.leader_code:
                self.exit = None


def _deciding(earlier: Exit | None, event: Exit) -> Exit:
    """Choose between exits of one process the one whose status wait(2) returns.

    The first thread to call exit_group(2) or to get a fatal signal decides, else the
    last to end. Its exit is usually reported last, but a thread that was just ending by
    itself, with status 0, may be reported after it. Of threads that dump core together
    only one has the bit for it, and others may end much later.
    """
    if earlier is None:
        return event
    if event.exit_code | _CORE_BIT == earlier.exit_code:
        return earlier
    is_late = event.timestamp_ns - earlier.timestamp_ns > _SAME_END_NS
    return event if is_late or event.exit_code else earlier


def _sum(one: Usage, other: Usage) -> Usage:
    largest = {"peak_rss", "elapsed_ns"}
    return Usage(
        *(
            None if a is None or b is None else max(a, b) if field in largest else a + b
            for field, a, b in zip(one._fields, one, other, strict=True)
        )
    )
