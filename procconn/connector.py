"""`ProcConnector`: opening, the ways to read, closing.

The stream itself lives in C (csrc/stream.h says who may do what to it): one call waits,
receives and appends events to a list that the connector owns. Signal handlers of Python
run between bytecodes and may raise, but only behind a call or a jump. So each way to
read takes events out of the connector by a last statement that has none: whatever a
handler interrupts, an event is either still here or delivered.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import warnings
import weakref
from itertools import chain, islice
from operator import length_hint
from typing import TYPE_CHECKING

from procconn import arguments, environment, socketfilter
from procconn._core import ffi, lib
from procconn.awaiting import BUSY, FOR_FILENO, Awaiting
from procconn.clock import passed
from procconn.decoder import CLASSES
from procconn.errors import BufferTooSmallError, ConnectionClosedError
from procconn.events import Event, EventMask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Self

    from _typeshed import WriteableBuffer

    from procconn._core import StreamPlace

USUAL_RECEIVE_BUFFER = 33_554_432
_LARGEST_RECEIVE_BUFFER = (1 << 30) - 1  # the kernel doubles it, in an int
_SMALLEST_QUEUE = 262_144
_USUAL_QUEUE = 67_108_864

_AT_ONCE = 0
_FOR_EVER = -1
_BATCH = 262_144  # bytes: enough to make a call cheap, little enough for the caches
_ALL = sys.maxsize

_ERRORS: dict[int, Callable[[], Exception]] = {
    errno.ENOMEM: lambda: MemoryError("what was received is kept: free some, read on"),
    errno.ECANCELED: ConnectionClosedError,
    errno.EBUSY: lambda: RuntimeError(BUSY),
    errno.ECHILD: lambda: RuntimeError(
        "this connector belongs to the process that opened it, which would miss what is"
        " read or changed here; open another after the fork"
    ),
}


class ProcConnector:
    """A subscription to the kernel's process events.

    Opening one subscribes and waits for the kernel's answer. Iterate over it, call one
    of the `recv` methods, or use `async for`; the ways can be mixed, and each event is
    delivered once. One thread at a time may read, subscribe or unsubscribe; `close`
    may be called from any other, and from a signal handler.

    After a fork, the process that opened it goes on as before, whatever the child does
    with its copy, such as closing it; the child can read no more from it.

    Args:
        mask: the kinds of events that are wanted; the kernel filters out the others.
        threads: whether events of threads other than a process's first are wanted.
        programs: whether each `Exec` carries the `Program` that was run. A thread reads
            /proc at once, at real-time priority if the system permits it; where not, a
            RuntimeWarning says what is missing. An exec, and what follows it, may wait
            up to `max_latency` for that.
        usage: whether each `Exit` carries the `Usage` of its task, from taskstats; if
            that cannot be had, a RuntimeWarning says what is missing.
        receive_buffer: how much room to ask the kernel for, in bytes; an event takes
            416. Without CAP_NET_ADMIN, net.core.rmem_max limits what is got, and a
            RuntimeWarning says so.
        queue: the size of a queue in the process, in bytes; an event takes 76. A thread
            receives into it whatever the program is doing. 0: no thread, no queue.
        max_latency: the reader is woken at once after a silence, and after that at most
            once in so long, in seconds; 0 wakes it for every event.
        timeout: how long to wait for the kernel's answer, in seconds.
        heartbeat: after so long without a message, make sure that the subscription
            still lives, in seconds; None never does. One that does not live is renewed,
            with a RuntimeWarning and a `Lost` of count 0 in the stream.

    Raises:
        UnsupportedError: no events can come here; the text says why.
        PermissionError: the kernel is older than 6.6 and wants CAP_NET_ADMIN.
        TypeError, ValueError: an argument is of a wrong type, or out of range.
    """

    def __init__(
        self,
        mask: EventMask = EventMask.ALL,
        *,
        threads: bool = True,
        programs: bool = False,
        usage: bool = False,
        receive_buffer: int = USUAL_RECEIVE_BUFFER,
        queue: int = 0,
        max_latency: float = 0.001,
        timeout: float = 1.0,
        heartbeat: float | None = None,
    ) -> None:
        arguments.mask("mask", mask)
        self._threads = arguments.boolean("threads", threads)
        arguments.whole("receive_buffer", receive_buffer, 1, _LARGEST_RECEIVE_BUFFER)
        if arguments.whole("queue", queue, 0, sys.maxsize) and queue < _SMALLEST_QUEUE:
            raise ValueError(
                f"queue must be 0 or at least {_SMALLEST_QUEUE} bytes, not {queue}"
            )
        gather_ns = arguments.nanoseconds("max_latency", max_latency)
        self._timeout_ns = arguments.nanoseconds("timeout", timeout, positive=True)
        heartbeat_ns = -1
        if heartbeat is not None:
            heartbeat_ns = arguments.nanoseconds("heartbeat", heartbeat, positive=True)

        # C appends to the one; the other hands out what was not taken yet.
        self._batch: list[Event] = []
        self._events = iter(self._batch)
        self._polled = False  # somebody has asked for fileno()
        self._needs_queue = programs  # lest a descriptor tells of what is not ready
        self._has_queue = False
        self._owner = os.getpid()

        settings = ffi.new("struct procconn_settings *")
        self._wanted = socketfilter.wanted(mask, self._threads)
        settings.wanted = self._wanted[0]
        settings.receive_buffer = receive_buffer
        settings.gather_ns = gather_ns
        settings.heartbeat_ns = heartbeat_ns
        settings.programs = arguments.boolean("programs", programs)
        settings.usage = arguments.boolean("usage", usage)
        settings.events = ffi.cast("void *", id(self._batch))
        settings.types = CLASSES
        self._place = ffi.gc(ffi.new("struct procconn_stream *[1]"), lib.procconn_free)
        self._check(lib.procconn_open(self._place, settings))
        self._stream = self._place[0]
        self._window = lib.procconn_window(self._stream)
        self._awaiting = Awaiting(self._stream)
        # Also when the interpreter exits; the kernel would not notice otherwise.
        self._finalizer = weakref.finalize(self, _close, self._place)
        try:
            self._listen()
            if queue:
                self._start_thread(queue)
            environment.warn_of_limits(self._window, receive_buffer)
            if heartbeat is not None and lib.procconn_rename_thread() < 0:
                environment.warn_of_heartbeat()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events as they come, until the connector is closed."""
        self._check_open()
        return chain.from_iterable(iter(self._next_batch, None))

    def recv(self, timeout: float | None = None) -> Event | None:
        """Receive one event.

        Args:
            timeout: how long to wait, in seconds; None waits for ever, 0 not at all.

        Returns:
            The event; None if none came in time.

        Raises:
            ConnectionClosedError: the connector was closed meanwhile.
            RuntimeError: another thread is reading, or this is a forked child.
            MemoryError: there is not enough; nothing is lost by it.
            ValueError: the connector is closed.
        """
        self._check_open()
        deadline_ns = _deadline(timeout)
        while True:
            if self._polled and length_hint(self._events) == 1:
                self._announce(0)
            for event in self._events:
                return event
            self._read(deadline_ns, _BATCH)
            if not length_hint(self._events) and passed(deadline_ns):
                return None

    def recv_many(self, timeout: float | None = None) -> list[Event]:
        """Receive everything that is waiting; wait until there is something.

        Takes and raises what `recv` does.

        Returns:
            The events; an empty list if none came in time.
        """
        self._check_open()
        deadline_ns = _deadline(timeout)
        self._read(_AT_ONCE if length_hint(self._events) else deadline_ns, _ALL)
        return self._take_all()

    def recv_raw(self, timeout: float | None = None) -> bytes:
        """Receive everything that is waiting as one netlink buffer, for `decode`.

        Takes and raises what `recv` does. What `recv` or an iteration has decoded
        already is not in it, and stays for those.

        Returns:
            The messages as the kernel sent them, and as the library tells loss between
            them; empty if none came in time.
        """
        self._check_open()
        window = self._window
        self._wait(_deadline(timeout), _ALL)
        raw = ffi.buffer(window.bytes, window.size)[:]
        if self._polled:
            self._announce(length_hint(self._events))
        window.taken = window.size
        return raw

    def recv_into(self, buffer: WriteableBuffer, timeout: float | None = None) -> int:
        """Receive like `recv_raw`, into a buffer: as many whole messages as fit.

        Args:
            buffer: a writable, contiguous object with the buffer protocol.
            timeout: how long to wait, in seconds; None waits for ever, 0 not at all.

        Returns:
            The number of bytes written; 0 if nothing came in time.

        Raises:
            BufferTooSmallError: the next message does not fit; it stays queued.
        """
        self._check_open()
        window = self._window
        place = arguments.writable("buffer", buffer)
        self._wait(_deadline(timeout), len(place))
        size = window.size
        place[:size] = ffi.buffer(window.bytes, size)
        if self._polled:
            self._announce(length_hint(self._events))
        window.taken = size
        return size

    def subscribe(self, mask: EventMask | None = None) -> None:
        """Change the mask, and subscribe again after `unsubscribe`.

        Args:
            mask: the kinds wanted from now on, also of the events already queued;
                None leaves it as it is.

        Raises:
            RuntimeError: another thread is reading, or this is a forked child.
            TypeError: the mask is no EventMask.
            UnsupportedError, PermissionError: as when opening.
        """
        self._check_open()
        if mask is not None:
            wanted = socketfilter.wanted(arguments.mask("mask", mask), self._threads)
        else:
            wanted = self._wanted
        self._check(lib.procconn_change(self._stream, wanted))
        self._wanted = wanted
        taken = len(self._batch) - length_hint(self._events)
        self._batch[taken:] = [
            event for event in self._batch[taken:] if socketfilter.admits(wanted, event)
        ]
        self._listen()

    def unsubscribe(self) -> None:
        """Stop the events; those already queued can still be read."""
        self._check_open()
        self._check(lib.procconn_unsubscribe(self._stream, socketfilter.NOTHING))

    @property
    def lost(self) -> int:
        """How many events the kernel dropped for this connector so far, exactly.

        Before Linux 4.12 the kernel does not count them, and they are not in it.
        """
        return lib.procconn_lost(self._stream)

    @property
    def usage_lost(self) -> int:
        """How many records of usage were lost so far: those exits have none."""
        return lib.procconn_lost_usage(self._stream)

    @property
    def receive_buffer(self) -> int:
        """How much room the kernel granted, in bytes, as one asks for it."""
        return self._window.receive_buffer

    @property
    def closed(self) -> bool:
        """Whether the connector is closed."""
        return bool(self._window.closed)

    def fileno(self) -> int:
        """Return a descriptor to wait for readability, as `select` and loops do.

        Readable means that `recv(0)` or `recv_many(0)` returns something or raises.
        Made at the first call; before that nothing is spent on it. With programs, that
        call starts a thread with a queue of 64 MiB unless there is one.

        Raises:
            ValueError: the connector is closed.
        """
        self._check_open()
        if self._needs_queue and not self._has_queue:
            self._start_thread(_USUAL_QUEUE)
        self._polled = True
        left = length_hint(self._events)
        return self._check(lib.procconn_pollable(self._stream, FOR_FILENO, left))

    def close(self) -> None:
        """End the subscription and close the descriptors.

        A thread blocked in reading stops: its iteration ends, its `recv` raises
        ConnectionClosedError. Closing again does nothing.
        """
        _close(self._place)
        self._awaiting.abandon()

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
        """Iterate on asyncio, until the connector is closed.

        Starts a thread with a queue of 64 MiB unless there is one.
        """
        self._check_open()
        return self._iterate_async()

    async def _iterate_async(self) -> AsyncIterator[Event]:
        try:
            while True:
                await self._read_async(_FOR_EVER)
                for event in self._events:
                    yield event
        except ConnectionClosedError:
            return

    async def arecv_many(self, timeout: float | None = None) -> list[Event]:
        """Receive what is waiting, on asyncio; wait until there is something.

        Takes and raises what `recv_many` does, and starts what `async for` does.

        Returns:
            The events, at most some 3,400, so that the loop is not held up; an empty
            list if none came in time.
        """
        self._check_open()
        await self._read_async(_deadline(timeout))
        return self._take_all()

    def __del__(self) -> None:
        opened = hasattr(self, "_finalizer")
        if opened and not self.closed and os.getpid() == self._owner:
            message = f"unclosed {self!r}"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else 'open'}>"

    def _next_batch(self) -> Iterator[Event] | None:
        """Return an iterator that has events; None when the connector is closed."""
        left = length_hint(self._events)
        if not left:
            try:
                self._read(_FOR_EVER, _BATCH)
            except ConnectionClosedError:
                return None
        if self._polled:
            left = length_hint(self._events)
            if left > 1:
                return islice(self._events, left - 1)
            self._announce(0)
        return self._events

    def _take_all(self) -> list[Event]:
        if self._polled:
            self._announce(0)
        events = [*self._events]
        del self._batch[:]
        return events

    def _read(self, deadline_ns: int, most: int) -> None:
        """Let there be events in `_events`, unless the deadline passes."""
        while status := self._try_read(deadline_ns, most):
            self._look_into(status)

    def _try_read(self, deadline_ns: int, most: int) -> int:
        if not length_hint(self._events):
            del self._batch[:]
            self._events = iter(self._batch)
        return lib.procconn_read(self._stream, deadline_ns, most)

    async def _read_async(self, deadline_ns: int) -> None:
        """Do what `_read` does, on asyncio."""
        if not self._has_queue:
            self._start_thread(_USUAL_QUEUE)
        while not length_hint(self._events):
            status = self._try_read(_AT_ONCE, _BATCH)
            if status == -errno.ENOTCONN:
                await self._awaiting.in_thread(lambda: self._listen(again=True))
                environment.warn_of_renewal()
            elif status:
                self._check(status)
            elif length_hint(self._events) or passed(deadline_ns):
                return
            else:
                await self._awaiting.readable(deadline_ns)

    def _wait(self, deadline_ns: int, most: int) -> None:
        """Let there be messages in the window, unless the deadline passes."""
        while status := lib.procconn_wait(self._stream, deadline_ns, most):
            if status == -errno.EMSGSIZE:
                raise BufferTooSmallError(self._window.needed)
            self._look_into(status)

    def _look_into(self, status: int) -> None:
        """Come back if the call is to be repeated, else raise."""
        if status == -errno.ENOTCONN:
            self._listen(again=True)
            environment.warn_of_renewal()
        elif status != -errno.EINTR:
            self._check(status)

    def _listen(self, *, again: bool = False) -> None:
        """Ask the kernel for events, unless it was done and it is not to be again."""
        deadline_ns = time.monotonic_ns() + self._timeout_ns
        status = -errno.EINTR
        while status == -errno.EINTR:
            nonce = int.from_bytes(os.urandom(4))
            left_ns = max(0, deadline_ns - time.monotonic_ns())
            status = lib.procconn_subscribe(
                self._stream, socketfilter.ANSWERS, nonce, left_ns, again
            )
        self._check(status)

    def _start_thread(self, queue: int) -> None:
        self._check(lib.procconn_start_thread(self._stream, queue))
        self._has_queue = True

    def _announce(self, left: int) -> None:
        """Tell pollers, before events are taken, how many will be left."""
        try:
            lib.procconn_set_waiting(self._stream, left)
        except BaseException:  # of a signal handler: nothing is taken
            lib.procconn_set_waiting(self._stream, 1)
            raise

    def _check_open(self) -> None:
        if self._window.closed:
            raise ValueError("I/O operation on a closed ProcConnector")

    @staticmethod
    def _check(status: int) -> int:
        """Return what a C function returned, unless that is a negative errno."""
        if status >= 0:
            return status
        if -status in _ERRORS:
            raise _ERRORS[-status]()
        raise environment.failure(-status)


def _close(place: StreamPlace) -> None:
    lib.procconn_close(place[0])


def _deadline(timeout: float | None) -> int:
    """Turn a timeout in seconds into a time on CLOCK_MONOTONIC, in nanoseconds."""
    if timeout is None:
        return _FOR_EVER
    if timeout == 0:
        return _AT_ONCE
    return time.monotonic_ns() + arguments.nanoseconds("timeout", timeout)
