"""What has come and was not taken yet, as raw messages and as events."""

from __future__ import annotations

from operator import length_hint

from procconn._core import ffi
from procconn.clock import passed
from procconn.decoder import Walk
from procconn.events import Event, Lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from procconn._core import RawView
    from procconn.decoder import CBuffer
    from procconn.source import EventSource

AT_ONCE = 0
FOR_EVER = -1


class Inbox:
    """Raw messages from a source, and the events of the last batch decoded.

    Raw messages that were put back come before those still in the source. Both are
    consumed by single assignments, after which nothing can fail: an exception out of
    a signal handler finds a message either here or delivered, never in neither place.

    To be used by the source's reader. Deadlines are on CLOCK_MONOTONIC, in nanoseconds.

    Attributes:
        events: hands out the batch's events, each once, whoever asks.
    """

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._backlog = b""
        self._failure: Exception | None = None  # to be raised behind `events`
        self._decoded: tuple[CBuffer, int] = (None, 0)  # what `events` came from
        self._left: list[Event] = []  # by a call of _unread that was interrupted
        self.events: Iterator[Event] = iter(())

    @property
    def has_events(self) -> bool:
        """Whether the batch has events left."""
        return length_hint(self.events) > 0

    @property
    def has_raw(self) -> bool:
        """Whether there are raw messages, or gaps, that need no waiting for."""
        source = self._source
        return bool(self._backlog or source.received.size or source.loss.gaps)

    def fill(self, deadline_ns: int, capacity: int) -> None:
        """Decode the next raw messages, waiting until some of them are events.

        Does nothing while the batch has some left: who found none may not have been
        alone then.

        Args:
            deadline_ns: when to give up.
            capacity: how many bytes to take from the source at most.

        Raises:
            ConnectionClosedError: the source was closed meanwhile.
            TruncatedError, OverrunError, OSError: the kernel sent what `decode` would
                raise for; the events before that were delivered, the next follow.
        """
        if self._left:
            self._unread()
        while not self.has_events:
            self._raise_failure()
            buffer, size = self._next_raw(deadline_ns, capacity)
            batch: list[Event] = []
            walk = Walk(buffer, size)
            status = walk.all(batch)
            while status >= 0 and walk.left:
                status = walk.all(batch)
            failure = walk.failure(status, []) if status < 0 else None
            rest = ffi.buffer(buffer, size)[walk.offset :] if failure else b""
            waiting = self._source.loss.gaps
            if waiting:
                emptied = self._source.received.emptied_ns != 0
                waiting = self._source.loss.place(batch, emptied=emptied)
            events = iter(batch)
            # Signal handlers run after calls only, so none comes between these.
            self.events = events
            self._source.loss.gaps = waiting
            self._decoded = (buffer, size)
            self._failure = failure
            self._backlog = rest
            self._source.received.size = 0
            if batch or (failure is None and passed(deadline_ns)):
                return

    def raw(self, deadline_ns: int, capacity: int) -> RawView:
        """Return the next raw messages, to be taken by `take`, waiting for them.

        They do not say where loss was, so that is forgotten.
        """
        self._unread()
        while True:
            raw = ffi.buffer(*self._next_raw(deadline_ns, capacity))
            self._source.loss.forget_gaps()
            if len(raw) or passed(deadline_ns):
                return raw

    def take(self, rest: bytes = b"") -> None:
        """Consume the raw messages but for the rest."""
        self._backlog = rest
        self._source.received.size = 0

    def next_event(self, deadline_ns: int, capacity: int) -> Event | None:
        """Return the next event; takes and raises what `fill` does."""
        while True:
            self.fill(deadline_ns, capacity)
            for event in self.events:  # not a call, as in `collect`
                return event
            if passed(deadline_ns):
                return None

    def collect(self, deadline_ns: int) -> list[Event]:
        """Return the events of everything that is waiting."""
        self._unread()
        self.fill(deadline_ns, self._source.capacity)
        return [*self.events]  # not a call, after which a signal handler might raise

    def screen(self) -> None:
        """Drop what the source does not want any more."""
        self._unread()
        self._backlog = self._source.screen(self._backlog)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # its traceback refers to this frame

    def _next_raw(self, deadline_ns: int, capacity: int) -> tuple[CBuffer, int]:
        received = self._source.received
        if len(self._backlog) < capacity:  # else it would grow with each call
            self._source.drain(AT_ONCE if self._backlog else deadline_ns, capacity)
        if not self._backlog:
            return self._source.buffer, received.size
        joined = self._backlog + ffi.buffer(self._source.buffer, received.size)[:]
        self._backlog = joined
        received.size = 0
        return ffi.from_buffer("uint8_t[]", joined), len(joined)

    def _unread(self) -> None:
        """Turn the events that are left back into raw messages."""
        self._left = self._left or [*self.events]
        lost = [event for event in self._left if isinstance(event, Lost)]
        count = len(self._left) - len(lost)
        backlog, failure = self._backlog, self._failure
        if count > 0:
            offsets = []
            walk = Walk(*self._decoded)
            while walk.left:
                at = walk.offset
                if walk.one()[1] is not None:
                    offsets.append(at)
            backlog = ffi.buffer(*self._decoded)[offsets[-count] :]
            failure = None  # it is in there
        # Signal handlers run at calls only, so none comes between these.
        self._source.loss.gaps = [*lost, *self._source.loss.gaps]
        self._backlog = backlog
        self._failure = failure
        self._left = []
