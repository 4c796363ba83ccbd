"""Subcommands: their CPU time, and how much they slow down a build."""

import subprocess
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.processes import (
    PROCCONN_COMMAND,
    Command,
    in_python,
    run_events,
    run_execs,
)
from benchmarks.report import Row
from benchmarks.scenarios import reading, take_turns

_RATE = 5_000  # events a second
_STEADY = 50_000
_BURST = 1_000_000
_EXECS = 3_000

_FILES = 200
_SMALL, _TYPICAL = 20, 200  # functions in a file; those of csrc compile as long
_WATCHED_BUILDS, _TRACED_BUILDS = 7, 5


def subcommands() -> list[Row]:
    """Measure `stat`, `watch`, `record` and `trace`."""
    traced = [_trace("small", _SMALL), _trace("typical", _TYPICAL).expect(1.05, 1.02)]
    return [*_stat(), *_watch(), *_threads(), *traced]


def _stat() -> list[Row]:
    """Measure `stat` under COMM events, and under commands."""
    with closing(Command("stat", "--json")) as command:
        before_ns, start_ns = command.cpu_ns(), time.monotonic_ns()
        run_events(_STEADY, 1_000_000_000 // _RATE)
        share = (command.cpu_ns() - before_ns) / (time.monotonic_ns() - start_ns)
        command.wait_until_idle()
        before_ns = command.cpu_ns()
        run_execs(_EXECS)
        command.wait_until_idle()
        us = (command.cpu_ns() - before_ns) / _EXECS / 1000
    figure = f"`stat`, {_RATE:,} events a second"
    return [
        Row(figure, "", "% of a CPU", [100 * share]).expect(2),
        Row("`stat`, a program that runs and exits", "", "µs", [us]),
    ]


def _watch() -> list[Row]:
    """Measure `watch --json` under a burst."""
    with tempfile.NamedTemporaryFile() as file:
        command = Command("watch", "--json", "--events", "comm", "-o", file.name)
        with closing(command):
            before_ns = command.cpu_ns()
            run_events(_BURST)
            command.wait_until_idle()
            us = (command.cpu_ns() - before_ns) / _BURST / 1000
            lost = command.lost()
    figure = f"`watch --json` into a file, {_BURST:,} events at full speed"
    return [
        Row(figure, "", "µs an event", [us]).expect(6),
        Row(figure, "", "lost", [lost]).expect(0),
    ]


def _threads() -> list[Row]:
    """Measure each thread of the subcommands that read programs."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for arguments in (("watch",), ("stat",), ("record", f"{folder}/file.pcap")):
            with closing(Command(*arguments)) as command:
                before = command.thread_cpu_ns()
                run_execs(_EXECS)
                command.wait_until_idle()
                after = command.thread_cpu_ns()
            figure = f"`{arguments[0]}`, a program that runs and exits: thread"
            for name in after:
                us = (after[name] - before.get(name, 0)) / _EXECS / 1000
                rows.append(Row(f"{figure} {name}", "", "µs", [us]))
    return rows


def _write_sources(folder: Path, functions: int) -> None:
    """Write C files and a Makefile."""
    objects = [f"{n}.o" for n in range(_FILES)]
    (folder / "Makefile").write_text(f"all: {' '.join(objects)}\n")
    for number in range(_FILES):
        text = "".join(
            f"int f{number}_{n}(int x) {{ return x * {n} + {number}; }}\n"
            for n in range(functions)
        )
        (folder / f"{number}.c").write_text(f"#include <stdio.h>\n{text}")


def _build(folder: Path, *prefix: str) -> float:
    """Build all files; return the seconds that it took."""
    command = ["make", "--silent", "--always-make", "-j2", "-C", str(folder)]
    start = time.monotonic()
    subprocess.run([*prefix, *command], check=True)
    return time.monotonic() - start


def _trace(size: str, functions: int) -> Row:
    """Build under `trace --timeline`, and alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outputs = ("-o", f"{name}/summary", "--timeline", f"{name}/timeline.svg")
        prefixes = {"alone": (), "traced": (*PROCCONN_COMMAND, "trace", *outputs, "--")}
        _write_sources(folder, functions)
        _build(folder)  # fills the caches
        seconds = take_turns(
            lambda prefix: _build(folder, *prefix), prefixes, _TRACED_BUILDS
        )
    figure = f"`make -j2` of {_FILES} {size} C files, traced, with a timeline"
    return Row(figure, "alone", "s", seconds["traced"], seconds["alone"])


def watched_build() -> Row:
    """Build beside a reader of programs, and alone."""

    def watched(folder: Path) -> float:
        with reading(partial(in_python, "programs", programs=True)):
            return _build(folder)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_sources(folder, _SMALL)
        _build(folder)  # fills the caches
        builds = {"alone": _build, "watched": watched}
        seconds = take_turns(lambda build: build(folder), builds, _WATCHED_BUILDS)
    figure = f"`make -j2` of {_FILES} C files, watched"
    row = Row(figure, "unwatched", "s", seconds["watched"], seconds["alone"])
    return row.expect(1.05, 1.02)
