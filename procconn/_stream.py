"""The C stream: its statuses as exceptions, its reader, and waiting for it on asyncio.

csrc/stream/stream.h and csrc/python/reader.h say who may do what to them.
"""

from __future__ import annotations

import atexit
import errno
import os
import time
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from procconn import diagnosis
from procconn._core import ffi, lib
from procconn.clock import NS_PER_S
from procconn.decoder import CLASSES
from procconn.errors import (
    BufferTooSmallError,
    ConnectionClosedError,
    UnsupportedError,
)
from procconn.events import EventMask

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from procconn._core import Filter, Reader, Settings, View
    from procconn._core import Stream as CStream

_T = TypeVar("_T")

FOR_FILENO, _FOR_ASYNCIO = range(2)  # the stream's two pollable descriptors

BUSY = (
    "another thread or task, or a caller of this one, is already reading from this"
    " connector; open one ProcConnector for each reader"
)
_NOT_OURS = (
    "this connector belongs to the process that opened it, and a forked child would"
    " take events from that process; open another one after the fork"
)


def checked(status: int) -> int:
    """Return the result of a C function, or raise for a negative errno.

    Raises:
        ConnectionClosedError: the connector was closed meanwhile.
        RuntimeError: somebody else is reading, or this is a forked child.
        MemoryError: out of memory; received events are kept.
        UnsupportedError, PermissionError: as `failure` makes them.
        OSError: another system call failed, or no thread can be started.
    """
    if status >= 0:
        return status
    match -status:
        case errno.ECANCELED:
            raise ConnectionClosedError
        case errno.EBUSY:
            raise RuntimeError(BUSY)
        case errno.ECHILD:
            raise RuntimeError(_NOT_OURS)
        case errno.ENOMEM:
            raise MemoryError(
                "out of memory while decoding; received events are kept, so retry after"
                " freeing memory"
            )
        case number:
            raise failure(number)


def failure(number: int) -> OSError:
    """Make the exception for an errno that the kernel or a sandbox returned.

    UnsupportedError and PermissionError say why, and what to do.
    """
    if number == errno.EAFNOSUPPORT:  # all kernels have netlink
        return UnsupportedError(
            number,
            "a sandbox blocks netlink sockets; allow AF_NETLINK, as in"
            " RestrictAddressFamilies= of a systemd unit",
        )
    if number == errno.EPROTONOSUPPORT:
        return UnsupportedError(
            number,
            "this kernel has no connector; use a kernel with CONFIG_CONNECTOR=y and"
            " CONFIG_PROC_EVENTS=y",
        )
    if number in (errno.ECONNREFUSED, errno.ETIME):
        shown = errno.ENOTSUP if number == errno.ETIME else number
        return UnsupportedError(shown, diagnosis.why_silent())
    if number in (errno.EPERM, errno.EACCES):
        return PermissionError(number, diagnosis.why_refused())
    if number == errno.EAGAIN:  # only a thread's start fails with that
        error = OSError(diagnosis.why_no_thread())
        error.errno, error.strerror = number, str(error)  # no BlockingIOError
        return error
    return OSError(number, os.strerror(number))


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
        view: what C shares without a call.
        handle: the stream itself, alive as long as this object.
        has_thread: whether a thread receives.
    """

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        self.has_thread = False
        self._timeout_ns = timeout_ns
        # The stream is freed in C, whatever a signal handler interrupts.
        self._out = ffi.gc(ffi.new("struct procconn_stream *[1]"), lib.procconn_free)
        _ALL.add(self)
        checked(lib.procconn_open(self._out, settings))
        self.handle = self._out[0]
        self.view: View = lib.procconn_view(self.handle)

    def listen(self, *, again: bool = False) -> None:
        """Subscribe unless it is done; `again` if the kernel has dropped it."""
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
        """Start the thread that receives into a queue of so many bytes, once."""
        checked(lib.procconn_start_thread(self.handle, queue))
        self.has_thread = True

    def close(self) -> None:
        """Close it; no signal handler can interrupt that."""
        if self._out[0]:
            lib.procconn_close(self._out[0])

    def _handle_status(self, status: int) -> None:
        """Repair what a status of the reader means, or raise it; 0 is for a warning."""
        match -status:
            case 0:
                diagnosis.warn_of_programs(-self.view.programs_error)
            case errno.ENOTCONN:
                self.listen(again=True)
                diagnosis.warn_of_renewal()
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
def close_all() -> None:
    """Close all streams: the kernel does not notice the end of a process."""
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


class Awaiting:
    """The one task that waits, if there is one, with a descriptor of its own.

    While it waits, the stream's descriptors stay open, so that closing the stream
    wakes it. A loop that is closed meanwhile never releases them.
    """

    def __init__(self, stream: CStream) -> None:
        self._stream = stream
        self._futures: dict[None, Future[None]] = {}  # one at most, set by one step

    async def readable(self, deadline_ns: int) -> None:
        """Wait until something is readable, or the deadline, in nanoseconds."""
        import asyncio  # noqa: PLC0415 - who awaits has it already

        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.abandon()
        try:
            if self._futures.setdefault(None, future) is not future:
                raise RuntimeError(BUSY)
            seconds = None
            if deadline_ns >= 0:
                seconds = (deadline_ns - time.monotonic_ns()) / NS_PER_S
            fd = checked(lib.procconn_hold_pollable(self._stream, _FOR_ASYNCIO))
            loop.add_reader(fd, _finish, future)
            try:
                await asyncio.wait((future,), timeout=seconds)
            finally:
                loop.remove_reader(fd)
        finally:
            if self._futures.get(None) is future:  # else another one waits
                del self._futures[None]
                lib.procconn_release_pollable(self._stream)

    def abandon(self) -> None:
        """Release what a closed loop holds."""
        future = self._futures.get(None)
        if future is not None and future.get_loop().is_closed():
            self._futures.pop(None, None)
            lib.procconn_release_pollable(self._stream)

    async def let_others(self) -> None:
        """Give the loop's other tasks a turn."""
        import asyncio  # noqa: PLC0415 - who awaits has it already

        await asyncio.sleep(0)

    async def in_thread(self, call: Callable[[], _T]) -> _T:
        """Run what may block in a thread."""
        import asyncio  # noqa: PLC0415 - who awaits has it already

        return await asyncio.to_thread(call)


def _finish(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
