"""Argument checks. Their errors name the argument and the accepted values."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from procconn.clock import FOREVER, MAX_TIMEOUT, NS_PER_S, POLL

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_PID = 0x7FFFFFFF


def check_bool(name: str, value: bool) -> bool:
    """Return `value` if it is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def check_byte_count(
    name: str, value: int, minimum: int, maximum: int, *, or_none: bool = False
) -> int:
    """Return `value` if it is an int between `minimum` and `maximum`.

    `or_none` adds None to the accepted values that an error message names.
    """
    other = ", or None" if or_none else ""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, in bytes{other}, not {value!r}")
    if not minimum <= value <= maximum:
        raise ValueError(
            f"{name} must be between {minimum} and {maximum} bytes{other}, not {value}"
        )
    return value


def check_pid(name: str, value: int) -> int:
    """Return `value` if it is an int in the range of process IDs."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a process ID (an int), not {value!r}")
    if not 1 <= value <= MAX_PID:
        raise ValueError(f"{name} must be between 1 and {MAX_PID}, not {value}")
    return value


def deadline(timeout: float | None) -> float | None:
    """Return the `time.monotonic()` value at which a timeout in seconds expires."""
    if timeout is None:
        return None
    return (
        time.monotonic() + to_nanoseconds("timeout", timeout, or_none=True) / NS_PER_S
    )


def deadline_ns(timeout: float | None) -> int:
    """Return the CLOCK_MONOTONIC time in ns at which a timeout in seconds expires."""
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
        positive: whether to reject 0.
        or_none: whether an error message also names None as accepted.
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
    """Return a memoryview of the bytes of a writable, contiguous buffer."""
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
