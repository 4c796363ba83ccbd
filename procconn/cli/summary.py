"""What a command ran, told to people: a summary, and a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procconn.cli.lines import ending, fit, span, told, used, visible

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from signal import Signals

    from procconn.processes import Process
    from procconn.programs import Program

_MOST = 10  # lines of each part


class Ran:
    """A process of the tree: `lanes.Lifetime`, and its place in the tree."""

    def __init__(self, process: Process, program: Program | None) -> None:
        self.process = process
        self.program = program
        self.children: list[Ran] = []
        self.pid = process.pid
        self.ppid = process.ppid

    @property
    def name(self) -> str | None:
        """The name of what it ran last, if known."""
        return None if self.program is None else self.program.name

    @property
    def started_ns(self) -> int | None:
        """When it was forked, on CLOCK_MONOTONIC, in nanoseconds."""
        return self.process.started_ns

    @property
    def ended_ns(self) -> int | None:
        """When it ended, in nanoseconds; None if it still ran at the end."""
        return self.process.ended_ns

    @property
    def returncode(self) -> int | None:
        """How it ended, as `Process.returncode`."""
        return self.process.returncode

    @property
    def signal(self) -> Signals | None:
        """The signal that ended it, or None."""
        return self.process.signal


def summary(
    ran: list[Ran],
    programs: Counter[str],
    peak: int,
    took: float,
    *,
    width: int | None,
) -> Iterator[str]:
    """Tell how many processes there were, which failed, and what took long."""
    failed = [it for it in ran if it.returncode]
    running = sum(it.process.is_running for it in ran)
    line = f"{len(ran)} process{'' if len(ran) == 1 else 'es'} in {span(took)}"
    line += f", at most {peak} at once"
    line += f", {len(failed)} failed" if failed else ", none failed"
    yield line + (f", {running} still running\n" if running else "\n")
    if failed:
        yield "failed:\n"
        yield from _table(failed, width)
    ended = [it for it in ran if it.process.duration is not None]
    if len(ended) > 1:
        yield "longest:\n"
        ended.sort(key=lambda it: it.process.duration or 0, reverse=True)
        yield from _table(ended[:_MOST], width)
    costly = [it for it in ran if _cpu_ns(it)]
    if costly:
        yield "most processor time:\n"
        costly.sort(key=_cpu_ns, reverse=True)
        yield from _table(costly[:_MOST], width)
    if programs:
        yield "most frequent programs:\n"
        for name, count in programs.most_common(_MOST):
            yield f"{count:>9}  {visible(name)}\n"


def tree(ran: list[Ran], *, width: int | None) -> Iterator[str]:
    """Draw the processes, each below its parent, in the order of their starts."""
    children = {id(child) for it in ran for child in it.children}
    roots = [it for it in ran if id(it) not in children]
    waiting = [(it, "", "") for it in reversed(roots)]
    while waiting:
        it, stem, indent = waiting.pop()
        yield _line(it, f"{stem}{it.pid} ", width)
        for index, child in enumerate(reversed(it.children)):
            mine, below = ("├─ ", "│  ") if index else ("└─ ", "   ")
            waiting.append((child, indent + mine, indent + below))


def _table(ran: list[Ran], width: int | None) -> Iterator[str]:
    for it in ran[:_MOST]:
        yield _line(it, f"{it.pid:>9}  ", width)
    if len(ran) > _MOST:
        yield f"{'':>9}  and {len(ran) - _MOST} more\n"


def _cpu_ns(it: Ran) -> int:
    usage = it.process.usage
    return (usage.cpu_ns or 0) if usage is not None else 0


def _line(it: Ran, head: str, width: int | None) -> str:
    process = it.process
    tail = " still running"
    if not process.is_running:
        tail = " " + ending(process.returncode, process.dumped_core, process.duration)
        tail += used(process.usage)
    command = told(it.program, why=False)
    if width is not None:
        command = fit(command, width - len(head) - len(tail))
    return f"{head}{command}{tail}\n"
