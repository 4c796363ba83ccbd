"""Protocols for the signals that stop a reader of events."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Stop(Protocol):
    """A request to stop, which may arrive at any time.

    Attributes:
        at_ns: when it arrived, on CLOCK_MONOTONIC; 0 before.
    """

    @property
    def at_ns(self) -> int: ...  # noqa: D102

    def wait(self, descriptor: int, timeout: float | None) -> None:
        """Wait until a descriptor is readable, the request arrives, or a timeout."""

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context for a wait of limited time after the request."""


class Signals(Protocol):
    """The process's signals, for an event loop."""

    def delegated(self, abandon: Callable[[], None]) -> AbstractContextManager[int]:
        """Return a context that yields a descriptor with a byte for each signal.

        Args:
            abandon: called if the block fails and the process exits before the
                exception is reported.
        """
