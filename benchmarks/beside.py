"""Commands side by side: who tells what of the same processes."""

from collections import Counter
from contextlib import ExitStack, closing
from itertools import chain
from typing import NamedTuple

from benchmarks.judging import RIGHT, WRONG, Ran, judged, run
from benchmarks.printers import FORKSTAT_FIRST, WATCH, Printer, printers
from benchmarks.report import Row

_SHORT, _CHAINS = 2_000, 1_000
PROCESSES = _SHORT + _CHAINS


class Side(NamedTuple):
    """How a program did beside the others.

    Attributes:
        ahead: how often it was right where `procconn watch` was not.
    """

    reader: str
    verdicts: Counter[str]
    ahead: int


def side_by_side() -> list[Side]:
    """Have all programs read at a time."""
    names = printers()
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(Printer(name))) for name in names]
        ran: Ran = run("short", _SHORT) | run("chains", _CHAINS)
        told = [reader.heard().told for reader in readers]
    verdicts = {
        name: list(chain.from_iterable(judged(ran, it).values()))
        for name, it in zip(names, told, strict=True)
    }
    ours = verdicts[WATCH]
    return [
        Side(
            name,
            Counter(them),
            sum(a == RIGHT != b for a, b in zip(them, ours, strict=True)),
        )
        for name, them in verdicts.items()
    ]


def limits(sides: list[Side]) -> list[Row]:
    """Say what must hold: all that others tell is in ours, and ours is never wrong.

    A program of a higher priority than ours may be ahead.
    """
    figure = f"side by side, {PROCESSES:,} processes: told"
    rows = []
    for side in sides:
        if side.reader == WATCH:
            text, count = f"{figure} wrong by {WATCH}", side.verdicts[WRONG]
        else:
            text, count = f"{figure} right by {side.reader} alone", side.ahead
        row = Row(text, "", "", [count])
        rows.append(row if side.reader == FORKSTAT_FIRST else row.must(0))
    return rows
