"""`procconn record`: events into a file, for `--input` and for other tools."""

import argparse
import sys
from itertools import compress

from procconn._core import lib
from procconn.cli.ending import Ended
from procconn.cli.following import Following
from procconn.cli.output import (
    STANDARD,
    standard_output,
    tell_lost,
    tell_usage_lost,
)
from procconn.cli.selection import Selection
from procconn.cli.source import Live
from procconn.events import Event, Lost
from procconn.recording import Recorder

_LATENCY = 0.01  # seconds


def run(options: argparse.Namespace) -> int:
    """Record until there were enough events, or a signal comes."""
    options.threads = options.threads or options.usage  # a process used what they did
    selection = Selection.of(options)
    is_of_some, left = selection.is_of_some, selection.count
    lost = 0
    source = Live(
        selection.asked if is_of_some else selection.mask,
        threads=selection.threads or is_of_some,
        usage=options.usage,
        latency=_LATENCY,
        duration=selection.duration,
    )
    try:
        following = Following(tree=selection.tree, is_live=True) if is_of_some else None
        with _recorder(options.file) as recorder:
            for received in source.received():
                messages, events = received
                if following is not None:
                    following.catch_up()
                    chosen = [selection.admits(following.take(it)) for it in events]
                    messages, events = _chosen(messages, events, chosen)
                if left is not None:
                    size, left = _first(messages, events, left)
                    messages = messages[:size]
                recorder.write(messages)
                lost += sum(it.count for it in events if isinstance(it, Lost))
                if left == 0:
                    break
    except Ended:
        lost = source.lost()
        raise
    finally:
        source.close()
        tell_lost(lost)
        tell_usage_lost(source.usage_lost())
    return 0


def _recorder(path: str) -> Recorder:
    if path != STANDARD:
        return Recorder(path)
    return Recorder(open(standard_output(), "wb", buffering=0, closefd=False))


def _chosen(
    messages: memoryview, events: list[Event], chosen: list[bool]
) -> tuple[memoryview, list[Event]]:
    kept, at = bytearray(), 0
    for is_chosen in chosen:
        end = at + _size(messages, at)
        if is_chosen:
            kept += messages[at:end]
        at = end
    return memoryview(kept), [*compress(events, chosen)]


def _first(messages: memoryview, events: list[Event], count: int) -> tuple[int, int]:
    """Tell the bytes of so many events, and how many are missing."""
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
