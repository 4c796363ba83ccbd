"""The stream of C, its failures as exceptions, and the reader that takes from it.

csrc/stream/stream.h and csrc/python/reader.h say who may do what to them.
"""

from __future__ import annotations

import atexit
import errno
import os
import time
from typing import TYPE_CHECKING
from weakref import WeakSet

from procconn import environment
from procconn._core import ffi, lib
from procconn.decoder import CLASSES
from procconn.errors import BufferTooSmallError
from procconn.events import EventMask
from procconn.status import checked

if TYPE_CHECKING:
    from procconn._core import Filter, Reader, Settings, View

_TYPES: list[type] = []
checked(lib.procconn_make_types(ffi.cast("void *", id(_TYPES))))


def new_filter(mask: EventMask, *, threads: bool) -> Filter:
    """Return a filter for the C module."""
    thread_mask = EventMask.ALL if threads else EventMask.NONE
    made: Filter = ffi.new(
        "struct procconn_filter *", {"mask": mask, "thread_mask": thread_mask}
    )
    return made


class Stream:
    """A stream, opened but not subscribed yet.

    Attributes:
        view: what C shows without a call.
        handle: the stream itself, alive as long as this object.
        has_thread: whether a thread receives.
    """

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        self.has_thread = False
        self._timeout_ns = timeout_ns
        # Whatever a signal handler interrupts, C ends what is collected.
        self._place = ffi.gc(ffi.new("struct procconn_stream *[1]"), lib.procconn_free)
        _ALL.add(self)
        checked(lib.procconn_open(self._place, settings))
        self.handle = self._place[0]
        self.view: View = lib.procconn_view(self.handle)

    def listen(self, *, again: bool = False) -> None:
        """Ask the kernel for events, unless it was done and it is not to be again."""
        deadline_ns = time.monotonic_ns() + self._timeout_ns
        status = -errno.EINTR
        while status == -errno.EINTR:
            nonce = int.from_bytes(os.urandom(4))
            left_ns = max(0, deadline_ns - time.monotonic_ns())
            status = lib.procconn_subscribe(self.handle, nonce, left_ns, again)
        checked(status)

    def make_reader(self) -> Reader:
        """Make the stream's reader, which keeps this object alive."""
        cell: list[Reader] = [None]  # type: ignore[list-item]
        handle_status = self._handle_status
        types, function, made = (
            ffi.cast("void *", id(it)) for it in (_TYPES, handle_status, cell)
        )
        checked(lib.procconn_make_reader(self.handle, types, CLASSES, function, made))
        return cell[0]

    def start_thread(self, queue: int) -> None:
        """Have a thread receive into a queue of so many bytes; once is enough."""
        checked(lib.procconn_start_thread(self.handle, queue))
        self.has_thread = True

    def close(self) -> None:
        """End it; no signal handler can interrupt that."""
        if self._place[0]:
            lib.procconn_close(self._place[0])

    def _handle_status(self, status: int) -> None:
        """Repair what a status of the reader means, or raise it; 0 is for a warning."""
        match -status:
            case 0:
                environment.warn_of_programs(-self.view.programs_error)
            case errno.ENOTCONN:
                self.listen(again=True)
                environment.warn_of_renewal()
            case errno.EMSGSIZE:
                raise BufferTooSmallError(self.view.needed)
            case _:
                checked(status)


def change(reader: Reader, new: Filter | None) -> None:
    """Change the filter, also for events that are queued or pending.

    Args:
        reader: a stream's.
        new: None restores the filter from before `unsubscribe`.
    """
    checked(lib.procconn_change(ffi.cast("void *", id(reader)), new or ffi.NULL))


_ALL: WeakSet[Stream] = WeakSet()


@atexit.register
def _close_all() -> None:
    """The kernel does not notice the end of a process."""
    _close_each([*_ALL])


def _close_each(streams: list[Stream]) -> None:
    """Close all, whatever signal handlers raise meanwhile."""
    try:
        while streams:
            streams[-1].close()
            del streams[-1]
    finally:
        if streams:
            _close_each(streams)
