"""Scenarios: each has a load, the readers that receive its events, and its rows.

A row's name says what is measured, then for which settings of `ProcConnector`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias, TypeVar

from benchmarks.processes import Program, Reader, in_c, in_python

DEFAULTS, AT_ONCE, ONE_MS, TEN_MS = (
    "defaults",
    "max_latency 0",
    "max_latency 1 ms",
    "max_latency 10 ms",
)
SETTINGS: dict[str, dict[str, float]] = {
    DEFAULTS: {},
    AT_ONCE: {"max_latency": 0},
    ONE_MS: {"max_latency": 0.001},
    TEN_MS: {"max_latency": 0.01},
}
THREADED = "max_latency 0, two threads"

BLOCKING = "C, one blocking recv per event"
COALESCING = "C, coalescing for 10 ms"
DRAINING = "C, recvfrom until empty"
NAIVE = "naive Python"
PYROUTE2 = "pyroute2"

NS_PER_EVENT = "ns/event"
UNLIMITED = 1_000_000_000  # events: more than any load makes
ROUNDS = 5

Starts: TypeAlias = dict[str, Callable[[], Reader]]
AnyStarts: TypeAlias = dict[str, Callable[[], Reader | Program]]
T = TypeVar("T")


def take_turns(
    measurements: Mapping[str, Callable[[], T]], rounds: int = ROUNDS
) -> dict[str, list[T]]:
    """Take each measurement once per round; return the results by name."""
    results: dict[str, list[T]] = {name: [] for name in measurements}
    for _ in range(rounds):
        for name, measure in measurements.items():
            results[name].append(measure())
    return results


def with_settings(reader: str, count: int) -> Starts:
    """Return a start of one of our readers for each setting."""
    return {
        name: partial(in_python, reader, count, **settings)
        for name, settings in SETTINGS.items()
    }


def one_by_one(count: int) -> Starts:
    """Return a start of each reader that receives `count` events one by one."""
    return {
        BLOCKING: partial(in_c, "recv", count),
        COALESCING: partial(in_c, "coalesce", count),
        NAIVE: partial(in_python, "naive", count),
        **with_settings("iterate", count),
    }
