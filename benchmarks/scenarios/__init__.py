"""Scenarios: each has a load, the readers that receive its events, and its rows.

A row's name says what is measured, then for which settings of `ProcConnector`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from enum import StrEnum
from functools import partial
from typing import TypeAlias, TypeVar

from benchmarks.processes import Program, Reader, in_c, in_python


class Ours(StrEnum):
    """The settings of procconn that are compared."""

    DEFAULTS = "defaults"
    AT_ONCE = "max_latency 0"
    ONE_MS = "max_latency 1 ms"
    TEN_MS = "max_latency 10 ms"
    THREADED = "max_latency 0, two threads"


class Theirs(StrEnum):
    """The other readers."""

    BLOCKING = "C, one blocking recv per event"
    COALESCING = "C, coalescing for 10 ms"
    DRAINING = "C, recvfrom until empty"
    NAIVE = "naive Python"
    FORKSTAT = "forkstat"
    PYROUTE2 = "pyroute2"


_SETTINGS: dict[str, dict[str, float]] = {
    Ours.DEFAULTS: {},
    Ours.AT_ONCE: {"max_latency": 0},
    Ours.ONE_MS: {"max_latency": 0.001},
    Ours.TEN_MS: {"max_latency": 0.01},
}

NS_PER_EVENT = "ns/event"
UNLIMITED = 1_000_000_000  # events: more than any load makes
ROUNDS = 5

Start: TypeAlias = Callable[[], Reader | Program]
S = TypeVar("S")
T = TypeVar("T")


def take_turns(
    measure: Callable[[S], T], subjects: Mapping[str, S], rounds: int = ROUNDS
) -> dict[str, list[T]]:
    """Measure each subject once per round; return the results by name."""
    results: dict[str, list[T]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            results[name].append(measure(subject))
    return results


@contextmanager
def reading(start: Start) -> Iterator[Reader | Program]:
    """Start a reader, have it read, and close it in the end."""
    with closing(start()) as reader:
        reader.begin()
        yield reader


def with_settings(reader: str, count: int) -> dict[str, Start]:
    """Return a start of one of our readers for each setting."""
    return {
        name: partial(in_python, reader, count, **settings)
        for name, settings in _SETTINGS.items()
    }


def one_by_one(count: int) -> dict[str, Start]:
    """Return a start of each reader that receives `count` events one by one."""
    return {
        Theirs.BLOCKING: partial(in_c, "recv", count),
        Theirs.COALESCING: partial(in_c, "coalesce", count),
        Theirs.NAIVE: partial(in_python, "naive", count),
        **with_settings("iterate", count),
    }
