"""Counts of events by kind and by name of the program."""

from collections import Counter

from procconn.events import Event, Exec, Exit, Lost
from procconn.processes.tracker import EventInContext

_MAX_NAMES = 10_000  # counted separately, as processes can choose any names
_OTHERS = "(other)"
_MAX_NAME = 256  # characters


class Tally:
    """Counts of events by kind and of programs by name, since a time."""

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.kinds: Counter[type[Event]] = Counter()
        self.started: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.lost = 0

    def count(self, item: EventInContext) -> None:
        """Count an event."""
        event = item.event
        if isinstance(event, Lost):
            self.lost += event.count
            return
        self.kinds[type(event)] += 1
        if isinstance(event, Exec):
            self.started[shortened(item.name)] += 1
        elif isinstance(event, Exit) and item.ended and item.returncode_of(event):
            self.failed[shortened(item.name)] += 1

    def fold(self) -> None:
        """Combine the least frequent names if there are too many."""
        if max(len(self.started), len(self.failed)) <= 2 * _MAX_NAMES:
            return
        order = self.started + self.failed
        order.pop(_OTHERS, None)
        kept = {name for name, _ in order.most_common(_MAX_NAMES)}
        for counts in (self.started, self.failed):
            others = [name for name in counts if name not in kept]
            counts[_OTHERS] = sum(counts.pop(name) for name in others)

    def add(self, other: "Tally") -> None:
        """Add the counts of another tally."""
        self.kinds += other.kinds
        self.started += other.started
        self.failed += other.failed
        self.lost += other.lost
        self.fold()


def shortened(name: str | None) -> str:
    """Return the name that a program is counted by; "?" if it has none."""
    return name[:_MAX_NAME] if name else "?"


def kind_name(kind: type[Event]) -> str:
    """Return the name of a kind of event, such as "exec"."""
    return kind.__name__.lower()
