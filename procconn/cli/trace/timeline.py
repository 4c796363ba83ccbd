"""The formats of `--timeline`: a trace for Perfetto, or an SVG picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from procconn.cli.trace import picture
from procconn.cli.trace.lanes import bars
from procconn.pipeline.formats import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from procconn.cli.trace.lanes import Bar, Lifetime

_NS_PER_US = 1000


def trace_events(processes: Iterable[Lifetime], title: str) -> Iterator[str]:
    """Yield the text of a JSON file of Chrome trace events, which Perfetto opens.

    Lanes are written as threads of the first process, so that processes share tracks. A
    counter has the number of running processes. Times are relative to the start.
    """
    laid_out = bars(processes)
    pid = laid_out[0].pid if laid_out else 0
    before = '{"displayTimeUnit": "ms", "traceEvents": ['
    for event in _events(laid_out, title):
        yield before + json.dumps({"pid": pid, **event})
        before = ",\n"
    yield "]}\n"


def svg(processes: Iterable[Lifetime], title: str) -> Iterator[str]:
    """Yield the text of an SVG without scripts or external resources."""
    return picture.draw(bars(processes), title)


FORMATS: dict[str, Callable[[Iterable[Lifetime], str], Iterator[str]]] = {
    ".json": trace_events,
    ".svg": svg,
}
"""The formats by file name suffix. A format yields pieces of text."""


def _events(laid_out: list[Bar], title: str) -> Iterator[dict[str, object]]:
    yield _metadata("process_name", 0, {"name": visible(title)})
    for lane in range(1 + max((bar.lane for bar in laid_out), default=-1)):
        yield _metadata("thread_name", lane + 1, {"name": "lane"})
        yield _metadata("thread_sort_index", lane + 1, {"sort_index": lane})
    yield from map(_slice, laid_out)
    yield from _counts(laid_out)


def _metadata(kind: str, lane: int, value: dict[str, object]) -> dict[str, object]:
    return {"ph": "M", "name": kind, "tid": lane, "args": value}


def _slice(bar: Bar) -> dict[str, object]:
    return {
        "ph": "X",
        "name": bar.program,
        "cat": "failed" if bar.is_failure else "process",
        "tid": bar.lane + 1,
        "ts": bar.start_ns / _NS_PER_US,
        "dur": (bar.end_ns - bar.start_ns) / _NS_PER_US,
        "args": {
            "command": bar.command,
            "pid": bar.pid,
            "parent": bar.ppid,
            "end": bar.ending,
        },
    }


def _counts(laid_out: list[Bar]) -> Iterator[dict[str, object]]:
    changes: dict[int, int] = {}
    for bar in laid_out:
        changes[bar.start_ns] = changes.get(bar.start_ns, 0) + 1
        changes[bar.end_ns] = changes.get(bar.end_ns, 0) - 1
    running = 0
    for at_ns, change in sorted(changes.items()):
        running += change
        yield {
            "ph": "C",
            "name": "running",
            "ts": at_ns / _NS_PER_US,
            "args": {"processes": running},
        }
