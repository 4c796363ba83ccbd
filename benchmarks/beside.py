"""Commands side by side: what each reader reports of the same processes."""

import shutil
from collections import Counter
from contextlib import ExitStack, closing
from itertools import chain
from typing import NamedTuple

from benchmarks.correctness import RIGHT, WRONG, Ran, results_by_pid, run
from benchmarks.printers import FORKSTAT_FIRST, WATCH, Printer, printers
from benchmarks.report import Row

_SHORT, _CHAINS = 2_000, 1_000
_TRACED = 500, 250
_STRACE = ("strace", "-f", "-o", "/dev/null")


class Side(NamedTuple):
    """How a program did beside the others.

    Attributes:
        ahead: how often it was right where `procconn watch` was not.
        traced: whether the commands ran under strace.
    """

    reader: str
    results: Counter[str]
    ahead: int
    traced: bool = False


def side_by_side(*, traced: bool = False) -> list[Side]:
    """Have all programs read at a time."""
    if traced and shutil.which(_STRACE[0]) is None:
        print("side by side: no strace here")
        return []
    names = printers()
    short, chains = _TRACED if traced else (_SHORT, _CHAINS)
    before = _STRACE if traced else ()
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(Printer(name))) for name in names]
        ran: Ran = run("short", short, *before) | run("chains", chains, *before)
        reported = [reader.heard().reported for reader in readers]
    results = {
        name: list(chain.from_iterable(results_by_pid(ran, it).values()))
        for name, it in zip(names, reported, strict=True)
    }
    ours = results[WATCH]
    return [
        Side(
            name,
            Counter(them),
            sum(a == RIGHT != b for a, b in zip(them, ours, strict=True)),
            traced,
        )
        for name, them in results.items()
    ]


def limits(sides: list[Side]) -> list[Row]:
    """Return the thresholds: ours reports all that others do, and is never wrong.

    A program of a higher priority than ours may be ahead.
    """
    rows = []
    for side in sides:
        short, chains = _TRACED if side.traced else (_SHORT, _CHAINS)
        how = " under strace -f" if side.traced else ""
        figure = f"side by side, {short + chains:,} processes{how}: reported"
        if side.reader == WATCH:
            text, count = f"{figure} wrong by {WATCH}", side.results[WRONG]
        else:
            text, count = f"{figure} right by {side.reader} alone", side.ahead
        row = Row(text, "", "", [count])
        rows.append(row if side.reader == FORKSTAT_FIRST else row.must(0))
    return rows
