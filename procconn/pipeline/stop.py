"""What asks for an end, as those need it who read events and send them on."""

from contextlib import AbstractContextManager
from typing import Protocol


class Stop(Protocol):
    """What may ask a source to end.

    Attributes:
        at_ns: when it did, on CLOCK_MONOTONIC; 0 before.
    """

    @property
    def at_ns(self) -> int: ...  # noqa: D102

    def wait(self, descriptor: int, timeout: float | None) -> None:
        """Wait until a descriptor is readable, the time is up, or it asks for that."""

    def waiting(self) -> AbstractContextManager[None]:
        """Wait within the context for what comes within a known time."""


class Signals(Protocol):
    """The signals of the process, for an event loop."""

    def delegated(self) -> AbstractContextManager[int]:
        """Return a descriptor that has a byte for each signal within the context."""
