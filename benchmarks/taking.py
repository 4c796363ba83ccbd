"""Taking events from the kernel: what that costs, and how old they are by then.

CPU time is the operating system's account of the reader's process.
"""

from contextlib import closing
from functools import partial
from itertools import pairwise
from statistics import median, quantiles
from typing import TYPE_CHECKING

from benchmarks.contestants import (
    AT_ONCE,
    BESIDE_A_THREAD,
    DEFAULTS,
    FLOOR,
    FORKSTAT,
    GATHERING,
    NAIVE,
    NS_PER_EVENT,
    ONE_MS,
    PYROUTE2,
    ROUNDS,
    TEN_MS,
    WOKEN,
    Starts,
    forkstat,
    in_all_languages,
    ours,
)
from benchmarks.processes import Reader, in_c, in_python, run_storm
from benchmarks.report import Row
from procconn import EventMask

if TYPE_CHECKING:
    from collections.abc import Callable

_BACKLOG = 60_000
_LIVE = 50_000
_LIVE_INTERVAL_NS = 20_000
_LIVE_FIGURE = "take 50,000 events a second, "
_PYROUTE2_LIVE = 10_000  # it takes 40 µs for each, so its buffer must hold them
_LONE = 500
_LONE_INTERVAL_NS = 5_000_000
_MASKED = 200_000


def backlog() -> list[Row]:
    """Let events wait, then take them."""
    iterating, columns = "`for event in connector`", "`recv_into` and `as_array`"
    starts: dict[str, Callable[[], Reader]] = {
        FLOOR: partial(in_c, "drain", _BACKLOG),
        NAIVE: partial(in_python, "naive", _BACKLOG),
        iterating: partial(in_python, "iterate", _BACKLOG),
        columns: partial(in_python, "columns", _BACKLOG),
    }
    ns: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(ROUNDS):
        for name, start in starts.items():
            with closing(start()) as reader:
                run_storm(_BACKLOG)
                reader.begin()
                result = reader.result()
                ns[name].append(result["cpu_ns"] / result["events"])

    def row(way: str, theirs: str) -> Row:
        return Row(f"take a backlog, {way}", theirs, NS_PER_EVENT, ns[way], ns[theirs])

    return [
        row(iterating, FLOOR).must(1.15, 1.0, decides=True),
        row(iterating, NAIVE),
        row(columns, FLOOR),
    ]


def live() -> list[Row]:
    """Take events as they come, 50,000 a second."""
    starts: Starts = {
        **in_all_languages(_LIVE),
        BESIDE_A_THREAD: partial(in_python, "beside_a_thread", _LIVE, max_latency=0),
        PYROUTE2: partial(in_python, "pyroute2", _PYROUTE2_LIVE),
        **forkstat("comm"),
    }
    ns: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(ROUNDS):
        for name, start in starts.items():
            count = _PYROUTE2_LIVE if name == PYROUTE2 else _LIVE
            with closing(start()) as reader:
                reader.begin()
                run_storm(count, _LIVE_INTERVAL_NS)
                result = reader.result()
                received = result.get("events", count - result.get("lost", 0))
                ns[name].append(result["cpu_ns"] / received)

    def row(ours: str, theirs: str) -> Row:
        return Row(_LIVE_FIGURE + ours, theirs, NS_PER_EVENT, ns[ours], ns[theirs])

    return [
        row(DEFAULTS, WOKEN).must(0.55, 0.40, decides=True),
        row(DEFAULTS, NAIVE).must(0.33, 0.24, decides=True),
        *(row(DEFAULTS, it) for it in (PYROUTE2, FORKSTAT) if it in ns),
        row(AT_ONCE, NAIVE).must(0.90, 0.80, decides=True),
        row(AT_ONCE, WOKEN),
        row(BESIDE_A_THREAD, NAIVE),
        row(ONE_MS, NAIVE),
        row(ONE_MS, WOKEN),
        row(TEN_MS, GATHERING).must(1.20, 1.10),
        row(TEN_MS, NAIVE),
        row(TEN_MS, WOKEN),
    ]


def costs(rows: list[Row]) -> dict[str, float]:
    """Find what an event of `live` cost each reader, in nanoseconds."""
    ns = {}
    for row in rows:
        if row.figure.startswith(_LIVE_FIGURE):
            ns[row.figure.removeprefix(_LIVE_FIGURE)] = median(row.ours)
            ns[row.against] = median(row.theirs)
    return ns


def latency() -> list[Row]:
    """Tell how old lone events are, one every 5 ms, when the program has them."""
    starts: dict[str, Callable[[], Reader]] = {
        WOKEN: partial(in_c, "latency", _LONE),
        NAIVE: partial(in_python, "naive_latency", _LONE),
        **ours("latency", _LONE),
    }
    us: dict[str, dict[int, list[float]]] = {name: {50: [], 99: []} for name in starts}
    for _ in range(ROUNDS):
        for name, start in starts.items():
            with closing(start()) as reader:
                reader.begin()
                run_storm(_LONE, _LONE_INTERVAL_NS)
                percentiles = quantiles(_lone(reader.result()["ages"]), n=100)
                for percent, figures in us[name].items():
                    figures.append(percentiles[percent - 1] / 1000)

    def row(ours: str, theirs: str, percent: int) -> Row:
        figure = "median" if percent == 50 else f"{percent}th percentile"
        return Row(
            f"age of a lone event, {figure}, {ours}",
            theirs,
            "µs",
            us[ours][percent],
            us[theirs][percent],
        )

    return [
        row(DEFAULTS, WOKEN, 50).must(1.4, 1.2, decides=True),
        row(DEFAULTS, WOKEN, 99).must(2),
        *(
            row(setting, theirs, percent)
            for setting in (DEFAULTS, AT_ONCE, ONE_MS, TEN_MS)
            for theirs in (WOKEN, NAIVE)
            for percent in (50, 99)
            if (setting, theirs) != (DEFAULTS, WOKEN)
        ),
    ]


def _lone(ages: list[tuple[int, int]]) -> list[int]:
    """Leave out what did not come after a silence, such as the start of the load."""
    return [
        age
        for (before, _), (stamp, age) in pairwise(ages)
        if stamp - before > _LONE_INTERVAL_NS / 2
    ]


def filtering() -> list[Row]:
    """Make events that a mask leaves out."""
    masked, unmasked = "that the mask leaves out", "the same without a mask"
    starts: dict[str, Callable[[], Reader]] = {
        masked: partial(in_python, "masked", int(EventMask.PTRACE)),
        unmasked: partial(in_python, "masked", int(EventMask.ALL)),
    }
    ms: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(ROUNDS):
        for name, start in starts.items():
            with closing(start()) as reader:
                reader.begin()
                run_storm(_MASKED)
                reader.rest()
                reader.finish()
                ms[name].append(reader.result()["cpu_ns"] / 1e6)
    figure = f"{_MASKED:,} events {masked}"
    return [Row(figure, unmasked, "ms", ms[masked], ms[unmasked]).must(0.01)]
