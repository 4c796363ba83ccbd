"""Decode buffers to events. The decoder's status codes become exceptions here."""

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

_FAULTS = {
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
    """Return the classes in the C module's order: by bit number, then the others."""
    classes: list[type[Event]] = [Unknown] * _BITS
    for kind in KINDS:
        classes[kind.what.bit_length() - 1] = kind
    return (*classes, Unknown, Lost, Program, Usage)


_CLASSES = _classes()
CLASSES = ffi.cast("void *", id(_CLASSES))
"""The classes, as a pointer for the C module."""


class Walk:
    """A walk over netlink messages in any object with the buffer protocol.

    Keeps the buffer alive and exported, so that it cannot be resized. Use it as a
    context manager, which releases the buffer, unless the object is bytes: CPython
    before 3.13 crashes when it collects a memoryview together with a cffi array made
    from it.
    """

    def __init__(self, buffer: ReadableBuffer) -> None:
        if not isinstance(buffer, bytes):
            buffer = contiguous_view(buffer)
        self._buffer = ffi.from_buffer("uint8_t[]", buffer)
        size = len(self._buffer)
        self._walk: CWalk = ffi.new("struct procconn_walk *", (self._buffer, size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        ffi.release(self._buffer)

    @property
    def remaining(self) -> int:
        """The number of bytes not walked over yet."""
        return self._walk.size - self._walk.offset

    def decode(self, events: list[Event], limit: int = sys.maxsize) -> int:
        """Append events, up to the end, an NLMSG_DONE without payload, or a failure.

        Args:
            events: the list to append to.
            limit: the maximum number of messages to decode.

        Returns:
            The status of the last message; a negative one is a failure.
        """
        pointer = ffi.cast("void *", id(events))
        return lib.procconn_decode(self._walk, pointer, CLASSES, limit)

    def decode_one(self) -> tuple[int, Event | None]:
        """Decode one message; return its status, and the event if it has one."""
        events: list[Event] = []
        status = self.decode(events, 1)
        return status, events[0] if events else None

    def count_rows(self) -> tuple[int, bool, bool]:
        """Count the kernel's events up to the end or a failure.

        Returns:
            The count; whether these events are at the beginning of the buffer, 76 bytes
            each; whether there was a failure.
        """
        rows = ffi.new("struct procconn_rows *")
        status = lib.procconn_count_rows(self._walk, rows)
        return rows.count, bool(rows.in_place), status < 0

    def copy_rows(self, rows: WriteableBuffer, count: int) -> None:
        """Copy up to `count` events into zeroed memory, 76 bytes each."""
        lib.procconn_copy_rows(self._walk, ffi.from_buffer("uint8_t[]", rows), count)

    def exception(self, status: int, events: list[Event]) -> Exception:
        """Return the exception for the status of the last message.

        Raise the result at once: a variable that holds it makes a reference cycle with
        its traceback.

        Args:
            status: a failure, or PROCCONN_FOREIGN.
            events: the events before the failure.
        """
        at = self._walk.at
        if status == lib.PROCCONN_NO_MEMORY:
            return MemoryError()
        if status == lib.PROCCONN_ERROR:
            reported = OSError(self._walk.error, os.strerror(self._walk.error))
            reported.offset, reported.events = at, events  # type: ignore[attr-defined]
            return reported
        if status == lib.PROCCONN_OVERRUN:
            return OverrunError(at, events)
        error = TruncatedError(at, events)
        error.add_note(f"At byte {at}: {_FAULTS[status]}.")
        return error


def contiguous_view(buffer: ReadableBuffer) -> memoryview:
    """Return a view of a buffer, or of a copy if it is not contiguous."""
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
    connectors; stops at an NLMSG_DONE without payload. Messages that `recv_raw` adds
    where events were lost become `Lost`.

    Args:
        buffer: any object with the buffer protocol, in native byte order.

    Returns:
        The events, in the buffer's order.

    Raises:
        TruncatedError: a message is malformed. `events` has the events before it,
            `offset` is its offset.
        OverrunError: an NLMSG_OVERRUN; with `events` and `offset`.
        OSError: an NLMSG_ERROR, with its errno, `events` and `offset`.
        TypeError: `buffer` does not have the buffer protocol.
    """
    events: list[Event] = []
    with Walk(buffer) as walk:
        status = walk.decode(events)
        if status < 0:
            raise walk.exception(status, events)
    return events


def parse_netlink_message(buffer: ReadableBuffer) -> Event | None:
    """Decode the netlink message at the start of a buffer.

    Returns:
        The event; None for NOOP, an NLMSG_DONE without payload, and netlink or
        connector acknowledgements.

    Raises:
        TruncatedError: the message is malformed or of another connector.
        OverrunError: an NLMSG_OVERRUN.
        OSError: an NLMSG_ERROR, with its errno.
        TypeError: `buffer` does not have the buffer protocol.
    """
    with Walk(buffer) as walk:
        if walk.remaining == 0:
            raise walk.exception(lib.PROCCONN_BAD_HEADER, [])
        status, event = walk.decode_one()
        if _is_failure(status):
            raise walk.exception(status, [])
    return event


class NetlinkMessageIter(Iterator[Event | None]):
    """Iterate over the messages of a buffer.

    Yields the result of `parse_netlink_message` for each, and raises the same errors.
    After a failure within a message, iteration continues with the next message. If
    nlmsg_len is invalid, it raises once and ends, as at an NLMSG_DONE without payload.
    """

    def __init__(self, buffer: ReadableBuffer) -> None:
        # A copy, as nothing releases this walk's buffer, which the caller may resize.
        self._walk: Walk | None = Walk(contiguous_view(buffer).tobytes())

    def __next__(self) -> Event | None:
        walk = self._walk
        if walk is None:
            raise StopIteration
        status, event = walk.decode_one()
        if status == lib.PROCCONN_END or status in _BAD_FRAMING:
            self._walk = None
        if _is_failure(status):
            raise walk.exception(status, [])
        if status == lib.PROCCONN_END:
            raise StopIteration
        return event


def _is_failure(status: int) -> bool:
    """Return whether a status is an error when a single message is decoded."""
    return status < 0 or status == lib.PROCCONN_FOREIGN
