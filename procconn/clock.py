"""CLOCK_MONOTONIC, which the kernel's timestamps and our deadlines are on."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from procconn.events import Event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

STEP = 1_000_000
"""Only what is more counts as a step of the wall clock, in nanoseconds.

The two clocks cannot be read at the same instant, and it is slewed all the time.
"""

_offset = 0  # from CLOCK_MONOTONIC to the wall clock, nanoseconds

NS_PER_S = 1_000_000_000

AT_ONCE, FOR_EVER = 0, -1  # deadlines, as C takes them
LONGEST = 1 << 32  # seconds; added to a clock, an int64 still holds their nanoseconds


def passed(deadline_ns: int) -> bool:
    """Tell whether a deadline is over; a negative one never is."""
    return 0 <= deadline_ns <= time.monotonic_ns()


def event_time(event: Event) -> datetime:
    """Tell when an event happened, as an aware datetime in UTC.

    `timestamp_ns` is CLOCK_MONOTONIC. The distance to the wall clock is measured
    again when the wall clock has stepped, so the date of an event from before a step
    or a suspend is off by as much.

    Raises:
        TypeError: it is no event.
    """
    timestamp_ns = getattr(event, "timestamp_ns", None)
    if not isinstance(timestamp_ns, int):
        raise TypeError(f"event must be an event, such as an Exec, not {event!r}")
    return date(timestamp_ns + wall_offset())


def wall_ns(event: Event) -> int:
    """Tell when an event happened, in nanoseconds since 1970; see `event_time`."""
    return event.timestamp_ns + wall_offset()


def date(wall_ns: int) -> datetime:
    """Make a datetime in UTC of nanoseconds since 1970."""
    return _EPOCH + timedelta(microseconds=wall_ns // 1000)


def wall_offset() -> int:
    """Tell how far the wall clock is ahead of CLOCK_MONOTONIC, in nanoseconds.

    The same number each time, until the wall clock has stepped.
    """
    global _offset  # noqa: PLW0603 - one wall clock, one offset
    while True:
        before = time.monotonic_ns()
        offset = time.time_ns() - before
        if abs(offset - _offset) <= STEP:
            return _offset
        # If the thread had to wait between the two readings, it was no step.
        if time.monotonic_ns() - before <= STEP:
            _offset = offset
