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
from procconn.cli.trace.summary import Ran, summary, tree
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
_LONGEST_TITLE = 1000  # characters


class Run:
    """A command and all its descendants."""

    def __init__(self, root: int) -> None:
        self._table = ProcessTable(tree=root)
        self._root = root
        self._running: dict[int, Ran] = {}
        self.all: list[Ran] = []
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
                ran = self._running[change.process.pid]
                ran.execute(program)
                self.programs[ran.name or UNKNOWN] += 1
            else:
                self._end(change.process)

    @property
    def duration(self) -> float | None:
        """How long the command itself ran, in seconds; None if unknown."""
        durations = (it.process.duration for it in self.all if it.pid == self._root)
        return next(durations, None)

    def _add(self, process: Process) -> None:
        parent = None if process.ppid is None else self._running.get(process.ppid)
        ran = Ran(process, parent)
        if parent is not None:
            parent.children.append(ran)
        self._running[ran.pid] = ran
        self.all.append(ran)
        self.peak = max(self.peak, len(self._running))

    def _end(self, process: Process) -> None:
        ran = self._running.get(process.pid)
        if ran is not None and ran.process is process:  # its PID may have been reused
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
        begun = time.monotonic()
        try:
            ran = _follow(connector, child)
            connector.close()
            took = ran.duration or time.monotonic() - begun
            status = shutdown.exit_status = shell_status(child.end())
            _report(options, ran, took, output)
            report_usage_lost(connector.usage_lost)
            if draw is not None and picture is not None:
                title = " ".join(options.command)[:_LONGEST_TITLE]
                picture.write_all(draw(ran.all, title))
        except OSError as error:  # such as a full disk; keep the command's status
            if status is None:
                raise
            name = error.filename or "the summary"
            report(f"{name} is incomplete: {error.strerror}")
    return status


def _follow(connector: ProcConnector, child: Child) -> Run:
    """Process all events up to the command's end.

    They are read at long intervals, so that the command is seldom interrupted.
    """
    ran = Run(child.pid)
    buffer = memoryview(bytearray(_BATCH))
    while not child.has_ended.wait(_PAUSE):
        while _take(connector, buffer, ran, 0):
            pass
    deadline = time.monotonic() + _PATIENCE  # for its EXIT, which may be dropped
    while not ran.is_over and time.monotonic() < deadline:
        _take(connector, buffer, ran, _LATENCY)
    return ran


def _take(
    connector: ProcConnector, buffer: memoryview, ran: Run, timeout: float
) -> bool:
    """Process received events up to the command's end; return whether any arrived."""
    batch = decode(buffer[: connector.recv_into(buffer, timeout)])
    for event in batch:
        if ran.is_over:  # later events are not the command's
            break
        ran.feed(event)
    return bool(batch)


def _report(options: argparse.Namespace, ran: Run, took: float, output: Output) -> None:
    width = output.width
    if options.show_tree:
        output.write_all(tree(ran.all, width=width))
    output.write_all(summary(ran.all, ran.programs, ran.peak, took, width=width))
    if ran.lost:
        report(f"{ran.lost} events were lost, so processes may be missing")


def _timeline_format(
    path: str | None,
) -> Callable[[Iterable[Ran], str], Iterator[str]] | None:
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
