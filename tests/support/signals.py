"""Installs signal handlers and alarms for the duration of a block."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def handled(number: int, handler: Handler) -> Iterator[None]:
    """Install a signal handler; restore the previous one at the end."""
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


@contextmanager
def alarm(handler: Handler, delay: float, interval: float = 0) -> Iterator[None]:
    """Call a handler after `delay` seconds, then every `interval` seconds if not 0."""
    with handled(signal.SIGALRM, handler):
        signal.setitimer(signal.ITIMER_REAL, delay, interval)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
