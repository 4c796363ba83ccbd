"""Command lines: which readers report them right, wrong, or not at all.

Each reader has the same commands before it, one reader after the other. What was run is
known: each command has a mark of its own. `make bench-commands` runs this.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import beside, report
from benchmarks.beside import Side, side_by_side
from benchmarks.building import FILES, make, write_sources
from benchmarks.correctness import RESULTS, count_results, run
from benchmarks.fields import HEADINGS as FIELD_HEADINGS
from benchmarks.fields import Fields, overwritten, try_fields
from benchmarks.printers import (
    FORKSTAT,
    FORKSTAT_FIRST,
    PRINTERS,
    WATCH,
    Heard,
    Printer,
    printers,
)
from benchmarks.processes import (
    BUILD,
    ROOT,
    Process,
    Reader,
    compile_c,
    in_python,
    listeners,
    run_storm,
)
from benchmarks.report import Row
from benchmarks.subcommands import subcommands

COMPARISON = ROOT / "docs" / "comparison.md"

_SHORT, _CHAINS = 6_000, 2_000
_FLOOD = 1_000_000
_SPINNERS, _SPINNING_S = 2, 120
_BUILDS = 7
_JSON_FILE = BUILD / "bench-commands.json"
_HEADINGS = (
    *("machine", "as", "reader", "real-time", "commands"),
    *("right", "wrong", "absent", "CPU an exec"),
)

_PROCCONN, _NAIVE = "procconn", "naive Python"
_IN_PYTHON: dict[str, tuple[str, dict[str, bool]]] = {
    _PROCCONN: ("programs", {"programs": True}),
    _NAIVE: ("naive_programs", {}),
}
# forkstat insists on root, and nobody may not run this Python's command.
_OF_ROOT_ALONE = {WATCH, FORKSTAT, FORKSTAT_FIRST}


def _start(name: str, nobody: bool) -> Reader | Printer:
    if name in PRINTERS:
        return Printer(name, "nobody" if nobody else None)
    reader, settings = _IN_PYTHON[name]
    return in_python(reader, nobody=nobody, **settings)


def _hear(reader: Reader | Printer) -> Heard:
    """Wait until a reader has reported everything."""
    if isinstance(reader, Printer):
        return reader.heard()
    reader.rest()
    reader.finish()
    result = reader.result()
    reported = [(pid, text) for pid, text in result["reported"]]
    return Heard(reported, result["cpu_ns"], result.get("unmarked", 0))


class Trial(NamedTuple):
    """How a reader did."""

    busy: bool
    nobody: bool
    reader: str
    real_time: bool
    results: Counter[str]
    unmarked: int
    cpu_ns: int

    def share(self, result: str) -> float:
        """Return the percentage with this result."""
        return 100 * self.results[result] / self.results.total()

    def cells(self) -> tuple[str, ...]:
        """Write the row."""
        return (
            _machine(self.busy),
            "nobody" if self.nobody else "root",
            self.reader,
            "yes" if self.real_time else "no",
            f"{self.results.total():,}",
            *(f"{self.share(it):.2f} %" for it in RESULTS),
            f"{self.cpu_ns / self.results.total() / 1000:.1f} µs",
        )


def try_reader(name: str, *, busy: bool, nobody: bool) -> Trial:
    """Run all commands before a reader, alone or beside processes that spin."""
    with closing(_start(name, nobody)) as reader:
        real_time = bool(_real_time_threads(reader))
        reader.begin()
        with _spinning(_SPINNERS if busy else 0):
            ran = run("short", _SHORT) | run("chains", _CHAINS)
        heard = _hear(reader)
    results = count_results(ran, heard.reported)
    cpu_ns, unmarked = heard.cpu_ns, heard.unmarked
    return Trial(busy, nobody, name, real_time, results, unmarked, cpu_ns)


def fields(*, busy: bool, nobody: bool) -> Fields:
    """Run all commands under a reader of ours that reports all their fields."""
    load = _spinning(_SPINNERS if busy else 0)
    return try_fields(_SHORT, _CHAINS, _machine(busy), load, nobody=nobody)


def _machine(busy: bool) -> str:
    return f"beside {_SPINNERS} that spin" if busy else "quiet"


@contextmanager
def _spinning(count: int) -> Iterator[None]:
    """Keep processors busy, for a time that is bounded whatever happens."""
    code = f"from time import *\nend = time() + {_SPINNING_S}\nwhile time() < end: pass"
    command = [sys.executable, "-S", "-c", code]
    spinners = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def _real_time_threads(reader: Process) -> list[int]:
    """List the threads that run before all ordinary ones."""
    return [
        thread
        for thread in reader.threads()
        if os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
    ]


def flood() -> list[Row]:
    """Make events of another kind, and see how often the real-time thread runs.

    It does once for an exec of anybody. As others have some meanwhile, those are left
    out.
    """

    def runs() -> int:
        stats = [Path(f"/proc/{reader.pid}/task/{it}/schedstat") for it in threads]
        return sum(int(stat.read_text().split()[2]) for stat in stats)

    with closing(_start(_PROCCONN, nobody=False)) as reader:
        threads = _real_time_threads(reader)
        if not threads:
            print("flood: no thread of the reader is real-time here")
            return []
        before = runs()
        reader.begin()
        run_storm(_FLOOD)
        ran = runs() - before
        execs = len(_hear(reader).reported)
    figure = f"times the real-time thread ran for {_FLOOD:,} events of others"
    return [Row(figure, "", "", [max(0, ran - execs)]).must(10, 0)]


def build() -> list[Row]:
    """Time a build of small C files, with and without."""
    watched: list[float] = []
    alone: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(folder)
        make(folder)  # warms the caches
        for _ in range(_BUILDS):
            alone.append(make(folder))
            with closing(_start(_PROCCONN, nobody=False)) as reader:
                reader.begin()
                watched.append(make(folder))
    figure = f"`make -j2` of {FILES} C files, watched"
    return [Row(figure, "unwatched", "s", watched, alone).must(1.05, 1.02)]


def limits(trials: list[Trial]) -> list[Row]:
    """Say what must hold of our own trials."""
    rows = []
    for trial in trials:
        if trial.reader != _PROCCONN:
            continue
        machine, user, *_ = trial.cells()
        figure = f"commands as {user}, {machine}: "
        if not trial.nobody:
            right = Row(f"{figure}right", "", "%", [trial.share("right")], faster=True)
            rows.append(right.must(99) if trial.busy else right.must(99.9, 100))
        wrong, unmarked = trial.results["wrong"], trial.unmarked
        rows += [
            Row(f"{figure}wrong", "", "", [wrong]).must(0),
            Row(f"{figure}absent without a reason", "", "", [unmarked]).must(0),
        ]
    return rows


def compared(trials: list[Trial], sides: list[Side], traced: list[Side]) -> str:
    """Write the table that compares commands, as root.

    Raises:
        SystemExit: there is no strace here.
    """
    if not traced:
        sys.exit("the table takes strace")

    def shares(results: Counter[str]) -> str:
        total = results.total()
        return " / ".join(f"{100 * results[it] / total:.2f}" for it in RESULTS) + " %"

    lines: list[tuple[str, ...]] = [
        (
            f"{' / '.join(RESULTS)}",
            "on a quiet machine",
            f"beside {_SPINNERS} that spin",
            "side by side",
            "side by side under strace -f",
            f"right where {WATCH} is not",
        )
    ]
    for side, under in zip(sides, traced, strict=True):
        alone = [it for it in trials if it.reader == side.reader and not it.nobody]
        alone.sort(key=lambda it: it.busy)
        cells = [shares(it.results) for it in alone]
        cells += [shares(side.results), shares(under.results)]
        ahead = "" if side.reader == WATCH else f"{side.ahead} / {under.ahead}"
        lines.append((side.reader, *cells, ahead))
    return report.aligned(lines)


def main() -> None:
    """Try all readers, or those that the arguments name."""
    every = [*_IN_PYTHON, *printers()]
    parser = argparse.ArgumentParser(prog="benchmarks.commands", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--docs",
        action="store_true",
        help="put the tables into the documents, too",
    )
    choice.add_argument(
        "--only", action="append", choices=every, help="may be given several times"
    )
    options = parser.parse_args()
    readers = options.only or every

    facts = report.machine()
    if options.docs:
        report.refuse_company(listeners())
    compile_c("floor")
    compile_c("commands")
    compile_c("overwriter", "-static", "-nostartfiles")
    trials = [
        try_reader(reader, busy=busy, nobody=nobody)
        for busy in (False, True)
        for nobody in (False, True)
        for reader in readers
        if not (nobody and reader in _OF_ROOT_ALONE)
    ]
    rows = limits(trials)
    shown: list[Fields] = []
    if _PROCCONN in readers:
        shown = [
            fields(busy=busy, nobody=nobody)
            for busy in (False, True)
            for nobody in (False, True)
        ]
        rows += [row for it in shown for row in it.limits()]
        rows += [overwritten(nobody=nobody) for nobody in (False, True)]
        rows += [*flood(), *build()]
    sides = [] if options.only else side_by_side()
    traced = [] if options.only else side_by_side(traced=True)
    rows += beside.limits([*sides, *traced])
    costs = [] if options.only else subcommands()
    facts["listeners"] = max(int(str(facts["listeners"])), listeners())
    print(report.aligned([_HEADINGS, *(trial.cells() for trial in trials)]))
    if shown:
        cells = [row for it in shown for row in it.cells()]
        print(f"\n{report.aligned([FIELD_HEADINGS, *cells])}")
    for part in (rows, costs):
        if part:
            print(f"\n{report.table(part)}")
    print(f"\n{report.described(facts)}")
    if options.docs:
        report.refuse_company(int(str(facts["listeners"])))
        text = f"{compared(trials, sides, traced)}\n\n{report.described(facts)}"
        report.put_into(COMPARISON, "commands", text)
        text = f"{report.table(costs)}\n\n{report.described(facts)}"
        report.put_into(report.DOCUMENT, "subcommands", text)
    content = {
        "machine": facts,
        "trials": [trial._asdict() for trial in trials],
        "fields": [it._asdict() for it in shown],
        "sides": [side._asdict() for side in (*sides, *traced)],
        "rows": [row.record() for row in (*rows, *costs)],
    }
    _JSON_FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
