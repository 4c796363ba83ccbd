"""Check arguments. Errors name the argument and say what it takes."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from procconn.clock import AT_ONCE, FOR_EVER, LONGEST, NS_PER_S

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_PID = 0x7FFFFFFF


def boolean(name: str, value: bool) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def whole(
    name: str, value: int, least: int, most: int, *, or_none: bool = False
) -> int:
    """Return a number of bytes; `or_none` if the caller accepts None, too."""
    other = ", or None" if or_none else ""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, in bytes{other}, not {value!r}")
    if not least <= value <= most:
        raise ValueError(
            f"{name} must be between {least} and {most} bytes{other}, not {value}"
        )
    return value


def pid(name: str, value: int) -> int:
    """Return a process ID."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a process ID, not {value!r}")
    if not 1 <= value <= MOST_PID:
        raise ValueError(f"{name} must be between 1 and {MOST_PID}, not {value}")
    return value


def deadline(timeout: float | None) -> float | None:
    """Return the end of a timeout in seconds, as `time.monotonic` counts."""
    if timeout is None:
        return None
    return time.monotonic() + seconds("timeout", timeout, or_none=True) / NS_PER_S


def deadline_ns(timeout: float | None) -> int:
    """Return the end of a timeout in seconds, in nanoseconds on CLOCK_MONOTONIC."""
    if timeout is None:
        return FOR_EVER
    timeout_ns = seconds("timeout", timeout, or_none=True)
    return time.monotonic_ns() + timeout_ns if timeout_ns else AT_ONCE


def seconds(
    name: str, value: float, *, positive: bool = False, or_none: bool = False
) -> int:
    """Return a time in nanoseconds, at most the longest that anyone waits.

    Args:
        name: the argument's.
        value: seconds.
        positive: whether 0 is too little.
        or_none: whether the caller accepts None, too.
    """
    other = ", or None" if or_none else ""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds{other}, not {value!r}")
    is_finite = 0 <= value < math.inf
    nanoseconds = int(min(value, LONGEST) * NS_PER_S) if is_finite else -1
    if nanoseconds < (1 if positive else 0):
        least = "1e-09" if positive else "0"
        raise ValueError(
            f"{name} must be finite and at least {least} seconds{other}, not {value}"
        )
    return nanoseconds


def writable(name: str, value: WriteableBuffer) -> memoryview:
    """Return the view of a writable, contiguous object with the buffer protocol."""
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(
            f"{name} must be a writable buffer, such as a bytearray,"
            f" not {type(value).__name__}"
        ) from None
    if view.readonly or not view.c_contiguous:
        raise TypeError(f"{name} must be writable and contiguous, such as a bytearray")
    return view.cast("B") if view.nbytes else memoryview(bytearray())
