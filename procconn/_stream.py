"""The C stream: its status codes as exceptions, its reader, and waiting on asyncio.

csrc/stream/stream.h and csrc/python/reader.h have the rules for concurrent use.
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

FILENO_POLLABLE, _ASYNCIO_POLLABLE = range(2)  # the stream's pollable descriptors

_ALREADY_READING = (
    "another thread or task, or a caller of this one, is already reading from this"
    " connector; open one ProcConnector for each reader"
)
_FORKED_CHILD = (
    "this connector belongs to the process that opened it, and a forked child would"
    " change the subscription or take events from it; open another one after the"
    " fork"
)


def checked(status: int) -> int:
    """Return the result of a C function, or raise an exception for a negative errno.

    Raises:
        ConnectionClosedError: the connector was closed during the call.
        RuntimeError: another thread or task is reading, or this is a forked child.
        MemoryError: out of memory; received events are kept.
        UnsupportedError, PermissionError: as from `os_error`.
        OSError: another system call failed, or a thread cannot be started.
    """
    if status >= 0:
        return status
    match -status:
        case errno.ECANCELED:
            raise ConnectionClosedError
        case errno.EBUSY:
            raise RuntimeError(_ALREADY_READING)
        case errno.ECHILD:
            raise RuntimeError(_FORKED_CHILD)
        case errno.ENOMEM:
            raise MemoryError(
                "out of memory while decoding; received events are kept, so retry after"
                " freeing memory"
            )
        case number:
            raise os_error(number)


def os_error(number: int) -> OSError:
    """Return the exception for an errno of the kernel or a sandbox.

    UnsupportedError and PermissionError say why the call failed, and what to do.
    """
    if number == errno.EAFNOSUPPORT:  # by a sandbox: all kernels have netlink
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
        reported = errno.ENOTSUP if number == errno.ETIME else number
        return UnsupportedError(reported, diagnosis.explain_no_acknowledgement())
    if number in (errno.EPERM, errno.EACCES):
        return PermissionError(number, diagnosis.explain_refusal())
    if number == errno.EAGAIN:  # only from pthread_create(3)
        error = OSError(diagnosis.explain_no_thread())
        error.errno, error.strerror = number, str(error)  # not a BlockingIOError
        return error
    return OSError(number, os.strerror(number))


_TYPES: list[type] = []
checked(lib.procconn_make_types(ffi.cast("void *", id(_TYPES))))


def new_filter(mask: EventMask, *, threads: bool) -> Filter:
    """Return a filter for the C module."""
    thread_mask = EventMask.ALL if threads else EventMask.NONE
    event_filter: Filter = ffi.new(
        "struct procconn_filter *", {"mask": mask, "thread_mask": thread_mask}
    )
    return event_filter


class Stream:
    """A C stream, opened but not subscribed yet.

    Attributes:
        view: the shared view of the stream's state, read without a call.
        handle: the C stream, valid as long as this object.
        has_thread: whether a native thread receives.
    """

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        self.has_thread = False
        self._timeout_ns = timeout_ns
        # Freed by C, so that a signal handler's exception cannot prevent it.
        self._out = ffi.gc(ffi.new("struct procconn_stream *[1]"), lib.procconn_free)
        _ALL.add(self)
        checked(lib.procconn_open(self._out, settings))
        self.handle = self._out[0]
        self.view: View = lib.procconn_view(self.handle)

    def subscribe(self, *, renew: bool = False) -> None:
        """Subscribe unless subscribed; `renew` if the subscription has ended."""
        deadline_ns = time.monotonic_ns() + self._timeout_ns
        status = -errno.EINTR
        while status == -errno.EINTR:
            nonce = int.from_bytes(os.urandom(4))
            timeout_ns = max(0, deadline_ns - time.monotonic_ns())
            status = lib.procconn_subscribe(self.handle, nonce, timeout_ns, renew)
        checked(status)

    def make_reader(self) -> Reader:
        """Return the stream's reader, which keeps this object alive."""
        readers: list[Reader] = [None]  # type: ignore[list-item]
        handle_status = self._handle_status
        types, function, out = (
            ffi.cast("void *", id(it)) for it in (_TYPES, handle_status, readers)
        )
        checked(lib.procconn_make_reader(self.handle, types, CLASSES, function, out))
        return readers[0]

    def start_thread(self, queue: int) -> None:
        """Start the receiving thread, with a queue of that size, unless it runs."""
        checked(lib.procconn_start_thread(self.handle, queue))
        self.has_thread = True

    def close(self) -> None:
        """Close the stream; a signal handler cannot interrupt that."""
        if self._out[0]:
            lib.procconn_close(self._out[0])

    def _handle_status(self, status: int) -> None:
        """Handle a status of the reader, or raise an exception; 0: a warning is due."""
        match -status:
            case 0:
                diagnosis.warn_programs_ended(-self.view.programs_error)
            case errno.ENOTCONN:
                self.subscribe(renew=True)
                diagnosis.warn_renewed()
            case errno.EMSGSIZE:
                raise BufferTooSmallError(self.view.needed)
            case _:
                checked(status)


def set_filter(reader: Reader, event_filter: Filter | None) -> None:
    """Change the filter, also for events that are queued or pending.

    Args:
        reader: the stream's reader.
        event_filter: None restores the filter from before `unsubscribe`.
    """
    pointer = ffi.cast("void *", id(reader))
    checked(lib.procconn_change(pointer, event_filter or ffi.NULL))


_ALL: WeakSet[Stream] = WeakSet()


@atexit.register
def close_all() -> None:
    """Close all streams: the kernel does not end the subscriptions of a process."""
    _close_each([*_ALL])


def _close_each(streams: list[Stream]) -> None:
    """Close all streams, even if signal handlers raise exceptions."""
    try:
        while streams:
            streams[-1].close()
            del streams[-1]
    finally:
        if streams:
            _close_each(streams)


class AsyncWaiter:
    """Wait for a stream on asyncio: one task at a time, on a separate descriptor.

    While a task waits, the stream's descriptors stay open, so that closing the stream
    wakes it. If its loop is closed, the next call of `abandon` releases them.
    """

    def __init__(self, stream: CStream) -> None:
        self._stream = stream
        self._futures: dict[None, Future[None]] = {}  # at most one; set atomically

    async def wait_readable(self, deadline_ns: int) -> None:
        """Wait until the stream is readable or the deadline, in nanoseconds, passed."""
        import asyncio  # noqa: PLC0415 - imported by callers of async methods anyway

        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.abandon()
        try:
            if self._futures.setdefault(None, future) is not future:
                raise RuntimeError(_ALREADY_READING)
            seconds = None
            if deadline_ns >= 0:
                seconds = (deadline_ns - time.monotonic_ns()) / NS_PER_S
            fd = checked(lib.procconn_hold_pollable(self._stream, _ASYNCIO_POLLABLE))
            loop.add_reader(fd, _finish, future)
            try:
                await asyncio.wait((future,), timeout=seconds)
            finally:
                loop.remove_reader(fd)
        finally:
            if self._futures.get(None) is future:  # else another task waits
                del self._futures[None]
                lib.procconn_release_pollable(self._stream)

    def abandon(self) -> None:
        """Release the descriptors for a task whose loop is closed."""
        future = self._futures.get(None)
        if future is not None and future.get_loop().is_closed():
            self._futures.pop(None, None)
            lib.procconn_release_pollable(self._stream)

    async def yield_to_loop(self) -> None:
        """Let other tasks of the loop run."""
        import asyncio  # noqa: PLC0415 - imported by callers of async methods anyway

        await asyncio.sleep(0)

    async def run_in_thread(self, call: Callable[[], _T]) -> _T:
        """Run a call that may block in a thread."""
        import asyncio  # noqa: PLC0415 - imported by callers of async methods anyway

        return await asyncio.to_thread(call)


def _finish(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
