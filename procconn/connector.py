"""`ProcConnector`: opening, the ways to read, closing."""

from __future__ import annotations

import math
import time
import warnings
import weakref
from itertools import chain

from procconn.clock import LONGEST, NS_PER_S
from procconn.decoder import whole_messages
from procconn.errors import BufferTooSmallError, ConnectionClosedError
from procconn.events import Event, EventMask
from procconn.inbox import AT_ONCE, FOR_EVER, Inbox
from procconn.socketfilter import Wanted
from procconn.source import EventSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType
    from typing import Self

    from _typeshed import WriteableBuffer

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

    After a fork, the process that opened it goes on as before, whatever the child does
    with its copy, such as closing it. Only reading it takes events away from the other.

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
        self._source = EventSource(
            Wanted(_known_mask(mask), threads),
            receive_buffer=receive_buffer,
            gather_ns=_nanoseconds("max_latency", max_latency),
            timeout=_nanoseconds("timeout", timeout) / NS_PER_S,
            heartbeat_ns=(
                None if heartbeat is None else _nanoseconds("heartbeat", heartbeat)
            ),
        )
        self._inbox = Inbox(self._source)
        # Also when the interpreter exits; the kernel would not notice otherwise.
        self._finalizer = weakref.finalize(self, self._source.close_and_wait)
        try:
            self._warn_of_limits(receive_buffer)
        except RuntimeWarning:  # where warnings are errors
            self.close()
            raise

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
        return chain.from_iterable(iter(self._next_batch, None))

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
        for event in self._inbox.events:
            return event
        deadline_ns = _deadline(timeout)
        return self._source.alone(
            lambda: self._inbox.next_event(deadline_ns, _BATCH_BYTES)
        )

    def recv_many(self, timeout: float | None = None) -> list[Event]:
        """Receive everything that is waiting; wait until there is something.

        Takes and raises what `recv` does.

        Returns:
            The events; an empty list if none came in time.
        """
        self._source.check_open()
        deadline_ns = _deadline(timeout)
        return self._source.alone(lambda: self._inbox.collect(deadline_ns))

    def recv_raw(self, timeout: float | None = None) -> bytes:
        """Receive everything that is waiting as one netlink buffer, for `decode`.

        Takes and raises what `recv` does. There is no `Lost` in it: see `lost`.

        Returns:
            The messages as the kernel sent them; empty if none came in time.
        """
        self._source.check_open()
        deadline_ns = _deadline(timeout)

        def take() -> bytes:
            raw = self._inbox.raw(deadline_ns, self._source.capacity)[:]
            self._inbox.take()
            return raw

        return self._source.alone(take)

    def recv_into(self, buffer: WriteableBuffer, timeout: float | None = None) -> int:
        """Receive like `recv_raw`, into a buffer: as many whole datagrams as fit.

        Args:
            buffer: a writable, contiguous object with the buffer protocol.
            timeout: how long to wait, in seconds; None waits for ever, 0 not at all.

        Returns:
            The number of bytes written; 0 if nothing came in time.

        Raises:
            BufferTooSmallError: the next datagram does not fit; it stays queued.
        """
        self._source.check_open()
        deadline_ns = _deadline(timeout)
        place = memoryview(buffer).cast("B")
        if place.readonly:
            raise TypeError("recv_into() needs a writable buffer")

        def take() -> int:
            most = min(max(len(place), _SMALLEST_DRAIN), self._source.capacity)
            raw = self._inbox.raw(deadline_ns, most)
            fitting, following = whole_messages(raw, len(place))
            if following and not fitting:
                raise BufferTooSmallError(following)
            place[:fitting] = raw[:fitting]
            self._inbox.take(rest=raw[fitting:])
            return fitting

        return self._source.alone(take)

    def subscribe(self, mask: EventMask | None = None) -> None:
        """Change the mask, and subscribe again after `unsubscribe`.

        Args:
            mask: the kinds wanted from now on, also of the events already queued;
                None leaves it as it is.

        Raises:
            RuntimeError: another thread is reading, or this is a forked child.
            UnsupportedError, PermissionError: as when opening.
        """
        self._source.check_open()

        def change() -> None:
            self._source.subscribe(None if mask is None else _known_mask(mask))
            self._inbox.screen()

        self._source.alone(change)

    def unsubscribe(self) -> None:
        """Stop the events; those already queued can still be read."""
        self._source.check_open()
        self._source.alone(self._source.unsubscribe)

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
        while batch := await self._next_batch_async():
            for event in batch:
                yield event

    def __del__(self) -> None:
        if hasattr(self, "_finalizer") and self._source.owned_and_open:
            message = f"unclosed {self!r}"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd={self._source.fileno()}"
        return f"<{type(self).__name__} {state}>"

    def _next_batch(self) -> Iterator[Event] | None:
        """Return an iterator that has events; None when the connector is closed."""
        if not self._inbox.has_events:
            try:
                self._source.alone(lambda: self._inbox.fill(FOR_EVER, _BATCH_BYTES))
            except ConnectionClosedError:
                return None
        return self._inbox.events

    async def _next_batch_async(self) -> Iterator[Event] | None:
        """Do what `_next_batch` does, on asyncio."""
        while not self._inbox.has_events:
            try:
                if not self._inbox.has_raw:
                    await self._source.readable()
                self._source.alone(lambda: self._inbox.fill(AT_ONCE, _BATCH_BYTES))
            except ConnectionClosedError:
                return None
        return self._inbox.events


def _known_mask(mask: int) -> EventMask:
    if mask & ~int(EventMask.ALL):
        raise ValueError(
            f"mask {mask:#x} has bits that are no event's; combine members of EventMask"
        )
    return EventMask(mask)


def _nanoseconds(name: str, seconds: float) -> int:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{name} must be a number of seconds from 0 on, not {seconds}")
    return int(min(seconds, LONGEST) * NS_PER_S)


def _deadline(timeout: float | None) -> int:
    """Turn a timeout in seconds into a time on CLOCK_MONOTONIC, in nanoseconds."""
    if timeout is None:
        return FOR_EVER
    if timeout == 0:
        return AT_ONCE
    return time.monotonic_ns() + _nanoseconds("timeout", timeout)
