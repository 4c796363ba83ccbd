"""The cost of the subcommands: CPU time for each event, and delay of what is traced."""

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.building import FILES, TINY, USUAL, make, write_sources
from benchmarks.processes import Command, run_execs, run_storm
from benchmarks.report import Row

_RATE = 5_000  # events a second
_STEADY = 50_000
_STORM = 1_000_000
_EXECS = 3_000
_BUILDS = 5


def _stat() -> list[Row]:
    """Have events counted, of the kinds that need no program, and execs."""
    with closing(Command("stat", "--json")) as command:
        before_ns, start_ns = command.cpu_ns(), time.monotonic_ns()
        run_storm(_STEADY, 1_000_000_000 // _RATE)
        share = (command.cpu_ns() - before_ns) / (time.monotonic_ns() - start_ns)
        command.rest()
        before_ns = command.cpu_ns()
        run_execs(_EXECS)
        command.rest()
        for_exec = (command.cpu_ns() - before_ns) / _EXECS / 1000
        command.lost()
    return [
        Row(f"`stat`, {_RATE:,} events a second", "", "% of a CPU", [100 * share]).must(
            2
        ),
        Row("`stat`, a program that is run and ends", "", "µs", [for_exec]),
    ]


def _watch() -> list[Row]:
    """Have a million events written into a file."""
    with tempfile.NamedTemporaryFile() as file:
        command = Command("watch", "--json", "--events", "comm", "-o", file.name)
        with closing(command):
            before_ns = command.cpu_ns()
            run_storm(_STORM)
            command.rest()
            cost = (command.cpu_ns() - before_ns) / _STORM / 1000
            lost = command.lost()
    figure = f"`watch --json` into a file, {_STORM:,} events at full speed"
    return [
        Row(figure, "", "µs an event", [cost]).must(6),
        Row(figure, "", "lost", [lost]).must(0),
    ]


def _by_thread(name: str, *arguments: str) -> list[Row]:
    """Run programs that end at once; measure each of a subcommand's threads."""
    with closing(Command(name, *arguments)) as command:
        before = command.thread_cpu_ns()
        run_execs(_EXECS)
        command.rest()
        after = command.thread_cpu_ns()
    return [
        Row(
            f"`{name}`, a program that is run and ends: thread {thread}",
            "",
            "µs",
            [(after[thread] - before.get(thread, 0)) / _EXECS / 1000],
        )
        for thread in after
    ]


def _threads() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_by_thread("watch"),
            *_by_thread("stat"),
            *_by_thread("record", f"{folder}/recording.pcap"),
        ]


def _trace(size: str, functions: int) -> Row:
    """Have a build traced, and drawn."""
    traced: list[float] = []
    alone: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(folder, functions)
        picture, summary = f"{name}/timeline.svg", f"{name}/summary"
        command = [sys.executable, "-m", "procconn", "trace", "-o", summary]
        command += ["--timeline", picture, "--"]
        make(folder)  # warms the caches
        for _ in range(_BUILDS):
            alone.append(make(folder))
            traced.append(make(folder, *command))
    figure = f"`make -j2` of {FILES} {size} C files, traced and drawn"
    return Row(figure, "alone", "s", traced, alone)


def subcommands() -> list[Row]:
    """Measure those that have much to do."""
    traced = [_trace("tiny", TINY), _trace("usual", USUAL).must(1.05, 1.02)]
    return [*_stat(), *_watch(), *_threads(), *traced]
