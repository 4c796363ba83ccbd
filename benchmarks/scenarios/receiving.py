"""Receiving COMM events: the reader's CPU time, and the events' age."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import pairwise
from statistics import median, quantiles

from benchmarks.processes import (
    FORKSTAT,
    Reader,
    forkstat,
    in_c,
    in_python,
    run_events,
)
from benchmarks.report import Row, comparison
from benchmarks.scenarios import (
    AT_ONCE,
    BLOCKING,
    COALESCING,
    DEFAULTS,
    DRAINING,
    NAIVE,
    NS_PER_EVENT,
    ONE_MS,
    PYROUTE2,
    TEN_MS,
    THREADED,
    AnyStarts,
    Starts,
    one_by_one,
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
    iterator, columns = "`for event in connector`", "`recv_into` and `as_array`"
    starts: Starts = {
        DRAINING: partial(in_c, "drain", _BACKLOG),
        NAIVE: partial(in_python, "naive", _BACKLOG),
        iterator: partial(in_python, "iterate", _BACKLOG),
        columns: partial(in_python, "columns", _BACKLOG),
    }

    def measure(start: Callable[[], Reader]) -> float:
        with closing(start()) as reader:
            run_events(_BACKLOG)
            reader.begin()
            result = reader.result()
            return float(result["cpu_ns"] / result["events"])

    ns = take_turns({name: partial(measure, it) for name, it in starts.items()})
    row = comparison("receive a backlog, ", NS_PER_EVENT, ns)
    return [
        row(iterator, DRAINING).expect(1.15, 1.0, in_readme=True),
        row(iterator, NAIVE),
        row(columns, DRAINING),
    ]


def live() -> list[Row]:
    """Receive 50,000 events a second as they happen."""
    starts: AnyStarts = {
        **one_by_one(_LIVE),
        THREADED: partial(in_python, "iterate_threaded", _LIVE, max_latency=0),
        PYROUTE2: partial(in_python, "pyroute2", _PYROUTE2_LIVE),
        **forkstat("comm"),
    }

    def measure(name: str) -> float:
        count = _PYROUTE2_LIVE if name == PYROUTE2 else _LIVE
        with closing(starts[name]()) as reader:
            reader.begin()
            run_events(count, _LIVE_INTERVAL_NS)
            result = reader.result()
            received = result.get("events", count - result.get("lost", 0))
            return float(result["cpu_ns"] / received)

    ns = take_turns({name: partial(measure, name) for name in starts})
    row = comparison(_LIVE_FIGURE, NS_PER_EVENT, ns)
    return [
        row(DEFAULTS, BLOCKING).expect(0.55, 0.40, in_readme=True),
        row(DEFAULTS, NAIVE).expect(0.33, 0.24, in_readme=True),
        *(row(DEFAULTS, it) for it in (PYROUTE2, FORKSTAT) if it in ns),
        row(AT_ONCE, NAIVE).expect(0.90, 0.80, in_readme=True),
        row(AT_ONCE, BLOCKING),
        row(THREADED, NAIVE),
        row(ONE_MS, NAIVE),
        row(ONE_MS, BLOCKING),
        row(TEN_MS, COALESCING).expect(1.20, 1.10),
        row(TEN_MS, NAIVE),
        row(TEN_MS, BLOCKING),
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
    starts: Starts = {
        BLOCKING: partial(in_c, "latency", _LONE),
        NAIVE: partial(in_python, "naive_latency", _LONE),
        **with_settings("latency", _LONE),
    }

    def measure(start: Callable[[], Reader]) -> list[float]:
        with closing(start()) as reader:
            reader.begin()
            run_events(_LONE, _LONE_INTERVAL_NS)
            return quantiles(_lone(reader.result()["ages"]), n=100)

    ns = take_turns({name: partial(measure, it) for name, it in starts.items()})
    rows = {
        percent: comparison(
            f"age of a lone event, {figure}, ",
            "µs",
            {name: [it[percent - 1] / 1000 for it in ns[name]] for name in ns},
        )
        for percent, figure in ((50, "median"), (99, "99th percentile"))
    }
    return [
        rows[50](DEFAULTS, BLOCKING).expect(1.4, 1.2, in_readme=True),
        rows[99](DEFAULTS, BLOCKING).expect(2),
        *(
            row(setting, theirs)
            for setting in (DEFAULTS, AT_ONCE, ONE_MS, TEN_MS)
            for theirs in (BLOCKING, NAIVE)
            for row in rows.values()
            if (setting, theirs) != (DEFAULTS, BLOCKING)
        ),
    ]


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
            reader.wait_until_idle()
            reader.finish()
            return float(reader.result()["cpu_ns"] / 1e6)

    masked, unmasked = "excluded by the mask", "without a mask"
    masks = {masked: EventMask.PTRACE, unmasked: EventMask.ALL}
    ms = take_turns({name: partial(measure, mask) for name, mask in masks.items()})
    row = comparison(f"{_MASKED:,} events ", "ms", ms)
    return [row(masked, unmasked).expect(0.01)]
