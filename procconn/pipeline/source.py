"""Sources of events: the kernel, or a recording."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

from procconn.clock import MAX_TIMEOUT, NS_PER_S, event_time, wall_ns
from procconn.connector import ProcConnector
from procconn.decoder import decode
from procconn.events import Event, EventMask, Lost
from procconn.pipeline.selection import Selection
from procconn.pipeline.standard_streams import STANDARD, standard_input
from procconn.pipeline.stop import Stop
from procconn.processes.snapshot import check_exist, take_snapshot

QUEUE = 76_000_000  # bytes: 1,000,000 events
_BATCH = 262_144  # bytes: 3,449 events
_HEARTBEAT = 10.0  # seconds
_NEVER = 1 << 64  # nanoseconds, later than any timestamp
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Longer than an exec waits for its program: seconds, and a multiple of the latency
_MAX_DELAY, _MAX_LATENCIES = 0.05, 4


IdleTimeout: TypeAlias = Callable[[], float | None]
"""Returns the seconds without an event after which to yield an empty list, or None."""


class Source(Protocol):
    """A source of events.

    Attributes:
        is_live: whether it yields this machine's events as they happen.
        latency: how long an event may be held back, in seconds.
    """

    is_live: bool
    latency: float

    def batches(self, timeout: IdleTimeout = lambda: None) -> Iterator[list[Event]]:
        """Yield batches of events that happened within the duration.

        The time that the caller takes to process them does not matter.
        """

    def time_of(self, event: Event) -> datetime:
        """Return the time of an event, in UTC."""

    def wall_ns(self, event: Event) -> int:
        """Return the time of an event in nanoseconds since 1970."""

    def end(self) -> None:
        """Yield no events that happen after this call; any thread may make it."""

    def lost(self) -> int | None:
        """Return how many events were dropped; None if only the stream reports it."""

    def usage_lost(self) -> int:
        """Return how many usage records were dropped."""

    def close(self) -> None:
        """Release the connector or the file."""


def open_source(
    selection: Selection,
    *,
    latency: float,
    usage: bool = False,
    queue: int = QUEUE,
    stop: Stop | None = None,
) -> Source:
    """Open a recording, or subscribe to the kernel's events.

    Args:
        selection: the filter, with `duration` and `input`.
        latency: the minimum time between two batches, in seconds.
        usage: whether exits carry the usage of their tasks.
        queue: the size of the queue, in bytes.
        stop: ends a live source.

    Raises:
        ProcessLookupError: the selected process does not exist.
    """
    if selection.input is not None:
        return _Recorded(selection.input, selection.duration)
    check_pid(selection)
    return Live(
        selection.kernel_mask,
        threads=selection.threads or selection.needs_context,
        usage=usage,
        latency=latency,
        duration=selection.duration,
        queue=queue,
        stop=stop,
    )


def check_pid(selection: Selection) -> None:
    """Check that the process selected by its PID exists.

    Raises:
        ProcessLookupError: it does not exist.
        PermissionError: /proc does not show it to this user.
    """
    if selection.pid is not None:
        found = take_snapshot([selection.pid]).processes
        check_exist([selection.pid], [entry.pid for entry in found])


class Live:
    """This machine's events, with programs, received by a native thread.

    Args:
        mask: the kinds of events to receive.
        threads: whether to receive events of threads other than the main thread.
        usage: whether exits carry the usage of their tasks.
        latency: the minimum time between two batches, in seconds.
        duration: yield events for this many seconds, from the first wait on.
        queue: the size of the queue, in bytes.
        stop: ends the source; only for the thread that handles signals.
    """

    is_live = True

    def __init__(
        self,
        mask: EventMask,
        *,
        threads: bool,
        usage: bool,
        latency: float,
        duration: float | None,
        queue: int = QUEUE,
        stop: Stop | None = None,
    ) -> None:
        programs = bool(mask & EventMask.EXEC)
        self._duration = duration
        self._end_ns = _NEVER
        self._stop = stop
        self.latency = latency
        self._max_delay = _MAX_LATENCIES * latency + _MAX_DELAY if programs else 0
        self._connector = ProcConnector(
            mask,
            threads=threads,
            programs=programs,
            usage=usage,
            queue=queue,
            max_latency=latency,
            heartbeat=_HEARTBEAT,
        )

    def batches(self, timeout: IdleTimeout = lambda: None) -> Iterator[list[Event]]:
        """Yield batches, as `Source.batches`."""
        for _, events in self.received(timeout):
            end_ns = self._end_ns
            yield [*_within(events, end_ns)] if _is_later(events, end_ns) else events

    def received(
        self, timeout: IdleTimeout = lambda: None
    ) -> Iterator[tuple[memoryview, list[Event]]]:
        """Yield messages and their events; the last ones may be after the end."""
        buffer = memoryview(bytearray(_BATCH))
        if self._duration is not None:
            span_ns = int(min(self._duration, MAX_TIMEOUT) * NS_PER_S)
            self._end_ns = time.monotonic_ns() + span_ns
        while True:
            remaining = self._seconds_remaining()
            idle = timeout() if remaining != 0 else None
            if remaining == 0:
                size = self._receive_delayed(buffer)
            else:
                times = [it for it in (remaining, idle) if it is not None]
                size = self._receive(buffer, min(times, default=None))
            events = decode(buffer[:size])
            if events or idle is not None:
                yield buffer[:size], events
            if _is_later(events, self._end_ns) or (not events and remaining == 0):
                return

    def time_of(self, event: Event) -> datetime:
        """Return the time of an event, in UTC."""
        return event_time(event)

    def wall_ns(self, event: Event) -> int:
        """Return the time of an event in nanoseconds since 1970."""
        return wall_ns(event)

    def end(self) -> None:
        """Yield no events that happen after this call; any thread may make it."""
        self._end_ns = min(self._end_ns, time.monotonic_ns())

    def lost(self) -> int:
        """Return how many events were dropped."""
        return self._connector.lost

    def usage_lost(self) -> int:
        """Return how many usage records were dropped."""
        return self._connector.usage_lost

    def close(self) -> None:
        """End the subscription."""
        self._connector.close()

    def _receive(self, buffer: memoryview, timeout: float | None) -> int:
        """Receive events until the timeout, or until a stop is requested."""
        if self._stop is None:
            return self._connector.recv_into(buffer, timeout)
        self._stop.wait(self._connector.fileno(), timeout)
        return self._connector.recv_into(buffer, 0)

    def _receive_delayed(self, buffer: memoryview) -> int:
        """Receive events from before the end that are delivered after it."""
        if self._stop is None:
            return self._connector.recv_into(buffer, self._max_delay)
        with self._stop.waiting():
            return self._connector.recv_into(buffer, self._max_delay)

    def _seconds_remaining(self) -> float | None:
        """Return the time until the end, in seconds; None if there is no end yet."""
        if self._stop is not None and self._stop.at_ns:
            self._end_ns = min(self._end_ns, self._stop.at_ns)
        if self._end_ns == _NEVER:
            return None
        return max(0, self._end_ns - time.monotonic_ns()) / NS_PER_S


class _Recorded:
    """The events of a recording."""

    is_live = False
    latency = 0.0

    def __init__(self, path: str, duration: float | None) -> None:
        from procconn.recording import Recording  # noqa: PLC0415 - not when live

        self._duration = duration
        self._is_over = False
        self._recording = Recording(standard_input() if path == STANDARD else path)
        self.time_of = self._recording.event_time

    def batches(self, timeout: IdleTimeout = lambda: None) -> Iterator[list[Event]]:
        del timeout  # reading a file does not wait for events
        end_ns = _NEVER
        while not self._is_over and (batch := self._recording.recv_many()):
            if self._duration is not None and end_ns == _NEVER:
                span_ns = int(min(self._duration, MAX_TIMEOUT) * NS_PER_S)
                end_ns = batch[0].timestamp_ns + span_ns
            if _is_later(batch, end_ns):
                yield list(_within(batch, end_ns))
                return
            yield batch

    def wall_ns(self, event: Event) -> int:
        return (self.time_of(event) - _EPOCH) // _MICROSECOND * 1000

    def end(self) -> None:
        self._is_over = True

    def lost(self) -> int | None:
        return None

    def usage_lost(self) -> int:
        return 0

    def close(self) -> None:
        self._recording.close()


def _is_later(batch: list[Event], end_ns: int) -> bool:
    return bool(batch) and batch[-1].timestamp_ns > end_ns


def _within(batch: list[Event], end_ns: int) -> Iterator[Event]:
    """Yield the events up to the end, with losses before the first later event."""
    is_over = False
    for event in batch:
        if isinstance(event, Lost):
            if not is_over:
                yield event
        elif event.timestamp_ns <= end_ns:
            yield event
        else:
            is_over = True
