"""Batches of lines, as messages: one kind of event each, compressed."""

import gzip
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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
    """Make messages of events, numbered in their order."""

    host: str  # the name of the machine
    origin: str  # what no other shipper ever has; ids begin with it
    schema: str  # the name of what the lines are
    line_of: Callable[[EventInContext], str]  # makes the line of an event, with its end
    _sequence: int = 0

    def of(self, batch: Iterable[EventInContext]) -> Iterator[Message]:
        """Make the messages of some events, those of a kind together.

        What was lost stands alone, behind all that came before it.
        """
        lines, sizes = defaultdict[str, list[str]](list), Counter[str]()
        for seen in batch:
            kind, line = _KINDS[type(seen.event)], self.line_of(seen)
            if isinstance(seen.event, Lost):
                yield from self._of_kinds(lines)
                lines.clear()
                sizes.clear()
                yield self.alone(kind, line)
                continue
            if sizes[kind] and sizes[kind] + len(line) > _MOST_BYTES:
                yield from self._of_kinds({kind: lines.pop(kind)})
                sizes[kind] = 0
            lines[kind].append(line)
            sizes[kind] += len(line)
        yield from self._of_kinds(lines)

    def alone(self, kind: str, line: str) -> Message:
        """Make a message of a line that is no event of the kernel."""
        return self._message(kind, [line], 0)

    def _of_kinds(self, lines: dict[str, list[str]]) -> Iterator[Message]:
        for kind, of_kind in lines.items():
            yield self._message(kind, of_kind, len(of_kind))

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
