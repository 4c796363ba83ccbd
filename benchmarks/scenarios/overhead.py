"""Overhead: how much a listener slows down the processes that cause the events."""

from collections.abc import Callable
from functools import partial
from statistics import median

from benchmarks.processes import forkstat, in_python, run_events, run_execs, run_forks
from benchmarks.report import Row, comparison
from benchmarks.scenarios import ROUNDS, UNLIMITED, Ours, Theirs, one_by_one, reading

_FORKS = 10_000
_COMMANDS = 3_000
_PACED_EVENTS = 50_000
_PACED_INTERVAL_NS = 20_000
_FULL_SPEED_EVENTS = 100_000
_PROCESS = "a process that exits at once"
_LOADS: dict[str, Callable[[], int]] = {
    _PROCESS: partial(run_forks, _FORKS),
    "an event at 50,000 a second": partial(
        run_events, _PACED_EVENTS, _PACED_INTERVAL_NS
    ),
    "an event at full speed": partial(run_events, _FULL_SPEED_EVENTS),
}


def slowdown() -> list[Row]:
    """Time the loads with each listener, and without any."""
    starts = {**one_by_one(UNLIMITED), **forkstat("all")}
    percent: dict[str, dict[str, list[float]]] = {
        load: {name: [] for name in starts} for load in _LOADS
    }
    for _ in range(ROUNDS):
        alone = {load: run() for load, run in _LOADS.items()}
        for name, start in starts.items():
            with reading(start):
                for load, run in _LOADS.items():
                    percent[load][name].append((run() / alone[load] - 1) * 100)

    others = [Theirs.BLOCKING, Theirs.NAIVE]
    if Theirs.FORKSTAT in starts:
        others.insert(0, Theirs.FORKSTAT)
    rows = []
    for load, results in percent.items():
        # Compare medians, not single rounds: some differences are near zero.
        medians = {name: [median(figures)] for name, figures in results.items()}
        row = comparison(f"added to {load}, ", "%", medians)
        rows += [
            *(row(Ours.DEFAULTS, other) for other in others),
            row(Ours.AT_ONCE, Theirs.NAIVE),
            row(Ours.ONE_MS, Theirs.BLOCKING),
            row(Ours.TEN_MS, Theirs.COALESCING),
        ]
    if Theirs.FORKSTAT in starts:
        rows[0].expect(0.75, 0.5, in_readme=True)
    return rows


def usage() -> list[Row]:
    """Time processes that exit at once, and their reader, with and without usage."""

    def measure(usage: bool) -> tuple[float, float]:
        with reading(partial(in_python, "iterate", UNLIMITED, usage=usage)) as reader:
            reader.wait_until_idle()
            before_ns = reader.cpu_ns()
            process_ns = run_forks(_FORKS)
            reader.wait_until_idle()
            return process_ns, (reader.cpu_ns() - before_ns) / _FORKS

    runs: list[float] = []
    measured: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(ROUNDS):
        runs.append(run_execs(_COMMANDS))
        for usage, results in measured.items():
            results.append(measure(usage))
    pairs = list(zip(measured[True], measured[False], strict=True))
    added, read = ([a[n] - b[n] for a, b in pairs] for n in (0, 1))
    without = [ns for _, ns in measured[False]]
    exit_row = Row(
        f"usage, added to {_PROCESS}", "a run of /bin/true", "ns", added, runs
    )
    read_figure = "usage, added to reading a fork and exit"
    return [
        exit_row.expect(0.10, 0.02),
        Row(read_figure, "without usage", "ns", read, without),
    ]
