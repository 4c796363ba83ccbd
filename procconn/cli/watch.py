"""`procconn watch`: print events as they happen.

A thread of its own reads them, so that a slow terminal or pipe does not keep anyone
from emptying the kernel's buffer. It goes before the printer: in a storm, events wait
here, where there is more room.
"""

import contextlib
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator

from procconn.cli.lines import json_lines, text_lines
from procconn.clock import LONGEST, NS_PER_S
from procconn.connector import ProcConnector
from procconn.errors import ConnectionClosedError
from procconn.events import Event, EventMask, Lost

_MOST_QUEUED = 1_000_000  # events; about 250 bytes each
_BOOST = 19  # how much less nice(2) the reader is than the printer
_MOST_PRINTING = 0.0005  # seconds, while the reader has events to bring
_HEARTBEAT = 10.0  # seconds
_STDOUT = 1


class _Queue:
    """Batches of events between the reader and the printer, bounded."""

    def __init__(self) -> None:
        self._batches: deque[list[Event]] = deque()
        self._count = 0
        self._finished = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, batch: list[Event]) -> None:
        """Add a batch; wait while the queue is full. The kernel counts what follows."""
        with self._changed:
            self._changed.wait_for(lambda: self._count < _MOST_QUEUED or self._finished)
            self._batches.append(batch)
            self._count += len(batch)
            self._changed.notify_all()

    def finish(self, failure: BaseException | None = None) -> None:
        """End the queue: `get` returns what is in it, then raises the failure."""
        with self._changed:
            self._finished = True
            self._failure = self._failure or failure
            self._changed.notify_all()

    def get(self) -> list[Event] | None:
        """Return the next batch; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._finished)
            if self._batches:
                batch = self._batches.popleft()
                self._count -= len(batch)
                self._changed.notify_all()
                return batch
            if self._failure is not None:
                raise self._failure
            return None


def run(
    *,
    mask: EventMask,
    threads: bool,
    count: int | None,
    duration: float | None,
    latency: float,
    json: bool,
) -> int:
    """Print events until there were `count`, `duration` seconds passed, or Ctrl-C.

    Returns:
        How many events were lost.
    """
    queue = _Queue()
    connector = ProcConnector(
        mask, threads=threads, max_latency=latency, heartbeat=_HEARTBEAT
    )
    end_ns = None
    if duration is not None:
        end_ns = time.monotonic_ns() + int(min(duration, LONGEST) * NS_PER_S)
    arguments = (connector, queue, end_ns)
    sys.setswitchinterval(_MOST_PRINTING)
    reader = threading.Thread(target=_read, args=arguments, daemon=True)
    reader.start()
    batches = iter(queue.get, None)
    try:
        for batch in batches if count is None else _first(count, batches):
            _write("".join(json_lines(batch) if json else text_lines(batch)))
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # whoever read has seen enough
    finally:
        lost = connector.lost
        connector.close()
        queue.finish()
        reader.join()
    return lost


def _read(connector: ProcConnector, queue: _Queue, end_ns: int | None) -> None:
    """Bring the events up to the end from the connector to the queue."""
    with contextlib.suppress(OSError):  # it may not
        niceness = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread
        if niceness <= 0:  # else it is asked to be nice
            os.setpriority(os.PRIO_PROCESS, 0, niceness - _BOOST)
    try:
        while not connector.closed:
            batch = connector.recv_many(_seconds_until(end_ns))
            if end_ns is not None and (not batch or batch[-1].timestamp_ns > end_ns):
                connector.close()  # what is dropped from now on is none of it
                queue.put([event for event in batch if _is_within(event, end_ns)])
                break
            queue.put(batch)
    except ConnectionClosedError:
        queue.finish()
    except BaseException as failure:  # the printer raises it
        queue.finish(None if connector.closed else failure)
    else:
        queue.finish()


def _is_within(event: Event, end_ns: int) -> bool:
    """Tell if it happened until then; a gap may have begun long before it is told."""
    return isinstance(event, Lost) or event.timestamp_ns <= end_ns


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


def _write(text: str) -> None:
    """Write to standard output, unbuffered: nothing is left for the exit to flush."""
    left = memoryview(text.encode(errors="backslashreplace"))
    while left:
        try:
            left = left[os.write(_STDOUT, left) :]
        except BlockingIOError:  # whoever shares it made it so
            select.select([], [_STDOUT], [])
