"""`ThreadExits`: the exit status and usage of a process, from its threads' exits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procconn.diagnosis import kernel_is_at_least
from procconn.programs import Usage

if TYPE_CHECKING:
    from procconn.events import Exit

_CORE_BIT = 0x80
_SIGNAL_BITS = 0x7F
_SAME_END_NS = 50_000_000  # between threads ended by one exit_group(2) or signal
_LAST_THREAD_DECIDES = kernel_is_at_least(6, 0)  # see ThreadExits.close()


class ThreadExits:
    """The exits of a process's threads so far.

    Attributes:
        exit: the exit whose status wait(2) returns; None if not known.
        leader_code: the wait status of the thread-group leader, once it has ended.
        usage: the total of the threads; None if the usage of a thread is not known.
        end_ns: the time of an exit that may have been the last, in nanoseconds; else 0.
        end_epoch: the table's epoch at `end_ns`; None if no exit may be the last.
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
        self.exit = _decisive(self.exit, event)
        if event.pid == event.tgid:
            self.leader_code = event.exit_code
        if event.usage is None or self.usage is None:
            self.usage = None
        else:
            self.usage = _sum(self.usage, event.usage)

    def forget_status(self) -> None:
        """Forget the status: an exec ended these threads, but not the process."""
        self.exit = self.leader_code = None

    def close(self, *, is_complete: bool) -> None:
        """Forget uncertain values, after the last thread has ended.

        Before Linux 6.0 wait(2) returns the status of the thread-group leader, unless
        another thread called exit_group(2) or received a fatal signal.

        Args:
            is_complete: whether the exits of all threads were reported.
        """
        if not is_complete:
            self.usage = None
        if self.exit is None:
            self.is_observed = False
        elif not _LAST_THREAD_DECIDES:
            exit_code = self.exit.exit_code
            if not exit_code & _SIGNAL_BITS and exit_code != self.leader_code:
                self.exit = None


def _decisive(earlier: Exit | None, event: Exit) -> Exit:
    """Return the one of two exits of a process whose status wait(2) returns.

    That is the first thread to call exit_group(2) or to receive a fatal signal, else
    the last to end. Its exit is usually reported last, but the exit of a thread that
    was ending on its own, with status 0, may follow. When a process dumps core, only
    one thread has the core bit, and the others may end much later.
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
