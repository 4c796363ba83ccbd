"""The exceptions. Failed system calls that need no explaining stay plain OSError."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procconn.events import Event


class ProcConnError(Exception):
    """The base of this library's exceptions; never raised itself."""


class TruncatedError(ProcConnError, ValueError):
    """A message is shorter than it says, or than its kind must be.

    Attributes:
        offset: where the message begins in the buffer, in bytes.
        events: the events decoded before it.
    """

    def __init__(self, offset: int = 0, events: Sequence[Event] = ()) -> None:
        super().__init__(offset, events)
        self.offset = offset
        self.events: list[Event] = list(events)

    def __str__(self) -> str:
        return "truncated message"


class BufferTooSmallError(ProcConnError, ValueError):
    """The next datagram does not fit into the caller's buffer; it stays queued.

    Attributes:
        needed: its size in bytes.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed

    def __str__(self) -> str:
        return f"buffer too small, need at least {self.needed} bytes"


class OverrunError(ProcConnError):
    """A buffer holds NLMSG_OVERRUN: its source dropped messages there.

    Attributes:
        offset: where that message begins in the buffer, in bytes.
        events: the events decoded before it.
    """

    def __init__(self, offset: int = 0, events: Sequence[Event] = ()) -> None:
        super().__init__(offset, events)
        self.offset = offset
        self.events: list[Event] = list(events)

    def __str__(self) -> str:
        return "message overrun, events may have been dropped"


@runtime_checkable
class HasEvents(Protocol):
    """What `decode` adds to an OSError too: `isinstance` finds it, and type checkers.

    Attributes:
        offset: where the message that reports the failure begins, in bytes.
        events: the events decoded before it.
    """

    offset: int
    events: list[Event]


class ConnectionClosedError(ProcConnError):
    """The connector was closed while this call waited for events."""

    def __str__(self) -> str:
        return "connection closed"


class UnsupportedError(ProcConnError, OSError):
    """This environment cannot deliver events; the text says why and what to do."""

    def __str__(self) -> str:
        return super().__str__() or "process events are not available here"
