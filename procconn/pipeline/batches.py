"""Batches of the selected events, each in the context of its process."""

from collections.abc import Iterator

from procconn.events import Lost
from procconn.pipeline.selection import Selection
from procconn.pipeline.source import Source
from procconn.pipeline.tracking import open_tracker, tracked
from procconn.processes.tracker import EventInContext


def selected(
    selection: Selection, source: Source, *, patience: float | None = None
) -> Iterator[list[EventInContext]]:
    """Yield batches of the selected events.

    Args:
        selection: the events to yield.
        source: where they come from.
        patience: after how many seconds without an event to yield an empty list.

    Raises:
        ProcessLookupError: the selected process does not exist.
    """
    if selection.is_of_processes:
        tracker = open_tracker(selection, source)
        batches = source.batches(lambda: tracker.next_timeout(patience))
        found = tracked(tracker, batches)
    else:
        batches = source.batches(lambda: patience)
        found = (
            list(map(EventInContext.without_process, events)) for events in batches
        )
        if source.is_live and not selection.is_of_some:
            return found
    return (list(filter(selection.matches, batch)) for batch in found)


def first(
    count: int | None, batches: Iterator[list[EventInContext]]
) -> Iterator[list[EventInContext]]:
    """Yield the batches up to `count` events; a `Lost` does not count."""
    for batch in batches:
        if count is None:
            yield batch
            continue
        kept = []
        for item in batch:
            kept.append(item)
            count -= not isinstance(item.event, Lost)
            if count == 0:
                yield kept
                return
        yield kept


def lost_in(batch: list[EventInContext]) -> int:
    """Return how many events the stream reports as lost in a batch."""
    return sum(it.event.count for it in batch if isinstance(it.event, Lost))
