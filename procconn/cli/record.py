"""`procconn record`: write events to a pcap file."""

import argparse
import sys
from collections.abc import Iterator

from procconn._core import lib
from procconn.cli.output import report_unwritten
from procconn.cli.shutdown import Shutdown
from procconn.events import Event, Lost
from procconn.pipeline.messages import report_lost, report_usage_lost
from procconn.pipeline.selection import Selection
from procconn.pipeline.source import Live, check_pid
from procconn.pipeline.standard_streams import STANDARD, standard_output
from procconn.pipeline.tracking import open_tracker, tracked
from procconn.processes.tracker import Tracker
from procconn.recording import Recorder

_LATENCY = 0.01  # seconds


def run(options: argparse.Namespace, shutdown: Shutdown) -> int:
    """Record events until the duration or count is reached, or a signal arrives."""
    # The resource usage of a process includes that of its threads.
    options.threads = options.threads or options.usage
    selection = Selection.of(options)
    is_by_process, left = selection.is_by_process, selection.count
    lost = 0
    check_pid(selection)
    source = Live(
        selection.kernel_mask if is_by_process else selection.mask,
        threads=selection.threads or is_by_process,
        usage=options.usage,
        latency=_LATENCY,
        duration=selection.duration,
        stop=shutdown,
    )
    shutdown.defer_exit(lambda: report_unwritten(source))
    try:
        received = source.received()
        if is_by_process:
            received = _selected(selection, source, open_tracker(selection, source))
        with _recorder(options.file) as recorder:
            for messages, events in received:
                size = len(messages)
                if left is not None:
                    size, left = _limit(messages, events, left)
                recorder.write(messages[:size])
                lost += sum(it.count for it in events if isinstance(it, Lost))
                if left == 0:
                    break
    finally:
        source.close()
        report_lost(lost)
        report_usage_lost(source.usage_lost())
    return 0


def _recorder(path: str) -> Recorder:
    if path != STANDARD:
        return Recorder(path)
    return Recorder(open(standard_output(), "wb", buffering=0, closefd=False))


def _selected(
    selection: Selection, source: Live, tracker: Tracker
) -> Iterator[tuple[memoryview, list[Event]]]:
    """Yield the selected messages and their events, like `Live.received`."""
    messages: dict[int, bytes] = {}  # by the id() of their events

    def batches() -> Iterator[list[Event]]:
        for received, events in source.received(tracker.next_timeout):
            at = 0
            for event in events:
                end = at + _size(received, at)
                messages[id(event)] = bytes(received[at:end])
                at = end
            yield events

    for batch in tracked(tracker, batches()):
        kept, events = bytearray(), []
        for item in batch:
            message = messages.pop(id(item.event))
            if selection.matches(item):
                kept += message
                events.append(item.event)
        yield memoryview(kept), events


def _limit(messages: memoryview, events: list[Event], count: int) -> tuple[int, int]:
    """Return the size of the first `count` events, and how many are still to come."""
    at = 0
    for event in events:
        if count == 0:
            break
        at += _size(messages, at)
        count -= not isinstance(event, Lost)
    return at, count


def _size(messages: memoryview, at: int) -> int:
    length = int.from_bytes(messages[at : at + 4], sys.byteorder)
    return length + -length % lib.NLMSG_ALIGNMENT
