"""`ProcConnector`: the ways to read events, and what was read but not yet taken."""

import math
import time
import warnings
import weakref
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from operator import length_hint
from types import TracebackType
from typing import TYPE_CHECKING, Self

from procconn._core import ffi
from procconn.decoder import CBuffer, Walk, whole_messages
from procconn.errors import BufferTooSmallError, ConnectionClosedError
from procconn.events import Event, EventMask, Lost
from procconn.socketfilter import Wanted
from procconn.source import EventSource

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from procconn._core import RawView

_NS_PER_S = 1_000_000_000
_FOR_EVER = -1
_AT_ONCE = 0

USUAL_RECEIVE_BUFFER = 33_554_432
_LARGEST_RECEIVE_BUFFER = (1 << 30) - 1  # the kernel doubles it, in an int
_BATCH_BYTES = 262_144  # enough to make a call cheap, little enough for the caches
_SMALLEST_DRAIN = 4096


class ProcConnector:
    """A subscription to the kernel's process events.

    Opening one subscribes and waits for the kernel's answer. Iterate over it, call one
    of the `recv` methods, or use `async for`; the ways can be mixed, and each event is
    delivered once. One thread at a time may read, subscribe or unsubscribe; `close`
    may be called from any other, and from a signal handler.

    After a fork, the process that opened it goes on as before; what the child does
    with its copy, closing it above all, does not touch the subscription.

    Args:
        mask: the kinds of events that are wanted; the kernel filters out the others.
        threads: whether events of threads other than a process's first are wanted.
        receive_buffer: how much room to ask the kernel for, in bytes; an event takes
            416. Without CAP_NET_ADMIN, net.core.rmem_max limits what is got, and a
            RuntimeWarning says so.
        max_latency: how long events may wait in the kernel so that one wake-up serves
            many, in seconds.
        timeout: how long to wait for the kernel's answer, in seconds.
        heartbeat: after so long without a message, make sure that the subscription
            still lives, in seconds; None never does. One that does not live is renewed,
            with a RuntimeWarning and a `Lost` of count 0 in the stream.

    Raises:
        UnsupportedError: no events can come here; the text says why.
        PermissionError: the kernel is older than 6.6 and wants CAP_NET_ADMIN.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        mask: EventMask = EventMask.ALL,
        *,
        threads: bool = True,
        receive_buffer: int = USUAL_RECEIVE_BUFFER,
        max_latency: float = 0.0,
        timeout: float = 1.0,
        heartbeat: float | None = None,
    ) -> None:
        if not 0 < receive_buffer <= _LARGEST_RECEIVE_BUFFER:
            raise ValueError(
                f"receive_buffer must be from 1 to {_LARGEST_RECEIVE_BUFFER} bytes,"
                f" not {receive_buffer}"
            )
        if timeout == 0 or heartbeat == 0:
            raise ValueError("timeout and heartbeat must be more than 0 seconds")
        # Raw messages become events in batches. `_delivery` hands out the events of
        # the last one, `_pending`, whoever asks for them; `_failure` follows. Raw
        # messages that were put back, `_backlog`, come before those of the source.
        self._backlog = b""
        self._pending: list[Event] = []
        self._delivery = iter(self._pending)
        self._decoded: tuple[CBuffer, int] = (None, 0)
        self._failure: Exception | None = None

        self._source = EventSource(
            Wanted(_known_mask(mask), threads),
            receive_buffer=receive_buffer,
            gather_ns=_nanoseconds("max_latency", max_latency),
            timeout=_nanoseconds("timeout", timeout) / _NS_PER_S,
            heartbeat_ns=(
                None if heartbeat is None else _nanoseconds("heartbeat", heartbeat)
            ),
        )
        # Also when the interpreter exits; the kernel would not notice otherwise.
        self._finalizer = weakref.finalize(self, self._source.close)
        self._warn_of_limits(receive_buffer)

    def _warn_of_limits(self, asked: int) -> None:
        if self._source.receive_buffer < asked:
            warnings.warn(
                f"the receive buffer is {self._source.receive_buffer} bytes, not"
                f" {asked}: raise net.core.rmem_max with sysctl, or grant"
                " CAP_NET_ADMIN, lest events are lost in bursts",
                RuntimeWarning,
                stacklevel=3,
            )
        if not self._source.loss.exact:
            warnings.warn(
                "this kernel does not count the events it drops (Linux 4.12 does);"
                " `lost` is a lower bound",
                RuntimeWarning,
                stacklevel=3,
            )

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events as they come, until the connector is closed."""
        self._source.check_open()
        return chain.from_iterable(iter(self._next_delivery, None))

    def recv(self, timeout: float | None = None) -> Event | None:
        """Receive one event.

        Args:
            timeout: how long to wait, in seconds; None waits for ever, 0 not at all.

        Returns:
            The event; None if none came in time.

        Raises:
            ConnectionClosedError: the connector was closed meanwhile.
            RuntimeError: another thread is reading.
            ValueError: the connector is closed.
        """
        self._source.check_open()
        for event in self._delivery:
            return event
        deadline_ns = _deadline(timeout)
        with self._source:
            self._fill(deadline_ns, _BATCH_BYTES)
        return next(self._delivery, None)

    def recv_many(self, timeout: float | None = None) -> list[Event]:
        """Receive everything that is waiting; wait until there is something.

        Takes and raises what `recv` does.

        Returns:
            The events; an empty list if none came in time.
        """
        deadline_ns = _deadline(timeout)
        with self._source:
            self._unread()
            self._fill(deadline_ns, self._source.capacity)
            return list(self._delivery)

    def recv_raw(self, timeout: float | None = None) -> bytes:
        """Receive everything that is waiting as one netlink buffer, for `decode`.

        Takes and raises what `recv` does. There is no `Lost` in it: see `lost`.

        Returns:
            The messages as the kernel sent them; empty if none came in time.
        """
        deadline_ns = _deadline(timeout)
        with self._source:
            self._unread()
            raw = self._raw_only(deadline_ns, self._source.capacity)[:]
            self._keep(b"")
            return raw

    def recv_into(self, buffer: "WriteableBuffer", timeout: float | None = None) -> int:
        """Receive like `recv_raw`, into a buffer: as many whole datagrams as fit.

        Args:
            buffer: a writable, contiguous object with the buffer protocol.
            timeout: how long to wait, in seconds; None waits for ever, 0 not at all.

        Returns:
            The number of bytes written; 0 if nothing came in time.

        Raises:
            BufferTooSmallError: the next datagram does not fit; it stays queued.
        """
        deadline_ns = _deadline(timeout)
        with memoryview(buffer).cast("B") as place, self._source:
            if place.readonly:
                raise TypeError("recv_into() needs a writable buffer")
            self._unread()
            most = min(max(len(place), _SMALLEST_DRAIN), self._source.capacity)
            raw = self._raw_only(deadline_ns, most)
            fitting, following = whole_messages(raw, len(place))
            if following and not fitting:
                raise BufferTooSmallError(following)
            place[:fitting] = raw[:fitting]
            self._keep(raw[fitting:])
            return fitting

    def subscribe(self, mask: EventMask | None = None) -> None:
        """Change the mask, and subscribe again after `unsubscribe`.

        Args:
            mask: the kinds wanted from now on, also of the events already queued;
                None leaves it as it is.

        Raises:
            RuntimeError: another thread is reading.
            UnsupportedError, PermissionError: as when opening.
        """
        with self._source:
            self._unread()
            self._source.subscribe(None if mask is None else _known_mask(mask))
            self._backlog = self._source.screen(self._backlog)

    def unsubscribe(self) -> None:
        """Stop the events; those already queued can still be read."""
        with self._source:
            self._source.unsubscribe()

    @property
    def lost(self) -> int:
        """How many events the kernel dropped for this connector so far.

        Exact from Linux 4.12 on, a lower bound before.
        """
        return self._source.loss.total()

    @property
    def receive_buffer(self) -> int:
        """How much room the kernel granted, in bytes, as one asks for it."""
        return self._source.receive_buffer

    @property
    def closed(self) -> bool:
        """Whether the connector is closed."""
        return self._source.closed

    def fileno(self) -> int:
        """Return the descriptor of the socket, to wait for readability.

        Raises:
            ValueError: the connector is closed.
        """
        self._source.check_open()
        return self._source.fileno()

    def close(self) -> None:
        """End the subscription and close the socket.

        A thread blocked in reading stops: its iteration ends, its `recv` raises
        ConnectionClosedError. Closing again does nothing.
        """
        self._source.close()

    def __enter__(self) -> Self:
        self._source.check_open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate on asyncio, until the connector is closed."""
        self._source.check_open()
        return self._iterate_async()

    async def _iterate_async(self) -> AsyncIterator[Event]:
        while delivery := await self._next_delivery_async():
            for event in delivery:
                yield event

    def __del__(self) -> None:
        if hasattr(self, "_finalizer") and self._source.owned_and_open:
            message = f"unclosed {self!r}"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd={self._source.fileno()}"
        return f"<{type(self).__name__} {state}>"

    def _next_delivery(self) -> Iterator[Event] | None:
        """Return the iterator of a batch that has events; None when closed."""
        if length_hint(self._delivery) == 0:
            if self._source.closed:
                return None
            try:
                with self._source:
                    self._fill(_FOR_EVER, _BATCH_BYTES)
            except ConnectionClosedError:
                return None
        return self._delivery

    async def _next_delivery_async(self) -> Iterator[Event] | None:
        """Do what `_next_delivery` does, on asyncio."""
        while length_hint(self._delivery) == 0:
            if self._source.closed:
                return None
            with self._source:
                if not self._backlog:
                    await self._source.readable()
                try:
                    self._fill(_AT_ONCE, _BATCH_BYTES)
                except ConnectionClosedError:
                    return None
        return self._delivery

    def _fill(self, deadline_ns: int, capacity: int) -> None:
        """Decode the next raw messages, waiting until some of them are events.

        To be called when all of `_pending` was delivered.
        """
        while True:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            buffer, size = self._raw(deadline_ns, capacity)
            events: list[Event] = []
            walk = Walk(buffer, size)
            while walk.left and failure is None:
                failure = walk.all(events)
            rest = ffi.buffer(buffer, size)[walk.offset :]
            self._source.loss.place(events, emptied=self._source.emptied)
            delivery = iter(events)
            # Signal handlers run after calls only, so none comes between these.
            self._pending = events
            self._delivery = delivery
            self._decoded = (buffer, size)
            self._failure = failure
            self._backlog = rest
            self._source.received.size = 0
            if events or (failure is None and _passed(deadline_ns)):
                return

    def _raw(self, deadline_ns: int, capacity: int) -> tuple[CBuffer, int]:
        """Return raw messages, waiting for them; `_keep` or `_fill` takes them."""
        received = self._source.received
        self._source.drain(_AT_ONCE if self._backlog else deadline_ns, capacity)
        if not self._backlog:
            return self._source.buffer, received.size
        joined = self._backlog + ffi.buffer(self._source.buffer, received.size)[:]
        self._backlog = joined
        received.size = 0
        return ffi.from_buffer("uint8_t[]", joined), len(joined)

    def _raw_only(self, deadline_ns: int, capacity: int) -> "RawView":
        """Return raw messages for one who does not want to know where loss was."""
        while True:
            raw = ffi.buffer(*self._raw(deadline_ns, capacity))
            self._source.loss.forget_gaps()
            if len(raw) or _passed(deadline_ns):
                return raw

    def _keep(self, rest: bytes) -> None:
        """Take the raw messages but for the rest."""
        self._backlog = rest
        self._source.received.size = 0

    def _unread(self) -> None:
        """Turn the events that were not delivered back into raw messages."""
        rest = list(self._delivery)
        lost = [event for event in rest if isinstance(event, Lost)]
        count = len(rest) - len(lost)
        self._source.loss.put_back(lost)
        if count == 0:
            return
        offsets = []
        walk = Walk(*self._decoded)
        while walk.left:
            at = walk.offset
            if walk.one()[1] is not None:
                offsets.append(at)
        self._backlog = ffi.buffer(*self._decoded)[offsets[-count] :]
        self._failure = None  # it is in there


def _known_mask(mask: int) -> EventMask:
    if mask & ~EventMask.ALL:
        raise ValueError(
            f"mask {mask:#x} has bits that are no event's; combine members of EventMask"
        )
    return EventMask(mask)


def _nanoseconds(name: str, seconds: float) -> int:
    if not (seconds >= 0 and math.isfinite(seconds)):
        raise ValueError(f"{name} must be a number of seconds from 0 on, not {seconds}")
    return int(seconds * _NS_PER_S)


def _deadline(timeout: float | None) -> int:
    """Turn a timeout in seconds into a time on CLOCK_MONOTONIC, in nanoseconds."""
    if timeout is None:
        return _FOR_EVER
    if timeout == 0:
        return _AT_ONCE
    return time.monotonic_ns() + _nanoseconds("timeout", timeout)


def _passed(deadline_ns: int) -> bool:
    return 0 <= deadline_ns <= time.monotonic_ns()
