"""`procconn record`: events into a file, for `--input` and for other tools."""

import argparse
import sys
import time

from procconn.cli.ending import Ended
from procconn.cli.output import tell_lost, tell_usage_lost
from procconn.cli.selection import kinds_of
from procconn.clock import LONGEST, NS_PER_S
from procconn.connector import ProcConnector
from procconn.decoder import decode
from procconn.events import Event, Lost
from procconn.recording import Recorder

_QUEUE = 76_000_000  # bytes: 1,000,000 events
_BATCH = 262_144  # bytes
_LATENCY = 0.01  # seconds
_LATE = 0.1  # seconds: what waited for a program has come by then
_HEARTBEAT = 10.0  # seconds
_ALIGNMENT = 4  # of messages, bytes


def run(options: argparse.Namespace) -> int:
    """Record until there were enough events, or a signal comes."""
    buffer = memoryview(bytearray(_BATCH))
    end_ns = None
    left = options.count
    lost = 0
    is_over = False
    with (
        Recorder(options.file) as recorder,
        ProcConnector(
            kinds_of(options),
            threads=options.threads or options.usage,  # a process used what they did
            programs=True,
            usage=options.usage,
            queue=_QUEUE,
            max_latency=_LATENCY,
            heartbeat=_HEARTBEAT,
        ) as connector,
    ):
        if options.duration is not None:
            span_ns = int(min(options.duration, LONGEST) * NS_PER_S)
            end_ns = time.monotonic_ns() + span_ns
        try:
            while left != 0:
                timeout = None
                if end_ns is not None:
                    timeout = (end_ns - time.monotonic_ns()) / NS_PER_S
                    is_over = timeout <= 0
                    timeout = _LATE if is_over else timeout
                messages = buffer[: connector.recv_into(buffer, timeout)]
                if not messages and is_over:
                    break
                events = decode(messages)
                if left is not None:
                    messages, left = _first(messages, events, left)
                recorder.write(messages)
                lost += sum(it.count for it in events if isinstance(it, Lost))
                if end_ns is not None and events and events[-1].timestamp_ns > end_ns:
                    break
        except Ended:
            _record_rest(connector, recorder, buffer, left)
            lost = connector.lost
            raise
        finally:
            connector.close()
            tell_lost(lost)
            tell_usage_lost(connector.usage_lost)
    return 0


def _record_rest(
    connector: ProcConnector, recorder: Recorder, buffer: memoryview, left: int | None
) -> None:
    """Record also what happened until now and was not received yet."""
    now_ns = time.monotonic_ns()
    while left != 0 and (messages := buffer[: connector.recv_into(buffer, _LATE)]):
        events = decode(messages)
        if left is not None:
            messages, left = _first(messages, events, left)
        recorder.write(messages)
        if events and events[-1].timestamp_ns > now_ns:
            break


def _first(
    messages: memoryview, events: list[Event], count: int
) -> tuple[memoryview, int]:
    """Cut messages off behind so many events; return also how many are missing."""
    at = 0
    for event in events:
        if count == 0:
            break
        length = int.from_bytes(messages[at : at + 4], sys.byteorder)
        at += length + -length % _ALIGNMENT
        count -= not isinstance(event, Lost)
    return messages[:at], count
