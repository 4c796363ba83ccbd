"""I/O for a subcommand's tracker: snapshots at the beginning and after losses."""

from collections.abc import Iterator

from procconn.events import Event
from procconn.pipeline.selection import Selection
from procconn.pipeline.source import Source
from procconn.processes import ProcessTable, take_snapshot
from procconn.processes.snapshot import check_exist, try_snapshot
from procconn.processes.tracker import EventInContext, Tracker


def open_tracker(selection: Selection, source: Source) -> Tracker:
    """Return a tracker, which knows the running processes if the source is live.

    Raises:
        ProcessLookupError: there is no process `selection.tree`.
        PermissionError: /proc does not show it to this user.
    """
    table = ProcessTable(tree=selection.tree)
    if not source.is_live:
        return Tracker(table)
    initial = take_snapshot(programs=True)
    if selection.tree is not None:
        check_exist([selection.tree], {entry.pid for entry in initial.processes})
    return Tracker(table, initial, max_latency=source.latency)


def tracked(
    tracker: Tracker, batches: Iterator[list[Event]]
) -> Iterator[list[EventInContext]]:
    """Yield the events of each batch in context, then the exits that are held."""
    for events in batches:
        refresh(tracker)
        if events:
            yield [it for event in events for it in tracker.feed(event)]
        else:
            yield tracker.feed_idle()
    yield finish(tracker)


def refresh(tracker: Tracker) -> None:
    """Take a snapshot if one is due."""
    if tracker.is_due:
        known = list(tracker.table.processes)
        tracker.put_snapshot(try_snapshot(known, programs=True))


def finish(tracker: Tracker) -> list[EventInContext]:
    """Return the exits that are held at the end of the stream."""
    if not tracker.has_held_exits:
        return tracker.finish()
    known = list(tracker.table.processes)
    return tracker.finish(try_snapshot(known, programs=True))
