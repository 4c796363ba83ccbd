"""What a subcommand's tracker needs of /proc: what runs at first, and after a loss."""

from collections.abc import Iterator

from procconn.cli.selection import Selection
from procconn.cli.source import Source
from procconn.events import Event
from procconn.processes import ProcessTable, take_snapshot
from procconn.processes.snapshot import check_there, try_snapshot
from procconn.processes.tracker import EventInContext, Tracker


def open_tracker(selection: Selection, source: Source) -> Tracker:
    """Find out what runs, if the events are this machine's, as they happen.

    Raises:
        ProcessLookupError: there is no process of that `tree`.
        PermissionError: /proc does not show it to this user.
    """
    table = ProcessTable(tree=selection.tree)
    if not source.is_live:
        return Tracker(table)
    first = take_snapshot(programs=True)
    if selection.tree is not None:
        check_there([selection.tree], {entry.pid for entry in first.processes})
    return Tracker(table, first, max_latency=source.latency)


def tracked(
    tracker: Tracker, batches: Iterator[list[Event]]
) -> Iterator[list[EventInContext]]:
    """Bring the events of each batch in context, and at the end those that are held."""
    for events in batches:
        refresh(tracker)
        if events:
            yield [it for event in events for it in tracker.take(event)]
        else:
            yield tracker.take_silence()
    yield finish(tracker)


def refresh(tracker: Tracker) -> None:
    """Look at all of /proc if that is due, after a loss."""
    if tracker.is_due:
        known = list(tracker.table.processes)
        tracker.put_snapshot(try_snapshot(known, programs=True))


def finish(tracker: Tracker) -> list[EventInContext]:
    """Tell what is still held, at the end of the events."""
    if not tracker.is_waiting:
        return tracker.finish()
    known = list(tracker.table.processes)
    return tracker.finish(try_snapshot(known, programs=True))
