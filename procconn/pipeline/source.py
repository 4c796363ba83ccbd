"""Where events come from: the kernel, or a recording."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

from procconn.clock import LONGEST, NS_PER_S, event_time, wall_ns
from procconn.connector import ProcConnector
from procconn.decoder import decode
from procconn.events import Event, EventMask, Lost
from procconn.pipeline.selection import Selection
from procconn.pipeline.standard_streams import STANDARD, standard_input
from procconn.pipeline.stop import Stop
from procconn.processes.snapshot import check_there, take_snapshot

QUEUE = 76_000_000  # bytes: 1,000,000 events
_BATCH = 262_144  # bytes: 3,449 events
_HEARTBEAT = 10.0  # seconds
_LATE = 0.05  # seconds
_NEVER = 1 << 64  # nanoseconds, later than any timestamp
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATENCIES = 4  # after so many, and that long, what waited for a program has come


Patience: TypeAlias = Callable[[], float | None]
"""Tells after how many seconds without an event to bring an empty list; None: never."""


class Source(Protocol):
    """What brings events, until it is closed.

    Attributes:
        is_live: whether they are this machine's, as they happen.
        latency: how long an event may be held back, in seconds.
    """

    is_live: bool
    latency: float

    def batches(self, patience: Patience = lambda: None) -> Iterator[list[Event]]:
        """Bring what happens within the duration, however long it takes to print."""

    def time_of(self, event: Event) -> datetime:
        """Tell when an event happened, in UTC."""

    def wall_ns(self, event: Event) -> int:
        """Tell the same in nanoseconds since 1970."""

    def end(self) -> None:
        """Bring no more than what has happened until now; another thread may say so."""

    def lost(self) -> int | None:
        """Tell how many events were dropped so far; None if the events alone tell."""

    def usage_lost(self) -> int:
        """Tell how many records of what tasks used were dropped so far."""

    def close(self) -> None:
        """Let go of it."""


def open_source(
    selection: Selection,
    *,
    latency: float,
    usage: bool = False,
    queue: int = QUEUE,
    stop: Stop | None = None,
) -> Source:
    """Open the recording, or subscribe to the kernel's events.

    Args:
        selection: what is asked of the kernel, and for how long.
        latency: the most often that events are brought, in seconds.
        usage: whether what a task used is wanted.
        queue: how many bytes of events may wait.
        stop: what may end it, if it is live.

    Raises:
        ProcessLookupError: there is no such process as asked for.
    """
    if selection.input is not None:
        return _Recorded(selection.input, selection.duration)
    check_pid(selection)
    return Live(
        selection.asked,
        threads=selection.threads or selection.is_of_processes,
        usage=usage,
        latency=latency,
        duration=selection.duration,
        queue=queue,
        stop=stop,
    )


def check_pid(selection: Selection) -> None:
    """See that the process is there whose events are asked for by its id.

    Raises:
        ProcessLookupError: it is not.
        PermissionError: /proc does not show it to this user.
    """
    if selection.pid is not None:
        found = take_snapshot([selection.pid]).processes
        check_there([selection.pid], [entry.pid for entry in found])


class Live:
    """This machine's events, with programs. A thread of C receives them.

    Args:
        mask: the kinds that the kernel is asked for.
        threads: whether those of threads are wanted, too.
        usage: whether what a task used is wanted.
        latency: the most often that events are brought, in seconds.
        duration: for how long from the first time that they are waited for.
        queue: how many bytes of events may wait.
        stop: what may end it, in the thread that reads.
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
        self._late = _LATENCIES * latency + _LATE if programs else 0
        self._connector = ProcConnector(
            mask,
            threads=threads,
            programs=programs,
            usage=usage,
            queue=queue,
            max_latency=latency,
            heartbeat=_HEARTBEAT,
        )

    def batches(self, patience: Patience = lambda: None) -> Iterator[list[Event]]:
        """Bring what happens, as `Source.batches`."""
        for _, events in self.received(patience):
            end_ns = self._end_ns
            yield [*_within(events, end_ns)] if _is_later(events, end_ns) else events

    def received(
        self, patience: Patience = lambda: None
    ) -> Iterator[tuple[memoryview, list[Event]]]:
        """Bring messages and their events; the last ones may be later than the end."""
        buffer = memoryview(bytearray(_BATCH))
        if self._duration is not None:
            span_ns = int(min(self._duration, LONGEST) * NS_PER_S)
            self._end_ns = time.monotonic_ns() + span_ns
        while True:
            left = self._seconds_left()
            wait = patience() if left != 0 else None
            if left == 0:
                size = self._receive_late(buffer)
            else:
                times = [it for it in (left, wait) if it is not None]
                size = self._receive(buffer, min(times, default=None))
            events = decode(buffer[:size])
            if events or wait is not None:
                yield buffer[:size], events
            if _is_later(events, self._end_ns) or (not events and left == 0):
                return

    def time_of(self, event: Event) -> datetime:
        """Tell when an event happened, in UTC."""
        return event_time(event)

    def wall_ns(self, event: Event) -> int:
        """Tell the same in nanoseconds since 1970."""
        return wall_ns(event)

    def end(self) -> None:
        """Bring no more than what has happened until now; another thread may say so."""
        self._end_ns = min(self._end_ns, time.monotonic_ns())

    def lost(self) -> int:
        """Tell how many events were dropped so far."""
        return self._connector.lost

    def usage_lost(self) -> int:
        """Tell how many records of what tasks used were dropped so far."""
        return self._connector.usage_lost

    def close(self) -> None:
        """End the subscription."""
        self._connector.close()

    def _receive(self, buffer: memoryview, timeout: float | None) -> int:
        """Receive what comes before the time is up, or the end is asked for."""
        if self._stop is None:
            return self._connector.recv_into(buffer, timeout)
        self._stop.wait(self._connector.fileno(), timeout)
        return self._connector.recv_into(buffer, 0)

    def _receive_late(self, buffer: memoryview) -> int:
        """Receive what happened before the end, and comes later."""
        if self._stop is None:
            return self._connector.recv_into(buffer, self._late)
        with self._stop.waiting():
            return self._connector.recv_into(buffer, self._late)

    def _seconds_left(self) -> float | None:
        """Tell how long to go on."""
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

    def batches(self, patience: Patience = lambda: None) -> Iterator[list[Event]]:
        del patience  # nothing is waited for
        end_ns = _NEVER
        while not self._is_over and (batch := self._recording.recv_many()):
            if self._duration is not None and end_ns == _NEVER:
                span_ns = int(min(self._duration, LONGEST) * NS_PER_S)
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
    """Take the events up to then, and the gaps before the first one after it."""
    is_over = False
    for event in batch:
        if isinstance(event, Lost):
            if not is_over:
                yield event
        elif event.timestamp_ns <= end_ns:
            yield event
        else:
            is_over = True
