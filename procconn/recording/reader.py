"""Reading recordings."""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from itertools import chain
from operator import length_hint
from typing import TYPE_CHECKING

from procconn import clock
from procconn._core import lib
from procconn.decoder import Walk
from procconn.recording.file import File, FileOwner
from procconn.recording.packets import ClockStep, PacketReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from procconn.events import Event


class Recording(FileOwner):
    """A recording that is being read, as returned by `open`.

    Iterate over it, or call one of the `recv` methods; they can be mixed, and each
    event is delivered once. `timeout` is ignored: it exists so that the same code can
    read from a `ProcConnector`.

    If the file is truncated or malformed, every event that can be read is delivered. At
    the end, a RuntimeWarning says which parts could not be read, as `damage` does.
    """

    def __init__(self, file: File) -> None:
        super().__init__(file, "rb")
        name = getattr(self._file, "name", None)
        try:
            self._packets = PacketReader(
                self._file, name if isinstance(name, str) else "the file"
            )
        except BaseException:
            self.close()
            raise
        self._events: Iterator[Event] = iter(())  # decoded and not delivered yet
        self._malformed = 0  # messages that the decoder skipped
        self._is_warned = False
        # Offsets of the wall clock, and the timestamps from which they apply.
        self._since: list[int] = []
        self._offsets: list[int] = []

    @property
    def damage(self) -> str:
        """A message that says which parts could not be read so far; "" if none."""
        damage = [self._packets.damage] if self._packets.damage else []
        if malformed := self._packets.malformed + self._malformed:
            damage.append(f"malformed packets skipped: {malformed}")
        return "; ".join(damage)

    def event_time(self, event: Event) -> datetime:
        """Return when an event of this recording happened, as an aware datetime in UTC.

        `procconn.event_time` uses the clock of this machine; this method uses the clock
        of the machine that recorded the event, which is in the file.

        Raises:
            ValueError: no event of this recording has been read yet.
        """
        if not self._since:
            raise ValueError(
                "no event of this recording has been read yet; read the event first"
            )
        index = bisect_right(self._since, event.timestamp_ns) - 1
        return clock.utc_datetime(event.timestamp_ns + self._offsets[max(index, 0)])

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events that can be read."""
        return chain.from_iterable(iter(self._next_events, None))

    def recv(self, timeout: float | None = None) -> Event | None:
        """Return the next event; None at the end."""
        return next(iter(self), None)

    def recv_many(self, timeout: float | None = None) -> list[Event]:
        """Return the next events, up to several thousand; an empty list at the end."""
        return list(self._next_events() or ())

    def recv_raw(self, timeout: float | None = None) -> bytes:
        """Return the next messages as one netlink buffer, for `decode`.

        They are in native byte order, whatever the byte order of the recording.
        `decode` raises an error if they include a malformed message.

        Returns:
            Up to several thousand messages; empty at the end.
        """
        messages, step = self._packets.messages()
        if step:
            self._note_step(step)
        if not messages and self.damage and not self._is_warned:
            self._is_warned = True
            warnings.warn(self.damage, RuntimeWarning, stacklevel=2)
        return messages

    def _next_events(self) -> Iterator[Event] | None:
        """Return an iterator over at least one event; None at the recording's end."""
        while not length_hint(self._events):
            messages = self.recv_raw()
            if not messages:
                return None
            self._events = iter(self._decode(messages))
        return self._events

    def _decode(self, messages: bytes) -> list[Event]:
        events: list[Event] = []
        with Walk(messages) as walk:
            while walk.remaining:
                status = walk.decode(events)
                if status == lib.PROCCONN_NO_MEMORY:
                    raise walk.exception(status, events)
                self._malformed += status < 0
        return events

    def _note_step(self, step: ClockStep) -> None:
        # After a reboot the timestamps start from 0 again, so later entries are void.
        later = bisect_left(self._since, step.timestamp_ns)
        self._since[later:] = [step.timestamp_ns]
        self._offsets[later:] = [step.wall_ns - step.timestamp_ns]
