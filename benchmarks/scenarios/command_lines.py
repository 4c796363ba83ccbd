"""Command lines of short-lived commands: each reader alone, then all at once."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from typing import NamedTuple

from benchmarks.processes import (
    FORKSTAT,
    FORKSTAT_REAL_TIME,
    PRINTERS,
    WATCH,
    Printer,
    Reader,
    Report,
    in_python,
    run_events,
)
from benchmarks.report import Row, markdown_table
from benchmarks.results import (
    RESULTS,
    RIGHT,
    WRONG,
    CommandsByPid,
    count_results,
    results_by_pid,
    run,
)
from benchmarks.scenarios import Theirs

SHORT_COMMANDS, CHAINED_COMMANDS = 6_000, 2_000
_COMMANDS_SIDE_BY_SIDE = 2_000, 1_000
_COMMANDS_TRACED = 500, 250
_STRACE = ("strace", "-f", "-o", "/dev/null")
_EVENTS = 1_000_000
_SPINNERS, _SPINNING_S = 2, 120

PROCCONN = "procconn"
_IN_PYTHON: dict[str, tuple[str, dict[str, bool]]] = {
    PROCCONN: ("programs", {"programs": True}),
    Theirs.NAIVE: ("naive_programs", {}),
}
READERS = [*_IN_PYTHON, *PRINTERS]
# forkstat requires root, and the user `nobody` may be unable to run this Python.
_ROOT_ONLY = {WATCH, FORKSTAT, FORKSTAT_REAL_TIME}

TRIAL_HEADINGS = (
    *("load", "user", "reader", "real-time", "commands"),
    *(*RESULTS, "CPU per exec"),
)


def _start(name: str, nobody: bool) -> Reader | Printer:
    if name in PRINTERS:
        return Printer(name, "nobody" if nobody else None)
    reader, settings = _IN_PYTHON[name]
    return in_python(reader, nobody=nobody, **settings)


def _report(reader: Reader | Printer) -> Report:
    """Wait until a reader has processed everything; return its report."""
    if isinstance(reader, Printer):
        return reader.report()
    result = reader.finish()
    lines = [(pid, text) for pid, text in result["command_lines"]]
    return Report(lines, result["cpu_ns"], result.get("unexplained", 0))


class Trial(NamedTuple):
    """The results of a reader on its own."""

    busy: bool
    nobody: bool
    reader: str
    real_time: bool
    results: Counter[str]
    unexplained: int
    cpu_ns: int

    def share(self, result: str) -> float:
        """Return the percentage of commands with this result."""
        return 100 * self.results[result] / self.results.total()

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row."""
        return (
            load_name(self.busy),
            user_name(self.nobody),
            self.reader,
            "yes" if self.real_time else "no",
            f"{self.results.total():,}",
            *(f"{self.share(it):.2f} %" for it in RESULTS),
            f"{self.cpu_ns / self.results.total() / 1000:.1f} µs",
        )

    def limits(self) -> list[Row]:
        """Return the rows with limits; none for a reader other than procconn."""
        if self.reader != PROCCONN:
            return []
        figure = f"commands as {user_name(self.nobody)}, {load_name(self.busy)}: "
        absent = f"{figure}absent without a reason"
        rows = []
        if not self.nobody:
            right = Row(
                f"{figure}right", "", "%", [self.share(RIGHT)], higher_is_better=True
            )
            rows.append(right.expect(99) if self.busy else right.expect(99.9, 100))
        return [
            *rows,
            Row(f"{figure}wrong", "", "", [self.results[WRONG]]).expect(0),
            Row(absent, "", "", [self.unexplained]).expect(0),
        ]


def try_readers(names: list[str]) -> list[Trial]:
    """Try each reader with all commands, on a quiet and on a busy machine."""
    return [
        _try_reader(name, busy=busy, nobody=nobody)
        for busy in (False, True)
        for nobody in (False, True)
        for name in names
        if not (nobody and name in _ROOT_ONLY)
    ]


def _try_reader(name: str, *, busy: bool, nobody: bool) -> Trial:
    with closing(_start(name, nobody)) as reader:
        real_time = bool(reader.real_time_threads())
        reader.begin()
        with load(busy):
            executed = run("short", SHORT_COMMANDS) | run("chains", CHAINED_COMMANDS)
        report = _report(reader)
    results = count_results(executed, report.command_lines)
    unexplained, cpu_ns = report.unexplained, report.cpu_ns
    return Trial(busy, nobody, name, real_time, results, unexplained, cpu_ns)


def user_name(nobody: bool) -> str:
    """Return the name of the reader's user."""
    return "nobody" if nobody else "root"


def load_name(busy: bool) -> str:
    """Return the name of the load."""
    return f"{_SPINNERS} busy processes" if busy else "quiet"


@contextmanager
def load(busy: bool) -> Iterator[None]:
    """Keep CPUs busy during the context if `busy`, but not longer than a set time."""
    code = f"from time import *\nend = time() + {_SPINNING_S}\nwhile time() < end: pass"
    command = [sys.executable, "-S", "-c", code]
    spinners = [subprocess.Popen(command) for _ in range(_SPINNERS if busy else 0)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def other_events() -> list[Row]:
    """Count how often the real-time thread runs for events other than execs.

    It also runs once for each exec on the machine; these runs are subtracted.
    """
    with closing(_start(PROCCONN, nobody=False)) as reader:
        threads = reader.real_time_threads()
        if not threads:
            print("other events: the reader has no real-time thread here")
            return []

        def runs() -> int:
            return sum(reader.schedstat(thread)[1] for thread in threads)

        before = runs()
        reader.begin()
        run_events(_EVENTS)
        ran = runs() - before
        execs = len(_report(reader).command_lines)
    figure = f"runs of the real-time thread for {_EVENTS:,} events of other kinds"
    return [Row(figure, "", "", [max(0, ran - execs)]).expect(10, 0)]


class SideBySide(NamedTuple):
    """The results of a program that ran side by side with the others.

    Attributes:
        ahead: how often it was right where `procconn watch` was not.
        traced: whether the commands ran under strace.
    """

    reader: str
    results: Counter[str]
    ahead: int
    traced: bool

    def limit(self) -> Row:
        """Return the row: procconn is never wrong, and right if another program is.

        forkstat at real-time priority may read earlier, so its row has no limit.
        """
        count = sum(_COMMANDS_TRACED if self.traced else _COMMANDS_SIDE_BY_SIDE)
        under = " under strace -f" if self.traced else ""
        figure = f"side by side, {count:,} processes{under}:"
        if self.reader == WATCH:
            wrong = Row(f"{figure} wrong in {WATCH}", "", "", [self.results[WRONG]])
            return wrong.expect(0)
        row = Row(
            f"{figure} right in {self.reader}, not in {WATCH}", "", "", [self.ahead]
        )
        return row if self.reader == FORKSTAT_REAL_TIME else row.expect(0)


def side_by_side(*, traced: bool = False) -> list[SideBySide]:
    """Run commands while all printing programs report them."""
    if traced and shutil.which(_STRACE[0]) is None:
        print("side by side: strace is not installed")
        return []
    short, chains = _COMMANDS_TRACED if traced else _COMMANDS_SIDE_BY_SIDE
    prefix = _STRACE if traced else ()
    with ExitStack() as stack:
        printers = [stack.enter_context(closing(Printer(name))) for name in PRINTERS]
        executed: CommandsByPid = run("short", short, *prefix) | run(
            "chains", chains, *prefix
        )
        lines = [printer.report().command_lines for printer in printers]
    results = {
        name: list(chain.from_iterable(results_by_pid(executed, reported).values()))
        for name, reported in zip(PRINTERS, lines, strict=True)
    }
    return [
        SideBySide(
            name,
            Counter(theirs),
            sum(a == RIGHT != b for a, b in zip(theirs, results[WATCH], strict=True)),
            traced,
        )
        for name, theirs in results.items()
    ]


def comparison_table(
    trials: list[Trial], sides: list[SideBySide], traced: list[SideBySide]
) -> str:
    """Return the table that compares the printing programs, which root runs.

    Raises:
        SystemExit: strace is not installed.
    """
    if not traced:
        sys.exit("the table requires strace: install it and run again")

    def shares(results: Counter[str]) -> str:
        total = results.total()
        return " / ".join(f"{100 * results[it] / total:.2f}" for it in RESULTS) + " %"

    lines: list[tuple[str, ...]] = [
        (
            " / ".join(RESULTS),
            "on a quiet machine",
            f"with {load_name(busy=True)}",
            "side by side",
            "side by side under strace -f",
            f"right where {WATCH} is not",
        )
    ]
    for side, under in zip(sides, traced, strict=True):
        alone = [it for it in trials if it.reader == side.reader and not it.nobody]
        results = [*(it.results for it in alone), side.results, under.results]
        ahead = "" if side.reader == WATCH else f"{side.ahead} / {under.ahead}"
        lines.append((side.reader, *map(shares, results), ahead))
    return markdown_table(lines)
