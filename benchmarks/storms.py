"""A million events at full speed: what the kernel drops."""

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.contestants import GATHERING, NAIVE, ROUNDS, WOKEN
from benchmarks.processes import Command, Reader, in_c, in_python, run_storm
from benchmarks.report import Row

if TYPE_CHECKING:
    from collections.abc import Callable

_STORM = 1_000_000
_UNREACHED = 1_000_000_000
_QUEUE = 67_108_864
_OTHERS = (WOKEN, GATHERING, NAIVE)


def storms() -> list[Row]:
    """Make a million events for us, for the command, and for others."""
    lost: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, lose in _LOSERS.items():
            lost[name] = lost.get(name, 0) + lose()
    others = "; ".join(f"{name}: {lost[name]:,} lost" for name in _OTHERS)
    rows = [
        Row(
            f"{ROUNDS} times {_STORM:,} events at full speed, {name}",
            others,
            "lost",
            [lost[name]],
        ).must(0)
        for name in _LOSERS
        if name not in _OTHERS
    ]
    rows[0].decides = True
    return rows


def _counted(start: "Callable[[], Reader]") -> int:
    """Let a reader count, which ends by itself."""
    with closing(start()) as reader:
        reader.begin()
        run_storm(_STORM)
        lost: int = reader.result()["lost"]
        return lost


def _observed(start: "Callable[[], Reader]") -> int:
    """Return the drops of a reader that does not count them."""
    with closing(start()) as reader:
        reader.begin()
        run_storm(_STORM)
        reader.rest()
        return reader.dropped()


def _reported() -> int:
    """Return the losses that the command reports."""
    command = Command("watch", "--json", "--events", "comm")
    run_storm(_STORM)
    return command.lost()


_LOSERS: "dict[str, Callable[[], int]]" = {
    "defaults": lambda: _counted(partial(in_python, "storm", _STORM)),
    "`watch --json`": _reported,
    "64 MiB queue, the program asleep for a second": lambda: _counted(
        partial(in_python, "storm", _STORM, sleep=1, queue=_QUEUE)
    ),
    WOKEN: lambda: _observed(partial(in_c, "recv", _UNREACHED)),
    GATHERING: lambda: _observed(partial(in_c, "gather", _UNREACHED)),
    NAIVE: lambda: _observed(partial(in_python, "naive", _UNREACHED)),
}
