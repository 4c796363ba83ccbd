"""CLOCK_MONOTONIC, the clock of events and deadlines, and its offset to UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from procconn.events import Event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

STEP_NS = 1_000_000
"""A larger change of the offset counts as a step of the wall clock, in nanoseconds.

Smaller ones come from reading the clocks one after the other, and from slewing.
"""

_offset = 0  # from CLOCK_MONOTONIC to the wall clock, in nanoseconds

NS_PER_S = 1_000_000_000

POLL, FOREVER = 0, -1  # special deadlines of the C module
MAX_TIMEOUT = 1 << 32  # seconds; added to a clock, nanoseconds still fit into an int64


def has_passed(deadline_ns: int) -> bool:
    """Return whether a deadline has passed; a negative one never does."""
    return 0 <= deadline_ns <= time.monotonic_ns()


def event_time(event: Event) -> datetime:
    """Return when an event happened, as an aware datetime in UTC.

    `timestamp_ns` is on CLOCK_MONOTONIC. Its offset to the wall clock is measured again
    when the wall clock has stepped, so the result for an event from before a step or a
    suspend is off by the size of that step.

    Raises:
        TypeError: `event` is not an event.
    """
    timestamp_ns = getattr(event, "timestamp_ns", None)
    if not isinstance(timestamp_ns, int):
        raise TypeError(f"event must be an event, such as an Exec, not {event!r}")
    return utc_datetime(timestamp_ns + wall_offset_ns())


def wall_ns(event: Event) -> int:
    """Return when an event happened, in nanoseconds since 1970; see `event_time`."""
    return event.timestamp_ns + wall_offset_ns()


def utc_datetime(wall_ns: int) -> datetime:
    """Convert nanoseconds since 1970 to an aware datetime."""
    return _EPOCH + timedelta(microseconds=wall_ns // 1000)


def wall_offset_ns() -> int:
    """Return how far the wall clock is ahead of CLOCK_MONOTONIC, in nanoseconds.

    The result changes only when the wall clock steps.
    """
    global _offset  # noqa: PLW0603 - one wall clock, one offset
    while True:
        before = time.monotonic_ns()
        offset = time.time_ns() - before
        if abs(offset - _offset) <= STEP_NS:
            return _offset
        # A thread that was preempted between the readings sees a step where none was.
        if time.monotonic_ns() - before <= STEP_NS:
            _offset = offset
