"""Exceptions. A failed system call is a plain OSError if its errno says enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procconn.events import Event


class ProcConnError(Exception):
    """Base class of this library's exceptions; never raised itself."""


class TruncatedError(ProcConnError, ValueError):
    """A message is shorter than its length field says or than its kind requires.

    Attributes:
        offset: the offset of the message in the buffer, in bytes.
        events: the events decoded before it.
    """

    def __init__(self, offset: int = 0, events: Sequence[Event] = ()) -> None:
        super().__init__(offset, events)
        self.offset = offset
        self.events: list[Event] = list(events)

    def __str__(self) -> str:
        return "truncated message"


class BufferTooSmallError(ProcConnError, ValueError):
    """The next message does not fit into the caller's buffer; it stays queued.

    Attributes:
        needed: its size in bytes.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed

    def __str__(self) -> str:
        return f"buffer too small, need at least {self.needed} bytes"


class OverrunError(ProcConnError):
    """A buffer contains NLMSG_OVERRUN: its source dropped messages there.

    Attributes:
        offset: the offset of the NLMSG_OVERRUN in the buffer, in bytes.
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
    """Protocol of errors that `decode` raises, also OSError, for `isinstance`.

    Attributes:
        offset: the offset of the message that caused the error, in bytes.
        events: the events decoded before it.
    """

    offset: int
    events: list[Event]


class ConnectionClosedError(ProcConnError):
    """The connector was closed while a call waited for events."""

    def __str__(self) -> str:
        return "connection closed"


class UnsupportedError(ProcConnError, OSError):
    """This environment cannot deliver events; the text says why and what to do."""

    def __str__(self) -> str:
        return super().__str__() or "process events are not available here"
