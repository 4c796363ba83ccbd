"""Batches of lines, as messages: one kind of event each, compressed."""

import gzip
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from procconn.cli.following import Seen
from procconn.events import KINDS, Lost, Unknown

SUBJECTS = "procconn.>"  # of all hosts
_MOST_BYTES = 524_288  # of lines; no line, of one event, is as long
_LEVEL = 1  # of gzip: what others save costs more time than it is worth
_KINDS = {it: it.__name__.lower() for it in (*KINDS, Unknown, Lost)}
_NOT_IN_SUBJECTS = str.maketrans(dict.fromkeys(" \t\r\n.*>", "_"))


class Message(NamedTuple):
    """What is published at once.

    Attributes:
        events: how many it tells of.
        is_alone: whether all before it are to be stored first, and none behind it.
    """

    subject: str
    payload: bytes
    headers: dict[str, str]
    events: int
    is_alone: bool


class Messages:
    """Make messages of events, numbered in their order.

    Args:
        host: the name of the machine.
        origin: what no other shipper ever has; ids begin with it.
        schema: the name of what the lines are.
        line_of: makes the line of an event, with its end.
    """

    def __init__(
        self, host: str, origin: str, schema: str, line_of: Callable[[Seen], str]
    ) -> None:
        self._subject = f"procconn.{host.translate(_NOT_IN_SUBJECTS)}."
        self._origin, self._sequence = origin, 0
        self._headers = {
            "Content-Encoding": "gzip",
            "Procconn-Host": host,
            "Procconn-Schema": schema,
        }
        self._line_of = line_of

    def of(self, batch: Iterable[Seen]) -> Iterator[Message]:
        """Make the messages of some events, those of a kind together.

        What was lost stands alone, behind all that came before it.
        """
        lines: dict[str, list[str]] = {}
        for seen in batch:
            kind, line = _KINDS[type(seen.event)], self._line_of(seen)
            if isinstance(seen.event, Lost):
                yield from self._of_kinds(lines)
                lines = {}
                yield self.alone(kind, line)
            else:
                lines.setdefault(kind, []).append(line)
        yield from self._of_kinds(lines)

    def alone(self, kind: str, line: str) -> Message:
        """Make a message of a line that is no event of the kernel."""
        return self._message(kind, [line], 0)

    def _of_kinds(self, lines: dict[str, list[str]]) -> Iterator[Message]:
        for kind, of_kind in lines.items():
            start = size = 0
            for at, line in enumerate(of_kind):
                if size + len(line) > _MOST_BYTES:
                    yield self._message(kind, of_kind[start:at], at - start)
                    start, size = at, 0
                size += len(line)
            yield self._message(kind, of_kind[start:], len(of_kind) - start)

    def _message(self, kind: str, lines: list[str], events: int) -> Message:
        self._sequence += 1
        headers = {
            "Nats-Msg-Id": f"{self._origin}-{self._sequence}",
            "Procconn-Events": str(events),
            **self._headers,
        }
        payload = gzip.compress("".join(lines).encode(), _LEVEL, mtime=0)
        return Message(self._subject + kind, payload, headers, events, events == 0)
