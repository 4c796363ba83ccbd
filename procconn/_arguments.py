"""Argument checks, whose errors name the argument and the values it accepts."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from procconn.clock import FOREVER, MAX_TIMEOUT, NS_PER_S, POLL

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_PID = 0x7FFFFFFF


def boolean(name: str, value: bool) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def byte_count(
    name: str, value: int, minimum: int, maximum: int, *, or_none: bool = False
) -> int:
    """Return a number of bytes; `or_none` if the caller also accepts None."""
    other = ", or None" if or_none else ""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, in bytes{other}, not {value!r}")
    if not minimum <= value <= maximum:
        raise ValueError(
            f"{name} must be between {minimum} and {maximum} bytes{other}, not {value}"
        )
    return value


def pid(name: str, value: int) -> int:
    """Return a process ID."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a process ID, not {value!r}")
    if not 1 <= value <= MAX_PID:
        raise ValueError(f"{name} must be between 1 and {MAX_PID}, not {value}")
    return value


def deadline(timeout: float | None) -> float | None:
    """Return when a timeout, in seconds, expires on `time.monotonic`."""
    if timeout is None:
        return None
    return (
        time.monotonic() + to_nanoseconds("timeout", timeout, or_none=True) / NS_PER_S
    )


def deadline_ns(timeout: float | None) -> int:
    """Return when a timeout, in seconds, expires on CLOCK_MONOTONIC, in nanoseconds."""
    if timeout is None:
        return FOREVER
    timeout_ns = to_nanoseconds("timeout", timeout, or_none=True)
    return time.monotonic_ns() + timeout_ns if timeout_ns else POLL


def to_nanoseconds(
    name: str, value: float, *, positive: bool = False, or_none: bool = False
) -> int:
    """Convert seconds to nanoseconds, limited to `MAX_TIMEOUT`.

    Args:
        name: the name of the argument.
        value: seconds.
        positive: whether 0 is an error.
        or_none: whether the caller also accepts None.
    """
    other = ", or None" if or_none else ""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds{other}, not {value!r}")
    is_finite = 0 <= value < math.inf
    nanoseconds = int(min(value, MAX_TIMEOUT) * NS_PER_S) if is_finite else -1
    if nanoseconds < (1 if positive else 0):
        minimum = "1e-09" if positive else "0"
        raise ValueError(
            f"{name} must be finite and at least {minimum} seconds{other}, not {value}"
        )
    return nanoseconds


def writable_view(name: str, value: WriteableBuffer) -> memoryview:
    """Return a view of bytes of a writable, contiguous object."""
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
