"""Batches of lines, as messages: one kind of event each, compressed."""

import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from procconn.events import KINDS, Lost, Unknown
from procconn.processes.tracker import EventInContext

SUBJECTS = "procconn.>"  # of all hosts
_MOST_BYTES = 524_288  # of lines; no line, of one event, is as long
_LEVEL = 1  # of gzip: what others save costs more time than it is worth
_KINDS = {it: it.__name__.lower() for it in (*KINDS, Unknown, Lost)}
_NOT_IN_SUBJECTS = str.maketrans(dict.fromkeys(" \t\r\n.*>", "_"))


class Message(NamedTuple):
    """What is published at once.

    One of no events has its place: it is stored behind all before it, then the others.
    """

    subject: str
    payload: bytes
    headers: dict[str, str]
    events: int


@dataclass
class Messages:
    """Make messages of events, numbered in their order.

    What waits to be sent is held as lines: at most as many bytes of each kind as a
    message has, whatever the events are.
    """

    host: str  # the name of the machine
    origin: str  # what no other shipper ever has; ids begin with it
    schema: str  # the name of what the lines are
    line_of: Callable[[EventInContext], str]  # makes the line of an event, with its end
    waiting: int = 0  # events that are in no message yet
    _lines: dict[str, list[str]] = field(default_factory=dict)
    _sizes: Counter[str] = field(default_factory=Counter)
    _sequence: int = 0

    def add(self, batch: Iterable[EventInContext]) -> Iterator[Message]:
        """Take events, and make the messages that are full.

        What was lost stands alone, behind all that came before it.
        """
        for seen in batch:
            kind, line = _KINDS[type(seen.event)], self.line_of(seen)
            if isinstance(seen.event, Lost):
                yield from self.rest()
                yield self.alone(kind, line)
                continue
            if self._sizes[kind] and self._sizes[kind] + len(line) > _MOST_BYTES:
                yield self._of_kind(kind)
            self._lines.setdefault(kind, []).append(line)
            self._sizes[kind] += len(line)
            self.waiting += 1

    def rest(self) -> Iterator[Message]:
        """Make messages of all events that were taken."""
        for kind in list(self._lines):
            yield self._of_kind(kind)

    def alone(self, kind: str, line: str) -> Message:
        """Make a message of a line that is no event of the kernel."""
        return self._message(kind, [line], 0)

    def _of_kind(self, kind: str) -> Message:
        lines = self._lines.pop(kind)
        self._sizes[kind] = 0
        self.waiting -= len(lines)
        return self._message(kind, lines, len(lines))

    def _message(self, kind: str, lines: list[str], events: int) -> Message:
        self._sequence += 1
        headers = {
            "Nats-Msg-Id": f"{self.origin}-{self._sequence}",
            "Content-Encoding": "gzip",
            "Procconn-Events": str(events),
            "Procconn-Host": self.host,
            "Procconn-Schema": self.schema,
        }
        subject = f"procconn.{self.host.translate(_NOT_IN_SUBJECTS)}.{kind}"
        payload = gzip.compress("".join(lines).encode(), _LEVEL, mtime=0)
        return Message(subject, payload, headers, events)
