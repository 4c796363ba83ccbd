"""`procconn stat`: count events per second, by kind and by program."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from procconn.cli.output import Output, open_output, report_unwritten
from procconn.cli.shutdown import Shutdown
from procconn.clock import NS_PER_S
from procconn.events import (
    Comm,
    Coredump,
    Event,
    Gid,
    Lost,
    Ptrace,
    Sid,
    Uid,
)
from procconn.pipeline.formats import fit, format_duration, visible
from procconn.pipeline.json_text import line
from procconn.pipeline.messages import report_lost
from procconn.pipeline.selection import Selection
from procconn.pipeline.source import Source, open_source
from procconn.pipeline.tally import Tally, kind_name, shortened
from procconn.pipeline.tracking import finish, open_tracker, refresh
from procconn.processes.tracker import EventInContext, Tracker

if TYPE_CHECKING:
    from datetime import datetime

VERSION = 1  # of docs/stat.schema.json
_LATENCY = 0.2  # seconds; few wakeups, but early enough for an update each second
_MAX_ROWS = 20  # programs in the table at the end
_NOT_OF_LIFETIMES = (Comm, Uid, Gid, Sid, Ptrace, Coredump)
_OTHER_ROWS = 3  # lines of the screen without programs


def run(options: argparse.Namespace, shutdown: Shutdown) -> int:
    """Count events until the duration or count is reached, or a signal arrives."""
    selection = Selection.of(options)
    source = open_source(selection, latency=_LATENCY, stop=shutdown)
    if source.is_live:
        shutdown.defer_exit(lambda: report_unwritten(source))
    try:
        tracker = open_tracker(selection, source)
        output = open_output(options, shutdown)
    except BaseException:
        source.close()
        raise
    stat = _Stat(selection, source, tracker, output, shutdown, as_json=options.json)
    try:
        stat.count_all(source.batches(lambda: tracker.next_timeout(_LATENCY)))
    except BrokenPipeError:  # the reader closed the pipe
        stat.is_output_closed = True
        raise
    finally:
        lost = source.lost() if source.is_live else None
        source.close()
        stat.finish()
        report_lost(lost or 0)
    return 0


class _Stat:
    def __init__(
        self,
        selection: Selection,
        source: Source,
        tracker: Tracker,
        output: Output,
        shutdown: Shutdown,
        *,
        as_json: bool,
    ) -> None:
        self._selection = selection
        self._is_live = source.is_live
        self._time_of: Callable[[Event], datetime] = source.time_of
        self._output = output
        self._shutdown = shutdown
        self._as_json = as_json
        self.is_output_closed = False
        self._tracker = tracker
        self._begun_ns: int | None = None  # of a recording: time of the first event
        if source.is_live:
            self._begun_ns = time.monotonic_ns()
        self._end_ns = 0  # of a recording
        self._current = Tally(self._begun_ns or 0)
        self._total = Tally(self._begun_ns or 0)
        self._left = selection.count
        self._untracked = self._untracked_kinds()
        self._lines = 0  # of the table on the terminal

    def count_all(self, batches: Iterator[list[Event]]) -> None:
        """Count all events, and print the counts of each second."""
        tracker = self._tracker
        for events in batches:
            refresh(tracker)
            if not (self._take(events) if events else self._take_idle()):
                return
        self._count(finish(tracker))

    def _take(self, events: list[Event]) -> bool:
        """Count a batch; return whether to continue."""
        take, threads = self._tracker.feed, self._selection.threads
        untracked = self._untracked
        if self._begun_ns is None:
            self._begin(events[0])
        next_ns = self._current.since_ns + NS_PER_S
        for event in events:
            if event.timestamp_ns >= next_ns:
                self._next_second(event)
                next_ns = self._current.since_ns + NS_PER_S
            kind = type(event)
            if kind in untracked:
                if threads or event[0] == event[1]:  # pid and tgid
                    self._current.kinds[kind] += 1
            elif not self._count(take(event)):
                return False
        self._current.fold()
        if type(events[-1]) in untracked:  # a snapshot may wait for its time
            self._count(take(events[-1])[:-1])
        if not self._is_live:
            self._end_ns = events[-1].timestamp_ns
        return True

    def _take_idle(self) -> bool:
        """Count the exits that an idle stream releases; return whether to continue."""
        may_continue = self._count(self._tracker.feed_idle())
        late_ns = NS_PER_S + int(_LATENCY * NS_PER_S)
        if time.monotonic_ns() >= self._current.since_ns + late_ns:
            self._next_second(Lost(0, self._current.since_ns + NS_PER_S))
        return may_continue

    def _count(self, found: list[EventInContext]) -> bool:
        """Count the selected events; return whether to continue."""
        for item in found:
            if not self._selection.matches(item):
                continue
            self._current.count(item)
            if self._left is not None and not isinstance(item.event, Lost):
                self._left -= 1
                if self._left == 0:
                    self._end_ns = item.event.timestamp_ns
                    return False
        return True

    def _untracked_kinds(self) -> set[type[Event]]:
        """Return the kinds that can be counted without the context of a process."""
        selection = self._selection
        if selection.is_by_process or selection.count:
            return set()
        return {kind for kind in _NOT_OF_LIFETIMES if kind.what & selection.mask}

    def _begin(self, event: Event) -> None:
        """Start counting at the first event of a recording."""
        self._begun_ns = self._end_ns = self._total.since_ns = event.timestamp_ns
        self._current = Tally(event.timestamp_ns)

    def _next_second(self, event: Event) -> None:
        """End the current second, and start that of an event."""
        current = self._current
        self._total.add(current)
        if self._as_json:
            self._output.write(self._json(current, Lost(0, current.since_ns)))
        elif self._output.is_terminal and self._is_live:
            self._show(current, 1.0)
        seconds = (event.timestamp_ns - current.since_ns) // NS_PER_S
        self._current = Tally(current.since_ns + seconds * NS_PER_S)

    def finish(self) -> None:
        """Print the counts of the last second, or the table with the total."""
        if self.is_output_closed or self._begun_ns is None:
            return
        current = self._current
        self._total.add(current)
        if self._as_json:
            if current.kinds or current.lost:
                self._output.write(self._json(current, Lost(0, current.since_ns)))
        else:
            end_ns = self._end_ns
            if self._is_live:
                end_ns = self._shutdown.at_ns or time.monotonic_ns()
            seconds = max(end_ns - self._begun_ns, 1) / NS_PER_S
            if self._selection.duration is not None:
                seconds = min(seconds, self._selection.duration)
            self._show(self._total, seconds)

    def _running(self) -> Counter[str]:
        running: Counter[str] = Counter()
        for process in self._tracker.table.processes.values():
            if not process.is_kernel_thread and self._selection.matches_running(
                process
            ):
                running[shortened(process.name)] += 1
        return running

    def _show(self, tally: Tally, seconds: float) -> None:
        """Print a table, which replaces the previous one on a terminal."""
        width = self._output.width
        lines = list(self._table(tally, seconds))
        if width is not None:
            lines = [fit(line, width) for line in lines]
        back = f"\x1b[{self._lines}F\x1b[J" if self._lines else ""
        self._output.write(back + "".join(f"{line}\n" for line in lines))
        self._lines = len(lines) if self._output.is_terminal else 0

    def _table(self, tally: Tally, seconds: float) -> Iterator[str]:
        kinds = ", ".join(
            f"{count} {kind_name(kind)}" for kind, count in tally.kinds.most_common()
        )
        yield f"in {format_duration(seconds)}: {kinds or 'no events'}" + (
            f", {tally.lost} lost" if tally.lost else ""
        )
        running = self._running()
        order = tally.started + tally.failed
        names = [name for name, _ in order.most_common()]
        names += [name for name, _ in running.most_common() if name not in order]
        yield f"{'started':>8} {'failed':>8} {'running':>8}  program"
        rows = _MAX_ROWS
        if (height := self._output.height) is not None:
            rows = max(1, min(rows, height - _OTHER_ROWS))
        for name in names[:rows]:
            yield (
                f"{tally.started[name]:>8} {tally.failed[name]:>8}"
                f" {running[name]:>8}  {visible(name)}"
            )

    def _json(self, tally: Tally, at: Event) -> str:
        running = self._running()
        names = {*tally.started, *tally.failed, *running}
        record = {
            "version": VERSION,
            "time": self._time_of(at).isoformat(timespec="microseconds"),
            "events": {kind_name(kind): it for kind, it in tally.kinds.items()},
            "lost": tally.lost,
            "programs": [
                {
                    "name": name,
                    "started": tally.started[name],
                    "failed": tally.failed[name],
                    "running": running[name],
                }
                for name in sorted(names)
            ],
        }
        return line(record)
