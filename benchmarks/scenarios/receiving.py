"""Receiving COMM events: the reader's CPU time, and the events' age."""

from contextlib import closing
from functools import partial
from itertools import pairwise
from statistics import median, quantiles

from benchmarks.processes import forkstat, in_c, in_python, run_events
from benchmarks.report import Row, comparison
from benchmarks.scenarios import (
    NS_PER_EVENT,
    Ours,
    Start,
    Theirs,
    one_by_one,
    reading,
    take_turns,
    with_settings,
)
from procconn import EventMask

_BACKLOG = 60_000
_LIVE = 50_000
_LIVE_INTERVAL_NS = 20_000
_LIVE_FIGURE = "receive 50,000 events a second, "
_PYROUTE2_LIVE = 10_000  # at 40 µs each: more would overrun its receive buffer
_LONE = 500
_LONE_INTERVAL_NS = 5_000_000
_MASKED = 200_000


def backlog() -> list[Row]:
    """Receive events that wait in the receive buffer."""

    def measure(start: Start) -> float:
        with closing(start()) as reader:
            run_events(_BACKLOG)
            reader.begin()
            result = reader.result()
            return float(result["cpu_ns"] / result["events"])

    iterator, columns = "`for event in connector`", "`recv_into` and `as_array`"
    starts: dict[str, Start] = {
        Theirs.DRAINING: partial(in_c, "drain", _BACKLOG),
        Theirs.NAIVE: partial(in_python, "naive", _BACKLOG),
        iterator: partial(in_python, "iterate", _BACKLOG),
        columns: partial(in_python, "columns", _BACKLOG),
    }
    ns = take_turns(measure, starts)
    row = comparison("receive a backlog, ", NS_PER_EVENT, ns)
    return [
        row(iterator, Theirs.DRAINING).expect(1.15, 1.0, in_readme=True),
        row(iterator, Theirs.NAIVE),
        row(columns, Theirs.DRAINING),
    ]


def live() -> list[Row]:
    """Receive 50,000 events a second as they happen."""

    def measure(name: str) -> float:
        count = _PYROUTE2_LIVE if name == Theirs.PYROUTE2 else _LIVE
        with reading(starts[name]) as reader:
            run_events(count, _LIVE_INTERVAL_NS)
            result = reader.result()
            received = result.get("events", count - result.get("lost", 0))
            return float(result["cpu_ns"] / received)

    starts: dict[str, Start] = {
        **one_by_one(_LIVE),
        Ours.THREADED: partial(in_python, "iterate_threaded", _LIVE, max_latency=0),
        Theirs.PYROUTE2: partial(in_python, "pyroute2", _PYROUTE2_LIVE),
        **forkstat("comm"),
    }
    ns = take_turns(measure, {name: name for name in starts})
    row = comparison(_LIVE_FIGURE, NS_PER_EVENT, ns)
    others = [it for it in (Theirs.PYROUTE2, Theirs.FORKSTAT) if it in ns]
    return [
        row(Ours.DEFAULTS, Theirs.BLOCKING).expect(0.55, 0.40, in_readme=True),
        row(Ours.DEFAULTS, Theirs.NAIVE).expect(0.33, 0.24, in_readme=True),
        *(row(Ours.DEFAULTS, other) for other in others),
        row(Ours.AT_ONCE, Theirs.NAIVE).expect(0.90, 0.80, in_readme=True),
        row(Ours.AT_ONCE, Theirs.BLOCKING),
        row(Ours.THREADED, Theirs.NAIVE),
        row(Ours.ONE_MS, Theirs.NAIVE),
        row(Ours.ONE_MS, Theirs.BLOCKING),
        row(Ours.TEN_MS, Theirs.COALESCING).expect(1.20, 1.10),
        row(Ours.TEN_MS, Theirs.NAIVE),
        row(Ours.TEN_MS, Theirs.BLOCKING),
    ]


def live_costs(rows: list[Row]) -> dict[str, float]:
    """Return the median CPU time of an event of `live` by reader, in nanoseconds."""
    ns = {}
    for row in rows:
        if row.figure.startswith(_LIVE_FIGURE):
            ns[row.figure.removeprefix(_LIVE_FIGURE)] = median(row.ours)
            ns[row.against] = median(row.theirs)
    return ns


def latency() -> list[Row]:
    """Receive lone events, one every 5 ms; measure their age."""

    def measure(start: Start) -> list[float]:
        with reading(start) as reader:
            run_events(_LONE, _LONE_INTERVAL_NS)
            return quantiles(_lone(reader.result()["ages"]), n=100)

    starts: dict[str, Start] = {
        Theirs.BLOCKING: partial(in_c, "latency", _LONE),
        Theirs.NAIVE: partial(in_python, "naive_latency", _LONE),
        **with_settings("latency", _LONE),
    }
    ns = take_turns(measure, starts)
    half, most = (
        comparison(
            f"age of a lone event, {figure}, ",
            "µs",
            {name: [it[percent - 1] / 1000 for it in ns[name]] for name in ns},
        )
        for percent, figure in ((50, "median"), (99, "99th percentile"))
    )
    pairs = [
        (ours, theirs)
        for ours in (Ours.DEFAULTS, Ours.AT_ONCE, Ours.ONE_MS, Ours.TEN_MS)
        for theirs in (Theirs.BLOCKING, Theirs.NAIVE)
    ]
    rows = [row(*pair) for pair in pairs for row in (half, most)]
    rows[0].expect(1.4, 1.2, in_readme=True)
    rows[1].expect(2)
    return rows


def _lone(ages: list[tuple[int, int]]) -> list[int]:
    """Return the ages of events after a silence: not those of the load's start."""
    return [
        age
        for (before, _), (timestamp, age) in pairwise(ages)
        if timestamp - before > _LONE_INTERVAL_NS / 2
    ]


def filtering() -> list[Row]:
    """Make events that a mask excludes, with and without the mask."""

    def measure(mask: EventMask) -> float:
        with closing(in_python("masked", int(mask))) as reader:
            reader.begin()
            run_events(_MASKED)
            return float(reader.finish()["cpu_ns"] / 1e6)

    masked, unmasked = "excluded by the mask", "without a mask"
    ms = take_turns(measure, {masked: EventMask.PTRACE, unmasked: EventMask.ALL})
    row = comparison(f"{_MASKED:,} events ", "ms", ms)
    return [row(masked, unmasked).expect(0.01)]
