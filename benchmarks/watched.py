"""What watching adds to what is watched."""

from contextlib import closing
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.contestants import (
    AT_ONCE,
    DEFAULTS,
    FORKSTAT,
    GATHERING,
    NAIVE,
    ONE_MS,
    ROUNDS,
    TEN_MS,
    WOKEN,
    forkstat,
    in_all_languages,
)
from benchmarks.processes import in_python, run_execs, run_forks, run_storm
from benchmarks.report import Row

if TYPE_CHECKING:
    from collections.abc import Callable

_FORKS = 10_000
_COMMANDS = 3_000
_DENSE = 50_000
_DENSE_INTERVAL_NS = 20_000
_FULL_SPEED = 100_000
_UNREACHED = 1_000_000_000


def producer() -> list[Row]:
    """Time what makes events, with and without each reader."""
    starts = {**in_all_languages(_UNREACHED), **forkstat("all")}
    process = "a process that ends at once"
    loads: dict[str, Callable[[], int]] = {
        process: partial(run_forks, _FORKS),
        "an event, 50,000 a second": partial(run_storm, _DENSE, _DENSE_INTERVAL_NS),
        "an event at full speed": partial(run_storm, _FULL_SPEED),
    }
    added: dict[str, dict[str, list[float]]] = {
        load: {name: [] for name in starts} for load in loads
    }
    for _ in range(ROUNDS):
        alone = {load: run() for load, run in loads.items()}
        for name, start in starts.items():
            with closing(start()) as reader:
                reader.begin()
                for load, run in loads.items():
                    added[load][name].append((run() / alone[load] - 1) * 100)

    def row(load: str, ours: str, theirs: str) -> Row:
        percent = added[load]
        return Row(
            f"added to {load}, {ours}",
            theirs,
            "%",
            [median(percent[ours])],  # of differences, some of them near zero
            [median(percent[theirs])],
        )

    others = [name for name in (FORKSTAT, WOKEN, NAIVE) if name in starts]
    rows = []
    for load in loads:
        rows += [
            *(row(load, DEFAULTS, other) for other in others),
            row(load, AT_ONCE, NAIVE),
            row(load, ONE_MS, WOKEN),
            row(load, TEN_MS, GATHERING),
        ]
    if FORKSTAT in starts:
        rows[0].must(0.75, 0.5, decides=True)
    return rows


def usage() -> list[Row]:
    """Time processes that end at once, and their reader, with and without usage."""
    took: dict[bool, list[float]] = {False: [], True: []}
    cpu: dict[bool, list[float]] = {False: [], True: []}
    commands: list[float] = []
    for _ in range(ROUNDS):
        commands.append(run_execs(_COMMANDS))
        for wanted in (False, True):
            with closing(in_python("iterate", _UNREACHED, usage=wanted)) as reader:
                reader.begin()
                reader.rest()
                before_ns = reader.cpu_ns()
                took[wanted].append(run_forks(_FORKS))
                reader.rest()
                cpu[wanted].append((reader.cpu_ns() - before_ns) / _FORKS)
    added, read = (
        [a - b for a, b in zip(it[True], it[False], strict=True)] for it in (took, cpu)
    )
    process, reading = "a process that ends at once", "reading its fork and exit"
    return [
        Row(
            f"usage, added to {process}", "a run of /bin/true", "ns", added, commands
        ).must(0.10, 0.02),
        Row(f"usage, added to {reading}", "without usage", "ns", read, cpu[False]),
    ]
