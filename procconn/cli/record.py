"""`procconn record`: events into a file, for `--input` and for other tools."""

import argparse
import sys

from procconn.cli.ending import Ended
from procconn.cli.output import tell_lost, tell_usage_lost
from procconn.cli.selection import kinds_of
from procconn.cli.source import Live
from procconn.events import Event, Lost
from procconn.recording import Recorder

_LATENCY = 0.01  # seconds
_ALIGNMENT = 4  # of messages, bytes


def run(options: argparse.Namespace) -> int:
    """Record until there were enough events, or a signal comes."""
    left: int | None = options.count
    lost = 0
    with Recorder(options.file) as recorder:
        source = Live(
            kinds_of(options),
            threads=options.threads or options.usage,  # a process used what they did
            usage=options.usage,
            latency=_LATENCY,
            duration=options.duration,
        )
        try:
            for messages, events in source.received():
                size = len(messages)
                if left is not None:
                    size, left = _first(messages, events, left)
                recorder.write(messages[:size])
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


def _first(messages: memoryview, events: list[Event], count: int) -> tuple[int, int]:
    """Tell the bytes of so many events, and how many are missing."""
    at = 0
    for event in events:
        if count == 0:
            break
        length = int.from_bytes(messages[at : at + 4], sys.byteorder)
        at += length + -length % _ALIGNMENT
        count -= not isinstance(event, Lost)
    return at, count
