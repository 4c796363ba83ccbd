"""From buffers to events. The C module's codes become exceptions here only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from procconn._core import ffi, lib
from procconn.errors import OverrunError, TruncatedError
from procconn.events import KINDS, Event, Lost, Unknown
from procconn.programs import Program, Usage

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from procconn._core import CWalk

_BITS = 32  # of `what`

_DAMAGE = {
    lib.PROCCONN_BAD_HEADER: "the buffer ends within a netlink header of 16 bytes",
    lib.PROCCONN_BAD_LENGTH: "nlmsg_len is below 16 or exceeds the buffer",
    lib.PROCCONN_BAD_ERROR: "the NLMSG_ERROR is too short for an errno",
    lib.PROCCONN_BAD_CONNECTOR: "the message is too short for a cn_msg",
    lib.PROCCONN_BAD_DATA: "cn_msg.len exceeds the message",
    lib.PROCCONN_BAD_EVENT: "the message is too short for a proc_event",
    lib.PROCCONN_BAD_FIELDS: "the event's fields are incomplete or inconsistent",
    lib.PROCCONN_FOREIGN: "cn_msg.id is not that of the Proc Connector",
}
_BAD_FRAMING = (lib.PROCCONN_BAD_HEADER, lib.PROCCONN_BAD_LENGTH)


def _classes() -> tuple[type[Event | Program | Usage], ...]:
    """Put the classes where the C module looks: by bit number, then the others."""
    classes: list[type[Event]] = [Unknown] * _BITS
    for kind in KINDS:
        classes[kind.what.bit_length() - 1] = kind
    return (*classes, Unknown, Lost, Program, Usage)


_CLASSES = _classes()
CLASSES = ffi.cast("void *", id(_CLASSES))
"""The classes as the C module takes them."""


class Walk:
    """A walk over netlink messages in any object with the buffer protocol.

    Keeps the buffer alive and exported, so that it cannot shrink meanwhile. Leave it,
    as a context manager, to end that: at once, unless the object is bytes, as CPython
    before 3.13 crashes when it collects a memoryview and a cffi array made from it
    together.
    """

    def __init__(self, buffer: ReadableBuffer) -> None:
        if not isinstance(buffer, bytes):
            buffer = contiguous(buffer)
        self._buffer = ffi.from_buffer("uint8_t[]", buffer)
        size = len(self._buffer)
        self._walk: CWalk = ffi.new("struct procconn_walk *", (self._buffer, size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        ffi.release(self._buffer)

    @property
    def left(self) -> int:
        """Bytes not walked over yet."""
        return self._walk.size - self._walk.offset

    def take(self, events: list[Event], most: int = sys.maxsize) -> int:
        """Append events up to the end, a bare NLMSG_DONE, or a failure.

        Args:
            events: the list.
            most: of messages to look at.

        Returns:
            The status of the last step; a negative one is a failure.
        """
        place = ffi.cast("void *", id(events))
        return lib.procconn_decode(self._walk, place, CLASSES, most)

    def one(self) -> tuple[int, Event | None]:
        """Take one step: return its status, and the event if there was one."""
        events: list[Event] = []
        status = self.take(events, 1)
        return status, events[0] if events else None

    def count_rows(self) -> tuple[int, bool, bool]:
        """Count the kernel's events up to the end or a failure.

        Returns:
            How many there are; whether the buffer begins with them, 76 bytes each;
            whether there was a failure.
        """
        rows = ffi.new("struct procconn_rows *")
        status = lib.procconn_count_rows(self._walk, rows)
        return rows.count, bool(rows.in_place), status < 0

    def copy_rows(self, rows: WriteableBuffer, count: int) -> None:
        """Copy up to `count` events into zeroed memory, 76 bytes each."""
        lib.procconn_copy_rows(self._walk, ffi.from_buffer("uint8_t[]", rows), count)

    def failure(self, status: int, events: list[Event]) -> Exception:
        """Make the exception for the status of the last step.

        Raise it, rather than keep it in a variable: its traceback would refer to that.

        Args:
            status: a negative one, or that of a foreign message.
            events: those from before the failure.
        """
        at = self._walk.at
        if status == lib.PROCCONN_NO_MEMORY:
            return MemoryError()
        if status == lib.PROCCONN_ERROR:
            refusal = OSError(self._walk.error, os.strerror(self._walk.error))
            refusal.offset, refusal.events = at, events  # type: ignore[attr-defined]
            return refusal
        if status == lib.PROCCONN_OVERRUN:
            return OverrunError(at, events)
        error = TruncatedError(at, events)
        error.add_note(f"At byte {at}: {_DAMAGE[status]}.")
        return error


def contiguous(buffer: ReadableBuffer) -> memoryview:
    """View a buffer, or a copy of it if it has gaps."""
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(
            "buffer must be bytes or another object with the buffer protocol, not"
            f" {type(buffer).__name__}"
        ) from None
    return view if view.c_contiguous else memoryview(view.tobytes())


def decode(buffer: ReadableBuffer) -> list[Event]:
    """Decode a buffer of netlink messages in one pass.

    Skips NOOP, netlink and connector acknowledgements, and messages of other
    connectors; stops at an NLMSG_DONE without payload. Makes a `Lost` where the library
    has noted one, as in what `recv_raw` returns.

    Args:
        buffer: any object with the buffer protocol, in native byte order.

    Returns:
        The events, in the buffer's order.

    Raises:
        TruncatedError: a message is malformed; `events` has those before it, `offset`
            is where it begins.
        OverrunError: NLMSG_OVERRUN; `events` and `offset` likewise.
        OSError: NLMSG_ERROR, with its errno; `events` and `offset` likewise.
        TypeError: `buffer` does not have the buffer protocol.
    """
    events: list[Event] = []
    with Walk(buffer) as walk:
        status = walk.take(events)
        if status < 0:
            raise walk.failure(status, events)
    return events


def parse_netlink_message(buffer: ReadableBuffer) -> Event | None:
    """Decode the one netlink message at the start of a buffer.

    Returns:
        The event; None for NOOP, an NLMSG_DONE without payload, an acknowledgement
        and the acknowledgement of a request.

    Raises:
        TruncatedError: the message is malformed, or another connector's.
        OverrunError: NLMSG_OVERRUN.
        OSError: NLMSG_ERROR, with its errno.
        TypeError: `buffer` does not have the buffer protocol.
    """
    with Walk(buffer) as walk:
        if walk.left == 0:
            raise walk.failure(lib.PROCCONN_BAD_HEADER, [])
        status, event = walk.one()
        if _is_failure(status):
            raise walk.failure(status, [])
    return event


class NetlinkMessageIter(Iterator[Event | None]):
    """Iterate over the messages of a buffer.

    Yields what `parse_netlink_message` returns for each, and raises what it raises.
    After a message that is malformed inside or reports a failure, the next call goes
    on; malformed framing ends the iteration, as an NLMSG_DONE without payload does.
    """

    def __init__(self, buffer: ReadableBuffer) -> None:
        # A copy, as nobody leaves this walk. It also lets the buffer be changed.
        self._walk: Walk | None = Walk(contiguous(buffer).tobytes())

    def __next__(self) -> Event | None:
        walk = self._walk
        if walk is None:
            raise StopIteration
        status, event = walk.one()
        if status == lib.PROCCONN_END or status in _BAD_FRAMING:
            self._walk = None
        if _is_failure(status):
            raise walk.failure(status, [])
        if status == lib.PROCCONN_END:
            raise StopIteration
        return event


def _is_failure(status: int) -> bool:
    """Tell if it is one for the reader of a single message."""
    return status < 0 or status == lib.PROCCONN_FOREIGN
