"""Interfaces between readers of events and the signals that end them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

SIGNAL_REPEAT = 1.0  # seconds; signals within this time count as one
SIGNAL_READ_SIZE = 4096  # bytes of the wakeup descriptor, one for each signal


class Stop(Protocol):
    """A request to stop, which may arrive at any time.

    Attributes:
        at_ns: its time of arrival on CLOCK_MONOTONIC; 0 before.
    """

    @property
    def at_ns(self) -> int: ...  # noqa: D102

    def wait(self, descriptor: int, timeout: float | None) -> None:
        """Wait for a readable descriptor, the request, or the timeout in seconds."""

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context for a wait with a timeout after the request."""


class Signals(Protocol):
    """The process's signals, for an event loop."""

    def delegated(self, abandon: Callable[[], None]) -> AbstractContextManager[int]:
        """Return a context that yields a descriptor that has a byte for each signal.

        Args:
            abandon: called if the block fails and the process exits before the
                exception is reported.
        """
