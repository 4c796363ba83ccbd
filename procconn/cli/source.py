"""Where events come from: the kernel, or a recording."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from procconn.cli.selection import Selection
from procconn.clock import LONGEST, NS_PER_S, event_time
from procconn.connector import ProcConnector
from procconn.decoder import decode
from procconn.events import Event, EventMask, Lost

_QUEUE = 76_000_000  # bytes: 1,000,000 events
_BATCH = 262_144  # bytes: 3,449 events
_HEARTBEAT = 10.0  # seconds
_LATE = 0.05  # seconds
_LATENCIES = 4  # after so many, and that long, what waited for a program has come


class Source(Protocol):
    """What brings events, until it is closed."""

    is_live: bool

    def batches(self, patience: float | None = None) -> Iterator[list[Event]]:
        """Bring what happens within the duration, however long it takes to print.

        Args:
            patience: bring an empty list after so many seconds without an event.
        """

    def time_of(self, event: Event) -> datetime:
        """Tell when an event happened, in UTC."""

    def lost(self) -> int | None:
        """Tell how many events were dropped so far; None if the events alone tell."""

    def usage_lost(self) -> int:
        """Tell how many records of what tasks used were dropped so far."""

    def close(self) -> None:
        """Let go of it."""


def open_source(
    selection: Selection, *, latency: float, programs: bool, usage: bool = False
) -> Source:
    """Open the recording, or subscribe to the kernel's events.

    Args:
        selection: what is asked of the kernel, and for how long.
        latency: the most often that events are brought, in seconds.
        programs: whether an exec's program is wanted.
        usage: whether what a task used is wanted.
    """
    if selection.input is not None:
        return _Recorded(selection.input, selection.duration)
    return _Live(selection, latency=latency, programs=programs, usage=usage)


class _Live:
    """This machine's events. A thread of C receives them, whatever blocks here."""

    is_live = True

    def __init__(
        self, selection: Selection, *, latency: float, programs: bool, usage: bool
    ) -> None:
        self._duration = selection.duration
        programs = programs and bool(selection.asked & EventMask.EXEC)
        self._late = _LATENCIES * latency + _LATE if programs else 0
        self._connector = ProcConnector(
            selection.asked,
            threads=selection.threads or selection.is_of_processes,
            programs=programs,
            usage=usage,
            queue=_QUEUE,
            max_latency=latency,
            heartbeat=_HEARTBEAT,
        )

    def batches(self, patience: float | None = None) -> Iterator[list[Event]]:
        buffer = memoryview(bytearray(_BATCH))
        end_ns = None
        if self._duration is not None:
            end_ns = time.monotonic_ns() + int(min(self._duration, LONGEST) * NS_PER_S)
        while True:
            left = _seconds_until(end_ns)
            timeout = self._late if left == 0 else left
            if patience is not None:
                timeout = patience if timeout is None else min(timeout, patience)
            batch = decode(buffer[: self._connector.recv_into(buffer, timeout)])
            if end_ns is not None and batch and batch[-1].timestamp_ns > end_ns:
                yield list(_within(batch, end_ns))
                return
            if not batch and left == 0:
                return
            if batch or patience is not None:
                yield batch

    def time_of(self, event: Event) -> datetime:
        return event_time(event)

    def lost(self) -> int | None:
        return self._connector.lost

    def usage_lost(self) -> int:
        return self._connector.usage_lost

    def close(self) -> None:
        self._connector.close()


class _Recorded:
    """The events of a recording."""

    is_live = False

    def __init__(self, path: str, duration: float | None) -> None:
        from procconn.recording import Recording  # noqa: PLC0415 - not when live

        self._duration = duration
        self._recording = Recording(path)
        self.time_of = self._recording.event_time

    def batches(self, patience: float | None = None) -> Iterator[list[Event]]:
        del patience  # nothing is waited for
        end_ns = None
        while batch := self._recording.recv_many():
            if self._duration is not None and end_ns is None:
                span_ns = int(min(self._duration, LONGEST) * NS_PER_S)
                end_ns = batch[0].timestamp_ns + span_ns
            if end_ns is not None and batch[-1].timestamp_ns > end_ns:
                yield list(_within(batch, end_ns))
                return
            yield batch

    def lost(self) -> int | None:
        return None

    def usage_lost(self) -> int:
        return 0

    def close(self) -> None:
        self._recording.close()


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


def _seconds_until(end_ns: int | None) -> float | None:
    return None if end_ns is None else max(0, end_ns - time.monotonic_ns()) / NS_PER_S
