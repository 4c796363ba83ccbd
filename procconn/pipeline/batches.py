"""Batches of the events that were asked for, each event in context."""

from collections.abc import Iterator

from procconn.events import Lost
from procconn.pipeline.selection import Selection
from procconn.pipeline.source import Source
from procconn.pipeline.tracking import open_tracker, tracked
from procconn.processes.tracker import EventInContext


def selected(
    selection: Selection, source: Source, *, patience: float | None = None
) -> Iterator[list[EventInContext]]:
    """Yield batches of the events that were asked for.

    Args:
        selection: which.
        source: where from.
        patience: yield an empty list after so many seconds without an event.

    Raises:
        ProcessLookupError: there is no such process as asked for.
    """
    if selection.is_of_processes:
        tracker = open_tracker(selection, source)
        batches = source.batches(lambda: tracker.patience(patience))
        found = tracked(tracker, batches)
    else:
        batches = source.batches(lambda: patience)
        found = (list(map(EventInContext.alone, events)) for events in batches)
        if source.is_live and not selection.is_of_some:
            return found
    return (list(filter(selection.admits, batch)) for batch in found)


def first(
    count: int | None, batches: Iterator[list[EventInContext]]
) -> Iterator[list[EventInContext]]:
    """End the batches after so many events; losses do not count as such."""
    for batch in batches:
        if count is None:
            yield batch
            continue
        kept = []
        for seen in batch:
            kept.append(seen)
            count -= not isinstance(seen.event, Lost)
            if count == 0:
                yield kept
                return
        yield kept


def lost_in(batch: list[EventInContext]) -> int:
    """Count the events that were lost, as the stream reports it."""
    return sum(it.event.count for it in batch if isinstance(it.event, Lost))
