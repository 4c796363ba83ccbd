"""Messages: compressed batches of lines. Each has one kind of event."""

import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from procconn.events import KINDS, Lost, Unknown
from procconn.processes.tracker import EventInContext

SUBJECTS = "procconn.>"  # of all hosts
_MAX_BYTES = 524_288  # of lines in a message; a single line is always shorter
_LEVEL = 1  # of gzip; higher levels save few bytes for much more CPU time
_KINDS = {it: it.__name__.lower() for it in (*KINDS, Unknown, Lost)}
_NOT_IN_SUBJECTS = str.maketrans(dict.fromkeys(" \t\r\n.*>", "_"))


class Message(NamedTuple):
    """A message to publish.

    A message without kernel events is a barrier: it is stored after all earlier
    messages, and before all later ones.
    """

    subject: str
    payload: bytes
    headers: dict[str, str]
    events: int


@dataclass
class Messages:
    """Batches events into numbered messages.

    Pending events are kept as lines, at most a message's size for each kind.
    """

    host: str  # the name of the machine
    origin: str  # unique to this process; prefix of message IDs
    schema: str  # the name of the lines' schema
    line_of: Callable[[EventInContext], str]  # returns a line with its newline
    pending: int = 0  # events that are not in a message yet
    _lines: dict[str, list[str]] = field(default_factory=dict)
    _sizes: Counter[str] = field(default_factory=Counter)
    _sequence: int = 0

    def add(self, batch: Iterable[EventInContext]) -> Iterator[Message]:
        """Add events; yield messages that are full.

        A `Lost` becomes a separate message, after the messages of all earlier events.
        """
        for item in batch:
            kind, line = _KINDS[type(item.event)], self.line_of(item)
            if isinstance(item.event, Lost):
                yield from self.flush()
                yield self.single(kind, line)
                continue
            if self._sizes[kind] and self._sizes[kind] + len(line) > _MAX_BYTES:
                yield self._of_kind(kind)
            self._lines.setdefault(kind, []).append(line)
            self._sizes[kind] += len(line)
            self.pending += 1

    def flush(self) -> Iterator[Message]:
        """Yield messages of all pending events."""
        for kind in list(self._lines):
            yield self._of_kind(kind)

    def single(self, kind: str, line: str) -> Message:
        """Return a message of one line that is not a kernel event."""
        return self._message(kind, [line], 0)

    def _of_kind(self, kind: str) -> Message:
        lines = self._lines.pop(kind)
        self._sizes[kind] = 0
        self.pending -= len(lines)
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
