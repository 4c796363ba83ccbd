"""`procconn watch`: print events as they happen."""

import argparse
from collections.abc import Iterator

from procconn.cli.ending import Ended
from procconn.cli.following import Following, Seen, seen_alone
from procconn.cli.json_lines import JsonLines
from procconn.cli.lines import TextLines
from procconn.cli.output import Output, open_output, tell_lost, tell_usage_lost
from procconn.cli.selection import Selection
from procconn.cli.source import Source, open_source
from procconn.events import Event, Lost


def run(options: argparse.Namespace) -> int:
    """Print events until there were enough, or a signal comes."""
    selection = Selection.of(options)
    source = open_source(selection, latency=options.latency, usage=options.usage)
    lost = 0
    try:
        batches = first(selection.count, selected(selection, source))
        output = open_output(options)
        for batch in batches:
            if options.json:
                lines = map(JsonLines(source.wall_ns), batch)
            else:
                lines = map(_text(source, output), batch)
            output.write("".join(lines))
            lost += lost_in(batch)
    except (Ended, BrokenPipeError):
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
) -> Iterator[list[Seen]]:
    """Bring the events that were asked for, with what is known of each.

    Args:
        selection: which.
        source: where from.
        patience: bring an empty list after so many seconds without an event.

    Raises:
        ProcessLookupError: there is no such process as asked for.
    """
    batches = source.batches(patience)
    if selection.is_of_processes:
        following = Following(tree=selection.tree, is_live=source.is_live)
        return _followed(selection, following, batches)
    admits_all = source.is_live and not selection.is_of_some
    alone = (list(map(seen_alone, events)) for events in batches)
    return alone if admits_all else (list(filter(selection.admits, it)) for it in alone)


def _followed(
    selection: Selection, following: Following, batches: Iterator[list[Event]]
) -> Iterator[list[Seen]]:
    for events in batches:
        following.catch_up()
        yield [it for it in map(following.take, events) if selection.admits(it)]


def first(count: int | None, batches: Iterator[list[Seen]]) -> Iterator[list[Seen]]:
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


def lost_in(batch: list[Seen]) -> int:
    """Count what the stream tells as lost."""
    return sum(it.event.count for it in batch if isinstance(it.event, Lost))


def _text(source: Source, output: Output) -> TextLines:
    return TextLines(source.time_of, width=output.width, coloured=output.coloured)
