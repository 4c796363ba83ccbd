"""`procconn watch`: print events as they happen.

A thread of C receives them, so that a slow terminal or pipe does not keep anyone from
emptying the kernel's buffer.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from procconn.cli.ending import Ended
from procconn.cli.lines import json_lines, text_lines
from procconn.cli.output import write
from procconn.clock import LONGEST, NS_PER_S
from procconn.connector import ProcConnector
from procconn.decoder import decode
from procconn.events import Event, EventMask, Lost

_QUEUE = 76_000_000  # bytes: 1,000,000 events
_BATCH = 262_144  # bytes: 3,449 events
_HEARTBEAT = 10.0  # seconds


def run(
    *,
    tell: Callable[[str], None],
    mask: EventMask,
    threads: bool,
    count: int | None,
    duration: float | None,
    latency: float,
    json: bool,
) -> None:
    """Print events until there were `count`, `duration` seconds passed, or Ctrl-C.

    `tell` gets the message of how many were lost, if any were.
    """
    lost = 0
    with ProcConnector(
        mask,
        threads=threads,
        queue=_QUEUE,
        max_latency=latency,
        heartbeat=_HEARTBEAT,
    ) as connector:
        batches = _batches(connector, duration)
        try:
            for batch in batches if count is None else _first(count, batches):
                lost += sum(event.count for event in batch if isinstance(event, Lost))
                write("".join(json_lines(batch) if json else text_lines(batch)))
        except (Ended, BrokenPipeError):
            lost = connector.lost  # also what had not been reached
            raise
        finally:
            connector.close()
            if lost:
                tell(
                    f"{lost} events were lost: the kernel's buffer was full. What"
                    " helps: fewer --events, a larger net.core.rmem_max or"
                    " CAP_NET_ADMIN, and a faster reader of the output"
                )


def _batches(connector: ProcConnector, duration: float | None) -> Iterator[list[Event]]:
    """Bring what happens within so many seconds, however long it takes to print."""
    buffer = memoryview(bytearray(_BATCH))
    end_ns = None
    if duration is not None:
        end_ns = time.monotonic_ns() + int(min(duration, LONGEST) * NS_PER_S)
    while True:
        timeout = _seconds_until(end_ns)
        batch = decode(buffer[: connector.recv_into(buffer, timeout)])
        if end_ns is not None and batch and batch[-1].timestamp_ns > end_ns:
            yield list(_within(batch, end_ns))
            return
        if batch:
            yield batch
        elif timeout == 0:  # not even what the kernel has queued
            return


def _within(batch: list[Event], end_ns: int) -> Iterator[Event]:
    """Take the events up to then, and the gaps before the first one after it."""
    is_over = False
    for event in batch:
        if isinstance(event, Lost):
            if not is_over:
                yield event
        elif event.timestamp_ns <= end_ns:
            yield event
        else:
            is_over = True


def _seconds_until(end_ns: int | None) -> float | None:
    return None if end_ns is None else max(0, end_ns - time.monotonic_ns()) / NS_PER_S


def _first(count: int, batches: Iterable[list[Event]]) -> Iterator[list[Event]]:
    """Cut the batches off after so many events; losses do not count as such."""
    for batch in batches:
        kept = []
        for event in batch:
            kept.append(event)
            count -= not isinstance(event, Lost)
            if count == 0:
                yield kept
                return
        yield kept
