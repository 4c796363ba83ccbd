"""Batches of the selected events, each in the context of its process."""

from collections.abc import Iterator

from procconn.events import Lost
from procconn.pipeline.selection import Selection
from procconn.pipeline.source import Source
from procconn.pipeline.tracking import open_tracker, tracked
from procconn.processes.tracker import EventInContext


def selected(
    selection: Selection, source: Source, *, idle_timeout: float | None = None
) -> Iterator[list[EventInContext]]:
    """Yield batches of the selected events.

    Args:
        selection: the events to yield.
        source: the source of events.
        idle_timeout: yield an empty list after this many seconds without an event.

    Raises:
        ProcessLookupError: the selected process does not exist.
    """
    if selection.needs_context:
        tracker = open_tracker(selection, source)
        batches = source.batches(lambda: tracker.next_timeout(idle_timeout))
        in_context = tracked(tracker, batches)
    else:
        batches = source.batches(lambda: idle_timeout)
        in_context = (
            list(map(EventInContext.without_process, events)) for events in batches
        )
        if source.is_live and not selection.is_by_process:
            return in_context
    return (list(filter(selection.matches, batch)) for batch in in_context)


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


def count_lost(batch: list[EventInContext]) -> int:
    """Return the sum of the `Lost` in a batch."""
    return sum(it.event.count for it in batch if isinstance(it.event, Lost))
