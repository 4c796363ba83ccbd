"""Where events come from: a socket, the subscription behind it, and their end."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import threading
import time
import warnings

from procconn import socketfilter
from procconn._core import ffi, lib
from procconn.clock import NS_PER_S, passed
from procconn.decoder import Walk
from procconn.errors import ConnectionClosedError
from procconn.loss import LossCounter
from procconn.socketfilter import NOTHING, Wanted
from procconn.subscription import Subscription, join_group, open_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from _typeshed import ReadableBuffer

    from procconn.events import EventMask

    _T = TypeVar("_T")

_AT_ONCE = 0
_FOR_EVER = -1
_TICK_NS = 1_000_000  # what asyncio's timeouts are rounded up to
_PATIENCE = 1.0  # seconds, for a reader that was woken

_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; the socket module does not have it

# A drain can bring all that the receive buffer holds. An event takes 768 bytes there
# or more, in an account that is twice as large as what was asked for; 76 on the wire.
_DRAIN_SHARE = 2 * 76 / 768
_SMALLEST_DRAIN = 262_144

_allocate = ffi.new_allocator(should_clear_after_alloc=False)


class EventSource:
    """A bound, filtered and subscribed socket, and the buffer it is drained into.

    One thread at a time uses it, the reader: within `alone`. Anyone may close
    it. Descriptors are closed by the last who uses them: `close` wakes the reader, if
    there is one, and leaves it to that. None of this waits for a lock that is held for
    longer than a moment, or by its own thread, so a signal handler may close any time.

    Free-threaded builds need nothing more. The C module keeps no state, and what it
    writes to, `buffer` and `received`, belongs to this object and its reader; another
    thread changes nothing here but `_closed`, which goes from False to True once.

    Attributes:
        reader: a token of whoever reads, or None.
        buffer: raw messages; the first `received.size` bytes wait to be taken.
        capacity: its size; memory is only used by what a drain brings.
        received: what the last drain brought.
        loss: what the kernel dropped.
        receive_buffer: what the kernel granted, in bytes.
    """

    def __init__(
        self,
        wanted: Wanted,
        *,
        receive_buffer: int,
        gather_ns: int,
        timeout: float,
        heartbeat_ns: int | None,
    ) -> None:
        self.received = ffi.new("struct procconn_received *")
        self._wanted = wanted
        self._gather_ns = gather_ns
        self._timeout = timeout
        self._heartbeat_ns = heartbeat_ns
        self._screen_until_ns = 0
        self.reader: object = None
        self._changing = threading.RLock()  # `reader`, for a moment
        self._closing = threading.Lock()  # taken once, by the first close()
        self._closed = False
        self._released = threading.Event()
        self._owner = os.getpid()

        self._wake = -1
        self._subscription: Subscription | None = None
        self._socket = open_socket()
        try:
            self.receive_buffer = self._enlarge(receive_buffer)
            self.capacity = max(
                int(self.receive_buffer * _DRAIN_SHARE), _SMALLEST_DRAIN
            )
            self.buffer = _allocate("uint8_t[]", self.capacity)
            self.loss = LossCounter(self._socket)
            self._attach(wanted)
            join_group(self._socket)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._subscription = Subscription(timeout)
        except BaseException:
            self._release_descriptors()
            raise
        self._heard_ns = time.monotonic_ns()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def owned_and_open(self) -> bool:
        """Whether `close` was not called in the process that opened it."""
        return not self._closed and os.getpid() == self._owner

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 after the end."""
        return self._socket.fileno()

    async def readable(self) -> None:
        """Wait, on asyncio and as the reader, until a `drain` need not wait."""
        import asyncio  # noqa: PLC0415 - who awaits has it already

        reader = object()
        try:
            self.begin(reader)
            loop = asyncio.get_running_loop()
            ready, closing = asyncio.Event(), asyncio.Event()
            loop.add_reader(self._socket.fileno(), ready.set)

            def close() -> None:
                ready.set()
                closing.set()

            loop.add_reader(self._wake, close)
            try:
                gathering_since_ns = (
                    self._gathering_since_ns() if self._gather_ns else 0
                )
                async with asyncio.timeout(
                    self._heartbeat_ns and self._heartbeat_ns / NS_PER_S
                ):
                    await ready.wait()
                loop.remove_reader(self._socket.fileno())
                if gathering_since_ns is None:
                    gathering_since_ns = time.monotonic_ns()
                until_ns = gathering_since_ns + self._gather_ns
                while (wait_ns := self._gathering_ns(until_ns)) > 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait_ns / NS_PER_S):
                            await closing.wait()
                            return
            except TimeoutError:
                pass  # for the heartbeat
            finally:
                loop.remove_reader(self._socket.fileno())
                loop.remove_reader(self._wake)
        finally:
            if self.reader is reader:
                self.reader = None
            if self._closed:
                self._release_if_unused()

    def _gathering_since_ns(self) -> int | None:
        """Tell since when events may have been waiting; None if there are none."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return self.received.emptied_ns if poll.poll(0) else None

    def _gathering_ns(self, until_ns: int) -> int:
        """Tell for how long events may gather, on asyncio; 0 or less when it is enough.

        Its timeouts may be late by a millisecond, which a small buffer does not bear.
        """
        left_ns = until_ns - time.monotonic_ns()
        if left_ns <= 0:
            return 0
        most_ns = lib.procconn_gathering_ns(self._socket.fileno())
        return min(left_ns, most_ns) if most_ns > 2 * _TICK_NS else 0

    def alone(self, action: Callable[[], _T]) -> _T:
        """Do something as the reader.

        Raises:
            ConnectionClosedError: it is closed.
            RuntimeError: somebody else is reading, or it is another process's.
        """
        reader = object()
        try:
            self.begin(reader)
            return action()  # with *arguments, a handler could run when it returns
        finally:
            # Signal handlers run at calls, and may raise: there is none in between.
            if self.reader is reader:
                self.reader = None
            if self._closed:
                self._release_if_unused()

    def begin(self, reader: object) -> None:
        """Become the reader; whoever is sets `reader` to None at the end."""
        if os.getpid() != self._owner and not self._closed:
            raise RuntimeError(
                "this connector belongs to the process that opened it, which would miss"
                " what is read or changed here; open another after the fork"
            )
        with self._changing:
            if self._closed:
                raise ConnectionClosedError
            if self.reader is not None:
                raise RuntimeError(
                    "this connector is being read already, by another thread or"
                    " further up in this one; give each reader a ProcConnector of"
                    " its own"
                )
            self.reader = reader

    def check_open(self) -> None:
        """Raise ValueError if it is closed."""
        if self._closed:
            raise ValueError("I/O operation on a closed ProcConnector")

    def _check_owner(self) -> None:
        """Keep a forked child from changing the filter, as its parent shares it."""
        if os.getpid() != self._owner:
            raise RuntimeError(
                "this connector was opened before a fork, and what it is subscribed to"
                " is up to the process that opened it; open one here"
            )

    def close(self) -> None:
        """End the subscription and wake the reader; once is enough."""
        if not self._closing.acquire(blocking=False):
            return
        if os.getpid() == self._owner:  # a forked child shares the wake-up
            os.eventfd_write(self._wake, 1)
        self._closed = True  # from here on the descriptors may be gone
        self._release_if_unused()

    def close_and_wait(self) -> None:
        """Close for the interpreter's exit, which stops a reader in another thread.

        The kernel would not notice that the subscription has ended.
        """
        self.close()
        if os.getpid() != self._owner or self._released.wait(_PATIENCE):
            return
        if self._subscription is not None:
            self._subscription.end()

    def subscribe(self, mask: EventMask | None) -> None:
        """Change what is wanted, unless None; subscribe if that has ended."""
        self._check_owner()
        if mask is not None:
            self._wanted = Wanted(mask, self._wanted.threads)
        self._filter()
        if self._subscription is None or self._subscription.forgotten:
            self._subscription = Subscription(self._timeout)

    def unsubscribe(self) -> None:
        """End the subscription; what is queued can still be read."""
        self._check_owner()
        self._attach(NOTHING)
        if self._subscription is not None:
            self._subscription.end()
            self._subscription = None

    def screen(self, raw: ReadableBuffer) -> bytes:
        """Keep the messages of a raw buffer that are wanted, or damaged."""
        kept = []
        with Walk.over(raw) as walk, memoryview(raw) as view:
            while walk.left:
                at = walk.offset
                status, event = walk.one()
                if status < 0 or (event is not None and self._wanted.admits(event)):
                    kept.append(bytes(view[at : walk.offset]))
        return b"".join(kept)

    def drain(self, deadline_ns: int, capacity: int) -> None:
        """Wait for messages, then take all there are, up to the capacity.

        Comes back with none when the deadline has passed, and when it has something
        to tell about loss. What an exception in a signal handler kept from being
        taken is still there.

        Args:
            deadline_ns: on CLOCK_MONOTONIC, in nanoseconds; -1 waits for ever.
            capacity: how much to bring at most, in bytes.

        Raises:
            ConnectionClosedError: it was closed meanwhile.
            OSError: the socket failed.
        """
        if self.received.size == 0:
            self._wait(_AT_ONCE if self.loss.gaps else deadline_ns, capacity)
        self.loss.note(self.received, self.buffer, self._wanted)
        if self._screen_until_ns and self.received.size:
            raw = ffi.buffer(self.buffer, self.received.size)
            kept = self.screen(raw)
            size = len(kept)
            # Without a call in between, for the sake of signal handlers that raise.
            raw[:size] = kept
            self.received.size = size
            if self.received.emptied_ns > self._screen_until_ns:
                self._screen_until_ns = 0

    def _wait(self, deadline_ns: int, capacity: int) -> None:
        while True:
            self._receive(self._next_heartbeat(deadline_ns), capacity)
            if self.received.size:
                self._heard_ns = self.received.started_ns
                return
            self.loss.note(self.received, self.buffer, self._wanted)
            if passed(self._next_heartbeat(_FOR_EVER)):
                self._check_subscription()
            if self.received.size or self.loss.gaps or passed(deadline_ns):
                return

    def _receive(self, deadline_ns: int, capacity: int) -> None:
        status = lib.procconn_receive(
            self._socket.fileno(),
            self._wake,
            deadline_ns,
            self._gather_ns,
            self.buffer,
            capacity,
            self.received,
        )
        if status == -errno.ECANCELED or self._closed:
            raise ConnectionClosedError
        if status < 0 and status != -errno.EINTR:
            raise OSError(-status, os.strerror(-status))

    def _attach(self, wanted: Wanted, *, probe: int | None = None) -> None:
        # Answers are no business of this socket: dropped ones would count as lost.
        # But where sequence numbers must show the loss, they must not be missing.
        answers = not self.loss.exact
        socketfilter.attach(self._socket, wanted, probe=probe, answers=answers)

    def _filter(self) -> None:
        """Put the filter in force, also for what the last one let into the queue."""
        self._attach(self._wanted)
        self._screen_until_ns = time.monotonic_ns()

    def _next_heartbeat(self, deadline_ns: int) -> int:
        if self._heartbeat_ns is None:
            return deadline_ns
        due_ns = self._heard_ns + self._heartbeat_ns
        return due_ns if deadline_ns < 0 else min(due_ns, deadline_ns)

    def _check_subscription(self) -> None:
        """Cause an event; if it does not come back, subscribe anew.

        What else has come is received with it.
        """
        self._heard_ns = time.monotonic_ns()
        if self._subscription is None:
            return
        self._attach(self._wanted, probe=threading.get_native_id())
        lib.procconn_rename_thread()  # its event is queued when this returns
        self._filter()
        self._receive(0, self.capacity)
        self.loss.note(self.received, self.buffer, self._wanted)
        if self.received.size or self.loss.gaps:
            return
        self._subscription.forget()  # stays in place if the next fails: try again later
        self._subscription = Subscription(self._timeout)
        self.loss.note_unknown(time.monotonic_ns())
        warnings.warn(
            "the subscription to process events had been ended by another program and"
            " was renewed; an unknown number of events is missing",
            RuntimeWarning,
            stacklevel=_distance_to_caller(),
        )

    def _enlarge(self, size: int) -> int:
        """Ask for a receive buffer, by privilege if possible; return what was got."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        # The kernel keeps, and tells, twice what was asked for (socket(7)).
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    def _release_if_unused(self) -> None:
        if os.getpid() == self._owner:  # a forked child has none of the threads
            with self._changing:
                if self.reader is not None:
                    return
                self.reader = self  # the last one
        self.loss.settle()
        self._release_descriptors()
        self.reader = None

    def _release_descriptors(self) -> None:
        if self._subscription is not None:
            self._subscription.end()
            self._subscription = None
        self._socket.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1
        self._released.set()


def _distance_to_caller() -> int:
    """Tell how far up the stack the package was called, as `stacklevel` wants it."""
    frame, distance = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("procconn."):
        frame, distance = frame.f_back, distance + 1
    return distance
