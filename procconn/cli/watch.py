"""`procconn watch`: print events as they happen."""

import argparse
from collections.abc import Iterator

from procconn.cli.json_lines import JsonLines
from procconn.cli.lines import TextLines
from procconn.cli.output import (
    Output,
    open_output,
    tell_lost,
    tell_unwritten,
    tell_usage_lost,
)
from procconn.cli.selection import Selection
from procconn.cli.shutdown import Shutdown
from procconn.cli.source import Source, open_source
from procconn.cli.tracking import open_tracker, tracked
from procconn.events import Lost
from procconn.processes.tracker import EventInContext


def run(options: argparse.Namespace, shutdown: Shutdown) -> int:
    """Print events until there were enough, or a signal comes."""
    selection = Selection.of(options)
    source = open_source(
        selection, latency=options.latency, usage=options.usage, stop=shutdown
    )
    lost = 0
    if source.is_live:
        shutdown.defer(lambda: tell_unwritten(source))
    try:
        batches = first(selection.count, selected(selection, source))
        output = open_output(options, shutdown)
        for batch in batches:
            if options.json:
                lines = map(JsonLines(source.wall_ns), batch)
            else:
                lines = map(_text(source, output), batch)
            output.write("".join(lines))
            lost += lost_in(batch)
    except BrokenPipeError:
        lost = source.lost() or lost  # also what had not been reached
        raise
    finally:
        source.close()
        if source.is_live:
            tell_lost(lost)
        tell_usage_lost(source.usage_lost())
    return 0


def selected(
    selection: Selection, source: Source, *, patience: float | None = None
) -> Iterator[list[EventInContext]]:
    """Bring the events that were asked for, with what is known of each.

    Args:
        selection: which.
        source: where from.
        patience: bring an empty list after so many seconds without an event.

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
    """Cut the batches off after so many events; losses do not count as such."""
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
    """Count what the stream tells as lost."""
    return sum(it.event.count for it in batch if isinstance(it.event, Lost))


def _text(source: Source, output: Output) -> TextLines:
    return TextLines(source.time_of, width=output.width, coloured=output.coloured)
