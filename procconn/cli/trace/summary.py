"""Print the processes of a command as a summary and as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procconn.cli.trace.lanes import UNKNOWN
from procconn.pipeline.formats import (
    cut,
    fit,
    format_command,
    format_duration,
    format_exit,
    format_usage,
    visible,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from procconn.processes import Process
    from procconn.programs import Program

_MAX_ROWS = 10  # of each part
_MAX_COMMAND = 1000  # characters
_MAX_NAME = 15  # TASK_COMM_LEN without the NUL
_MAX_TREE = 10_000  # lines, half from the start of the tree and half from its end
_MAX_INDENT = 20  # levels, after which a branch continues at the left margin


class TracedProcess:
    """A process of the traced command, with its children; implements `lanes.Lifetime`.

    It keeps only the printed part of the command line, because many processes may have
    long command lines.

    Args:
        process: the process in the table.
        parent: its parent, whose program it runs until its own exec.

    Attributes:
        command: the command line, escaped, and cut if very long.
        name: the name of the last executed program, or else the base name of its
            argv[0]; None if unknown.
    """

    __slots__ = ("children", "command", "name", "pid", "ppid", "process")

    def __init__(self, process: Process, parent: TracedProcess | None) -> None:
        self.process = process
        self.children: list[TracedProcess] = []
        self.pid = process.pid
        self.ppid = process.ppid
        self.command: str = UNKNOWN if parent is None else parent.command
        self.name: str | None = None if parent is None else parent.name

    def execute(self, program: Program | None) -> None:
        """Set the program that an exec started."""
        self.command = _printable_command(program)
        self.name = None if program is None else program.name
        if program is not None and program.argv and not self.name:
            self.name = program.argv[0].rpartition("/")[2][:_MAX_NAME]

    @property
    def started_ns(self) -> int | None:
        """Time of the fork, in nanoseconds of CLOCK_MONOTONIC."""
        return self.process.started_ns

    @property
    def ended_ns(self) -> int | None:
        """Time of the exit, in nanoseconds; None if the trace ended before it."""
        return self.process.ended_ns

    @property
    def returncode(self) -> int | None:
        """The exit status, as `Process.returncode`."""
        return self.process.returncode


def summary(
    processes: list[TracedProcess],
    programs: Counter[str],
    peak: int,
    duration: float,
    *,
    width: int | None,
) -> Iterator[str]:
    """Yield the lines of the summary: totals, then tables of processes and programs."""
    failed = [traced for traced in processes if traced.returncode]
    running = sum(traced.process.is_running for traced in processes)
    count = len(processes)
    line = f"{count} process{'' if count == 1 else 'es'} in {format_duration(duration)}"
    line += f", at most {peak} at once"
    line += f", {len(failed)} failed" if failed else ", none failed"
    yield line + (f", {running} still running\n" if running else "\n")
    if failed:
        yield "failed:\n"
        yield from _table(failed, width)
    ended = [traced for traced in processes if traced.process.duration is not None]
    if len(ended) > 1:
        yield "longest:\n"
        ended.sort(key=lambda traced: traced.process.duration or 0, reverse=True)
        yield from _table(ended[:_MAX_ROWS], width)
    costly = [traced for traced in processes if _cpu_ns(traced)]
    if costly:
        yield "most CPU time:\n"
        costly.sort(key=_cpu_ns, reverse=True)
        yield from _table(costly[:_MAX_ROWS], width)
    if programs:
        yield "most frequent programs:\n"
        for name, count in programs.most_common(_MAX_ROWS):
            yield f"{count:>9}  {visible(name)}\n"


def tree(processes: list[TracedProcess], *, width: int | None) -> Iterator[str]:
    """Yield the lines of the tree: children below their parent, in order of start time.

    Lines in the middle of a large tree are omitted. Deep branches continue at the left
    margin, with their level.
    """
    children = {id(child) for traced in processes for child in traced.children}
    roots = [traced for traced in processes if id(traced) not in children]
    half = _MAX_TREE // 2
    omitted = range(half, max(len(processes) - half, half))
    stack = [(traced, 0, "", "") for traced in reversed(roots)]
    row = 0
    while stack:
        traced, level, prefix, indent = stack.pop()
        if row not in omitted:
            yield _line(traced, f"{prefix}{traced.pid} ", width)
        elif row == omitted.start:
            yield f"… {len(omitted)} processes omitted\n"
        row += 1
        level += 1
        is_at_margin = level % _MAX_INDENT == 0
        for index, child in enumerate(reversed(traced.children)):
            branch, continuation = ("├─ ", "│  ") if index else ("└─ ", "   ")
            if is_at_margin:
                prefix = child_indent = f"{level}┄ "
            else:
                prefix, child_indent = indent + branch, indent + continuation
            stack.append((child, level, prefix, child_indent))


def _table(processes: list[TracedProcess], width: int | None) -> Iterator[str]:
    for traced in processes[:_MAX_ROWS]:
        yield _line(traced, f"{traced.pid:>9}  ", width)
    if len(processes) > _MAX_ROWS:
        yield f"{'':>9}  and {len(processes) - _MAX_ROWS} more\n"


def _cpu_ns(traced: TracedProcess) -> int:
    usage = traced.process.usage
    return (usage.cpu_ns or 0) if usage is not None else 0


def _line(traced: TracedProcess, prefix: str, width: int | None) -> str:
    process = traced.process
    suffix = " still running"
    if not process.is_running:
        suffix = " " + format_exit(
            process.returncode, process.dumped_core, process.duration
        )
        suffix += format_usage(process.usage)
    command = traced.command
    if width is not None:
        command = fit(command, width - len(prefix) - len(suffix))
    return f"{prefix}{command}{suffix}\n"


def _printable_command(program: Program | None) -> str:
    """Return a command line, cut before quoting, and again as quoting lengthens it."""
    left = _MAX_COMMAND
    argv = []
    for argument in (program and program.argv) or ():
        argv.append(argument[:left])
        left -= len(argument) + 1
        if left < 0:
            break
    if program is not None and left < 0:
        program = program._replace(argv=tuple(argv), cut=True)
    return cut(format_command(program, with_reason=False), _MAX_COMMAND)
