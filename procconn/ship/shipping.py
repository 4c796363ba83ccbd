"""Ship events from a source to a server, until a signal or the source's end."""

import argparse
import asyncio
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path

from nats.js.api import StreamConfig

from procconn import __version__
from procconn.pipeline.batches import count_lost, first, selected
from procconn.pipeline.formats import format_duration
from procconn.pipeline.json_lines import SCHEMA, JsonLines
from procconn.pipeline.json_text import line, readable
from procconn.pipeline.messages import report, report_lost, report_usage_lost
from procconn.pipeline.selection import Selection
from procconn.pipeline.source import QUEUE, open_source
from procconn.pipeline.stop import SIGNAL_READ_SIZE, SIGNAL_REPEAT, Signals
from procconn.ship.delivery import Delivery
from procconn.ship.ecs import as_ecs
from procconn.ship.messages import SUBJECTS, Message, Messages
from procconn.ship.progress import Progress
from procconn.ship.server import settings_for

_LATENCY = 0.25  # seconds; minimum time between two reads
_INTERVAL = 1.0  # seconds after which pending events are published, or
_MAX_PENDING = 4096  # events
_SHUTDOWN = 5.0  # seconds to publish received events after a signal
_MAX_UNREAD = 3.0  # seconds without a read that the progress line does not report


class Shipping:
    """Ships events from a source to a server, as given by the options."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._selection = options, Selection.of(options)
        self._settings = settings_for(options.server)
        wanted = {"usage": options.usage, "queue": options.queue or QUEUE}
        try:
            self._source = open_source(self._selection, latency=_LATENCY, **wanted)
        except MemoryError:
            text = f"--queue {wanted['queue']}: out of memory; choose a smaller size"
            raise ValueError(text) from None
        lines = JsonLines(self._source.wall_ns, withholds_argv=not options.argv)
        host = readable(options.host or socket.gethostname())
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        origin = f"{self._boot}-{time.monotonic_ns()}"
        schema = "ecs" if options.format == "ecs" else SCHEMA
        self._format = partial(as_ecs, host=host) if schema == "ecs" else str
        self._messages = Messages(
            host, origin, schema, lambda event: self._format(lines(event))
        )
        self._lost_in_stream = self._in_messages = 0
        self._read_at = time.monotonic()
        self._progress = Progress()

    async def run(self, signals: Signals) -> int:
        """Ship until the source ends or a signal arrives.

        Raises:
            OSError: the server refuses the connection or the stream, or events could
                not be stored in time after a signal.
        """
        loop, options = asyncio.get_running_loop(), self._options
        keep = {"max_age": options.max_age, "max_bytes": options.max_bytes}
        config = StreamConfig(name=options.stream, subjects=[SUBJECTS], **keep)
        try:
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
                delivery = Delivery(
                    self._settings, config, group, self._progress.report
                )
                tasks = [
                    group.create_task(delivery.keep_connected()),
                    group.create_task(self._show_progress(delivery)),
                ]
                delegated = signals.delegated(lambda: report(self._unstored(delivery)))
                with delegated as descriptor:
                    loop.add_reader(descriptor, self._stop, descriptor, limit)
                    try:
                        await self._ship(delivery, group)
                    finally:
                        loop.remove_reader(descriptor)
                for task in tasks:
                    task.cancel()
        except TimeoutError:
            raise OSError(self._unstored(delivery)) from None
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            lost = self._lost if self._source.is_live else 0
            self._source.close()
            self._progress.end()
            report_lost(
                lost, "set a larger --queue if the server is unreachable or slow"
            )
            report_usage_lost(self._source.usage_lost())
        return 0

    async def _ship(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        batches = self._read()
        read = partial(asyncio.to_thread, next, batches, None)
        started = self._own_message("started", version=__version__)
        reading = group.create_task(read())  # read ahead while a batch is sent
        await delivery.send(started)
        while (batch := await reading) is not None:
            reading = group.create_task(read())
            for message in batch:
                await delivery.send(message)
        await delivery.flush()
        stopped = self._own_message("stopped", events=delivery.shipped, lost=self._lost)
        await delivery.send(stopped)

    def _read(self) -> Iterator[list[Message]]:
        """Yield messages. It blocks, so it runs in a thread."""
        since = time.monotonic()
        found = selected(self._selection, self._source, idle_timeout=_LATENCY)
        for batch in chain(first(self._selection.count, found), [None]):
            messages = list(self._messages.add(batch or ()))
            self._lost_in_stream += count_lost(batch or [])
            self._read_at = time.monotonic()
            is_full = self._messages.pending >= _MAX_PENDING
            if is_full or self._read_at >= since + _INTERVAL or batch is None:
                messages += self._messages.flush()
                since = self._read_at
            self._in_messages += sum(it.events for it in messages)
            if messages:
                yield messages

    @property
    def _lost(self) -> int:
        """The number of lost events; of a live source, also unreported drops."""
        return self._source.lost() or self._lost_in_stream

    def _own_message(self, event: str, **values: object) -> Message:
        """Return a message about this process: that it started or stopped."""
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        origin = {"boot_id": self._boot, "timestamp_ns": time.monotonic_ns()}
        record = {"event": event, "time": now, **values, **origin}
        return self._messages.single("shipper", self._format(line(record)))

    def _stop(self, descriptor: int, limit: asyncio.Timeout) -> None:
        """At the first signal, end the source; at a later one, give up."""
        os.read(descriptor, SIGNAL_READ_SIZE)
        now, end = asyncio.get_running_loop().time(), limit.when()
        if end is None:
            self._source.end()
            limit.reschedule(now + _SHUTDOWN)
        elif now >= end - _SHUTDOWN + SIGNAL_REPEAT:
            limit.reschedule(now)

    def _unstored(self, delivery: Delivery) -> str:
        left = self._in_messages - delivery.shipped
        text = f"{left} events already read, and all still queued"
        return f"{text}, could not be stored in time"

    async def _show_progress(self, delivery: Delivery) -> None:
        """Update the progress line each second."""
        while self._progress.is_terminal:
            unread, more = time.monotonic() - self._read_at, ""
            if unread > _MAX_UNREAD:
                more = f" plus those of the last {format_duration(unread)}"
            done, left = delivery.shipped, self._in_messages - delivery.shipped
            text = f"{done:,} events shipped, {left:,} waiting{more}"
            self._progress.show(f"{text}, {self._lost:,} lost")
            await asyncio.sleep(1)
