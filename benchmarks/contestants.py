"""Who is compared, by the names that the table gives them."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from benchmarks.processes import Forkstat, Reader, has_forkstat, in_c, in_python

ROUNDS = 5  # in which all that are compared take turns

DEFAULTS, AT_ONCE, ONE_MS, TEN_MS = (
    "defaults",
    "max_latency 0",
    "max_latency 1 ms",
    "max_latency 10 ms",
)
BESIDE_A_THREAD = "max_latency 0 beside another thread"
WOKEN = "C, one blocking recv per event"
GATHERING = "C, gathering for 10 ms"
FLOOR = "C, recvfrom until empty"
NAIVE = "naive Python"
FORKSTAT = "forkstat"
PYROUTE2 = "pyroute2"

NS_PER_EVENT = "ns/event"

Starts: TypeAlias = dict[str, Callable[[], Reader | Forkstat]]

SETTINGS: dict[str, dict[str, float]] = {
    DEFAULTS: {},
    AT_ONCE: {"max_latency": 0},
    ONE_MS: {"max_latency": 0.001},
    TEN_MS: {"max_latency": 0.01},
}


def ours(reader: str, count: int) -> dict[str, Callable[[], Reader]]:
    """Make what starts a reader of ours with each setting."""
    return {
        name: partial(in_python, reader, count, **settings)
        for name, settings in SETTINGS.items()
    }


def in_all_languages(count: int) -> Starts:
    """Make what starts those that take so many events one by one."""
    return {
        WOKEN: partial(in_c, "recv", count),
        GATHERING: partial(in_c, "gather", count),
        NAIVE: partial(in_python, "naive", count),
        **ours("iterate", count),
    }


def forkstat(events: str) -> Starts:
    """Make what starts forkstat, if it is there."""
    return {FORKSTAT: partial(Forkstat, events)} if has_forkstat() else {}
