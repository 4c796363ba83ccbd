"""`procconn trace`: run a command, track its descendants, print a summary."""

import argparse
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from procconn.cli.output import Output
from procconn.cli.shutdown import Shutdown, shell_status
from procconn.cli.trace.child import Child
from procconn.cli.trace.lanes import UNKNOWN
from procconn.cli.trace.summary import TracedProcess, summary, tree
from procconn.connector import ProcConnector
from procconn.decoder import decode
from procconn.events import Event, EventMask, Exec, Lost
from procconn.pipeline.messages import report, report_usage_lost
from procconn.pipeline.source import QUEUE
from procconn.pipeline.standard_streams import STANDARD
from procconn.processes import Executed, Process, ProcessTable, Started
from procconn.programs import Program

_MASK = EventMask.FORK | EventMask.EXEC | EventMask.EXIT
_BATCH = 262_144  # bytes
_LATENCY = 0.02  # seconds; few wakeups, so that the command is not slowed down
_PAUSE = 0.25  # seconds between two reads, for the same reason; the queue is large
_PATIENCE = 5.0  # seconds to wait for the last events, which usually arrive at once
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # exit status, as of shells
_MAX_TITLE = 1000  # characters


class TracedCommand:
    """A command and all its descendants."""

    def __init__(self, root: int) -> None:
        self._table = ProcessTable(tree=root)
        self._root = root
        self._running: dict[int, TracedProcess] = {}
        self.processes: list[TracedProcess] = []
        self.programs: Counter[str] = Counter()
        self.peak = 0
        self.lost = 0
        self.is_over = False

    def feed(self, event: Event) -> None:
        """Update the processes with the next event of the stream."""
        program = None
        if isinstance(event, Exec) and event.program is not None:
            program = event.program
            event = event._replace(program=_without_long_fields(program))
        for change in self._table.feed(event):
            if isinstance(change, Lost):
                self.lost += change.count
            elif isinstance(change, Started):
                self._add(change.process)
            elif isinstance(change, Executed):
                if change.process.pid not in self._running:  # the FORK was dropped
                    self._add(change.process)
                traced = self._running[change.process.pid]
                traced.execute(program)
                self.programs[traced.name or UNKNOWN] += 1
            else:
                self._end(change.process)

    @property
    def duration(self) -> float | None:
        """How long the command itself ran, in seconds; None if unknown."""
        durations = (
            traced.process.duration
            for traced in self.processes
            if traced.pid == self._root
        )
        return next(durations, None)

    def _add(self, process: Process) -> None:
        parent = None if process.ppid is None else self._running.get(process.ppid)
        traced = TracedProcess(process, parent)
        if parent is not None:
            parent.children.append(traced)
        self._running[traced.pid] = traced
        self.processes.append(traced)
        self.peak = max(self.peak, len(self._running))

    def _end(self, process: Process) -> None:
        traced = self._running.get(process.pid)
        if traced is not None and traced.process is process:  # the PID is not reused
            del self._running[process.pid]
        self.is_over = self.is_over or process.pid == self._root


def run(options: argparse.Namespace, shutdown: Shutdown) -> int:
    """Run the command; return its exit status as a shell shows it."""
    draw = _timeline_format(options.timeline)
    with ProcConnector(
        _MASK,
        programs=True,
        usage=options.usage,
        queue=QUEUE,
        max_latency=_LATENCY,
    ) as connector:
        to_stderr = options.output is None
        output = Output.stderr() if to_stderr else Output(options.output)
        picture = None if draw is None else Output(options.timeline)
        try:
            child = Child(options.command)
        except OSError as error:
            report(f"{shlex.quote(options.command[0])}: {error.strerror}")
            return (
                _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
            )
        status = None
        start = time.monotonic()
        try:
            traced = _track(connector, child)
            connector.close()
            duration = traced.duration or time.monotonic() - start
            status = shutdown.exit_status = shell_status(child.end())
            _report(options, traced, duration, output)
            report_usage_lost(connector.usage_lost)
            if draw is not None and picture is not None:
                title = " ".join(options.command)[:_MAX_TITLE]
                picture.write_all(draw(traced.processes, title))
        except OSError as error:  # such as a full disk; keep the command's status
            if status is None:
                raise
            name = error.filename or "the summary"
            report(f"{name} is incomplete: {error.strerror}")
    return status


def _track(connector: ProcConnector, child: Child) -> TracedCommand:
    """Process all events up to the command's end.

    They are read at long intervals, so that the command is seldom interrupted.
    """
    traced = TracedCommand(child.pid)
    buffer = memoryview(bytearray(_BATCH))
    while not child.has_ended.wait(_PAUSE):
        while _read_events(connector, buffer, traced, 0):
            pass
    deadline = time.monotonic() + _PATIENCE  # for its EXIT, which may be dropped
    while not traced.is_over and time.monotonic() < deadline:
        _read_events(connector, buffer, traced, _LATENCY)
    return traced


def _read_events(
    connector: ProcConnector, buffer: memoryview, traced: TracedCommand, timeout: float
) -> bool:
    """Process received events up to the command's end; return whether any arrived."""
    batch = decode(buffer[: connector.recv_into(buffer, timeout)])
    for event in batch:
        if traced.is_over:  # later events are not the command's
            break
        traced.feed(event)
    return bool(batch)


def _report(
    options: argparse.Namespace, traced: TracedCommand, duration: float, output: Output
) -> None:
    width = output.width
    if options.show_tree:
        output.write_all(tree(traced.processes, width=width))
    output.write_all(
        summary(traced.processes, traced.programs, traced.peak, duration, width=width)
    )
    if traced.lost:
        report(f"{traced.lost} events were lost, so processes may be missing")


def _timeline_format(
    path: str | None,
) -> Callable[[Iterable[TracedProcess], str], Iterator[str]] | None:
    """Return the function for the file's format, before the command runs.

    Raises:
        ValueError: the format is unknown.
    """
    if path is None:
        return None
    from procconn.cli.trace import timeline  # noqa: PLC0415 - only --timeline needs it

    suffix = ".svg" if path == STANDARD else Path(path).suffix
    if suffix not in timeline.FORMATS:
        known = " or ".join(timeline.FORMATS)
        raise ValueError(f"--timeline FILE must end in {known}, not {path!r}")
    return timeline.FORMATS[suffix]


def _without_long_fields(program: Program) -> Program:
    """Remove the fields that may be long, because the table keeps programs."""
    return program._replace(argv=None, exe=None, cwd=None, cgroup=None)
