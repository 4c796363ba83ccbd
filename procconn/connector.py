"""`ProcConnector`: open, subscribe, read, close."""

from __future__ import annotations

import errno
import os
import warnings
from typing import TYPE_CHECKING

from procconn import _arguments, diagnosis
from procconn._core import ffi, lib
from procconn._stream import (
    FILENO_POLLABLE,
    AsyncWaiter,
    Stream,
    checked,
    new_filter,
    set_filter,
)
from procconn.clock import FOREVER, has_passed
from procconn.errors import ConnectionClosedError
from procconn.events import Event, EventMask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

    from _typeshed import WriteableBuffer

_MAX_RECEIVE_BUFFER = (1 << 30) - 1  # the kernel doubles it, in an int
_MIN_QUEUE = 65_536
_DEFAULT_QUEUE = 67_108_864
_MAX_QUEUE = 1 << 40


class ProcConnector:
    """A subscription to the kernel's process events.

    Opening a connector subscribes and waits for the kernel's acknowledgement. Iterate
    over it, call one of the `recv` methods, or use `async for`; they can be mixed, and
    each event is delivered once. Only one thread at a time may read, subscribe or
    unsubscribe; any thread, and any signal handler, may call `close`.

    After a fork, only the process that opened the connector can read from it. Nothing
    that the child does with its copy affects the parent, not even closing it.

    Args:
        mask: the kinds of events to receive; the kernel filters out the others.
        threads: whether to receive events of threads other than the main thread.
        programs: whether each `Exec` carries the `Program` that was executed. A native
            thread reads it from /proc at once, at real-time priority if the system
            permits; if not, a RuntimeWarning says what is missing. The reading may
            delay an exec, and the events after it, by up to `max_latency`.
        usage: whether each `Exit` carries the `Usage` of its task, from taskstats; if
            taskstats is not available, a RuntimeWarning says why.
        receive_buffer: the size of the receive buffer to request, in bytes; an event
            takes 416. None requests 1/64 of the machine's memory, at least 32 and at
            most 128 MiB, and accepts 32. A RuntimeWarning says if net.core.rmem_max
            limits it further.
        queue: the size of a queue in this process, in bytes; an event takes 76. A
            native thread receives into the queue, whatever the program is doing, at
            nice -20 if CAP_SYS_NICE permits. 0: no thread and no queue.
        max_latency: the minimum time between two wake-ups of the reader, in seconds.
            The first event after a silence wakes it at once; 0 wakes it for each event.
        timeout: how long to wait for the acknowledgement, in seconds.
        heartbeat: after how many seconds without a message to check that the
            subscription is alive; None never checks. If it is not, it is renewed, with
            a RuntimeWarning and a `Lost` of count 0 in the stream.

    Raises:
        UnsupportedError: this environment cannot deliver events; the text says why.
        PermissionError: Linux before 6.6 requires CAP_NET_ADMIN.
        OSError: a thread cannot be started; the text names the limit.
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    def __init__(
        self,
        mask: EventMask = EventMask.ALL,
        *,
        threads: bool = True,
        programs: bool = False,
        usage: bool = False,
        receive_buffer: int | None = None,
        queue: int = 0,
        max_latency: float = 0.001,
        timeout: float = 1.0,
        heartbeat: float | None = None,
    ) -> None:
        _check_mask(mask)
        self._threads = _arguments.check_bool("threads", threads)
        timeout_ns = _arguments.to_nanoseconds("timeout", timeout, positive=True)
        _arguments.check_byte_count("queue", queue, 0, _MAX_QUEUE)
        if 0 < queue < _MIN_QUEUE:
            raise ValueError(
                f"queue must be 0 or at least {_MIN_QUEUE} bytes, not {queue}"
            )
        settings = ffi.new("struct procconn_settings *")
        settings.filter = new_filter(mask, threads=self._threads)[0]
        settings.programs = _arguments.check_bool("programs", programs)
        if programs:
            diagnosis.check_proc()
        settings.usage = _arguments.check_bool("usage", usage)
        if receive_buffer is None:
            settings.receive_buffer = diagnosis.default_receive_buffer()
            expected_buffer = diagnosis.MIN_RECEIVE_BUFFER
        else:
            settings.receive_buffer = expected_buffer = _arguments.check_byte_count(
                "receive_buffer", receive_buffer, 1, _MAX_RECEIVE_BUFFER, or_none=True
            )
        settings.coalesce_ns = _arguments.to_nanoseconds("max_latency", max_latency)
        settings.heartbeat_ns = -1
        if heartbeat is not None:
            settings.heartbeat_ns = _arguments.to_nanoseconds(
                "heartbeat", heartbeat, positive=True, or_none=True
            )

        # With programs, only a thread can delay readability until they were read.
        self._needs_queue = programs
        # Before the socket is opened, as it would receive the COMM event.
        can_check = heartbeat is None or lib.procconn_rename_thread() >= 0
        self._owner = os.getpid()
        self._stream = Stream(settings, timeout_ns)
        self._reader = self._stream.make_reader()
        self._waiter = AsyncWaiter(self._stream.handle)
        try:
            self._stream.subscribe()
            if queue:
                self._stream.start_thread(queue)
            diagnosis.warn_about_limits(self._stream.view, expected_buffer)
            if not can_check:
                diagnosis.warn_heartbeat_blocked()
        except BaseException:
            self.close()
            raise

    # Python runs signal handlers after a call or a jump. A `return` from the body of a
    # `for` statement is neither, so a handler that raises there loses no event.

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events as they arrive, until the connector is closed.

        An iterator that has raised continues with the next call.
        """
        self._check_open()
        return self._reader.events(FOREVER, self)

    def recv(self, timeout: float | None = None) -> Event | None:
        """Receive one event.

        Args:
            timeout: how long to wait, in seconds; None blocks without limit, 0 polls.

        Returns:
            The event; None on timeout.

        Raises:
            ConnectionClosedError: the connector was closed during the call.
            RuntimeError: another thread is reading, or this is a forked child.
            MemoryError: out of memory; no event is lost.
            ValueError: the connector is closed.
        """
        self._check_open()
        for event in self._reader.events(_arguments.deadline_ns(timeout)):
            return event
        return None

    def recv_many(self, timeout: float | None = None) -> list[Event]:
        """Receive all queued events; block until there is one.

        Arguments and exceptions are those of `recv`.

        Returns:
            The events; an empty list on timeout.
        """
        self._check_open()
        for events in self._reader.lists(_arguments.deadline_ns(timeout)):
            return events
        return []

    def recv_raw(self, timeout: float | None = None) -> bytes:
        """Receive all queued messages as one netlink buffer, for `decode`.

        Arguments and exceptions are those of `recv`. Events that `recv` or an iteration
        has already decoded stay pending for `recv`, `recv_many` or an iteration.

        Returns:
            The messages as the kernel sent them, with the library's own where events
            were lost; empty on timeout.
        """
        self._check_open()
        for messages in self._reader.raw(_arguments.deadline_ns(timeout)):
            return messages
        return b""

    def recv_into(self, buffer: WriteableBuffer, timeout: float | None = None) -> int:
        """Receive into a buffer, like `recv_raw`: as many complete messages as fit.

        Args:
            buffer: a writable, contiguous object with the buffer protocol.
            timeout: how long to wait, in seconds; None blocks without limit, 0 polls.

        Returns:
            The number of bytes written; 0 on timeout.

        Raises:
            BufferTooSmallError: the next message does not fit; it stays queued.
        """
        self._check_open()
        view = _arguments.writable_view("buffer", buffer)
        for size in self._reader.into(view, _arguments.deadline_ns(timeout)):
            return size
        return 0

    def subscribe(self, mask: EventMask | None = None) -> None:
        """Change the mask; after `unsubscribe`, subscribe again.

        Args:
            mask: the kinds of events to receive from now on. It also applies to queued
                events. None keeps the current mask.

        Raises:
            RuntimeError: another thread is reading, or this is a forked child.
            TypeError: `mask` is not an EventMask.
            UnsupportedError, PermissionError: as when opening.
        """
        self._check_open()
        changed = None
        if mask is not None:
            _check_mask(mask)
            changed = new_filter(mask, threads=self._threads)
        set_filter(self._reader, changed)
        self._stream.subscribe()

    def unsubscribe(self) -> None:
        """Stop receiving events; queued events can still be read."""
        self._check_open()
        checked(lib.procconn_unsubscribe(self._stream.handle))

    @property
    def lost(self) -> int:
        """The exact number of events that the kernel has dropped for this connector.

        Linux before 4.12 does not count dropped events, so they are not included.
        """
        return lib.procconn_lost(self._stream.handle).events

    @property
    def usage_lost(self) -> int:
        """The number of usage records lost so far; those exits have no `usage`."""
        return lib.procconn_lost(self._stream.handle).usages

    @property
    def receive_buffer(self) -> int:
        """The granted size in bytes, in setsockopt() units."""
        return self._stream.view.receive_buffer

    @property
    def closed(self) -> bool:
        """Whether the connector is closed."""
        return bool(self._stream.view.closed)

    def fileno(self) -> int:
        """Return a file descriptor for `select`, `poll` and event loops.

        When it is readable, `recv(0)` or `recv_many(0)` returns something or raises.
        The first call creates the descriptor. With programs, it also starts a thread
        with a queue of 64 MiB unless the connector has a queue.

        Raises:
            ValueError: the connector is closed.
            ConnectionClosedError: the connector was closed during the call.
            RuntimeError: this is a forked child, and the parent had not called this.
        """
        self._check_open()
        if self._needs_queue and not self._stream.has_thread:
            self._stream.start_thread(_DEFAULT_QUEUE)
        return checked(lib.procconn_pollable(self._stream.handle, FILENO_POLLABLE))

    def close(self) -> None:
        """End the subscription and close the descriptors; idempotent.

        Wakes a blocked reader: an iteration ends, `recv` raises ConnectionClosedError.
        The descriptor of `fileno` becomes readable, and stays open until this object is
        destroyed, as a selector may still wait for it.
        """
        self._stream.close()
        self._waiter.abandon()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate over the events on asyncio, until the connector is closed.

        Starts a thread with a queue of 64 MiB unless the connector has a queue.
        """
        self._check_open()
        return self._iterate_async()

    async def _iterate_async(self) -> AsyncIterator[Event]:
        try:
            while True:
                await self._read_async(FOREVER)
                for event in self._reader.pending_events():
                    yield event
        except ConnectionClosedError:
            return

    async def arecv_many(self, timeout: float | None = None) -> list[Event]:
        """Receive queued events on asyncio; wait until there is one.

        Arguments and exceptions are those of `recv_many`. Like `async for`, starts a
        thread with a queue.

        Returns:
            The events, at most about 3,400, so that the loop is not blocked for long;
            an empty list on timeout.
        """
        self._check_open()
        await self._read_async(_arguments.deadline_ns(timeout))
        for events in self._reader.pending_lists():
            return events
        return []

    def __del__(self) -> None:
        opened = hasattr(self, "_stream")
        if opened and not self.closed and os.getpid() == self._owner:
            message = f"unclosed {self!r}"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else 'open'}>"

    async def _read_async(self, deadline_ns: int) -> None:
        """Wait until events are pending or the deadline has passed."""
        if not self._stream.has_thread:
            self._stream.start_thread(_DEFAULT_QUEUE)
        if not len(self._reader):
            await self._waiter.yield_to_loop()  # also during an endless burst
        while not len(self._reader):
            status = self._reader.poll()
            if status == -errno.ENOTCONN:
                await self._waiter.run_in_thread(
                    lambda: self._stream.subscribe(renew=True)
                )
                diagnosis.warn_renewed()
            elif checked(status) or len(self._reader) or has_passed(deadline_ns):
                return
            else:
                await self._waiter.wait_readable(deadline_ns)

    def _check_open(self) -> None:
        if self._stream.view.closed:
            raise ValueError("I/O operation on a closed ProcConnector")


def _check_mask(mask: EventMask) -> None:
    """Check the type, which permits no unknown bits (boundary=STRICT)."""
    if not isinstance(mask, EventMask):
        raise TypeError(
            "mask must be an EventMask, such as EventMask.EXEC | EventMask.EXIT,"
            f" not {mask!r}"
        )
