"""The table: one row for each figure, with what it was measured against."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Self

from benchmarks.processes import ROOT, listeners

JSON_FILE = ROOT / "build" / "bench.json"
DOCUMENT = ROOT / "docs" / "performance.md"

_HEADINGS = ("figure", "procconn", "against", "ratio", "threshold", "stretch goal")
_UNLIMITED = 4  # the first of them


@dataclass
class Row:
    """A figure of ours and its counterpart, one pair for each round.

    `ratio` is the median of the rounds' ratios, as a machine's speed drifts between
    rounds more than within one. `must` sets limits for it, or for our
    own figure if that has no counterpart: a threshold and a stretch goal.

    Attributes:
        ours: our figure in each round.
        theirs: what it was measured against; empty if there is nothing to divide by.
        faster: whether more is better: the ratio says how many times ours goes into
            theirs, and the limits are the least it may be.
        threshold: what must be reached; `stretch_goal`: what we would like to reach.
        decides: whether the figure is one of the few that the README shows.
    """

    figure: str
    against: str
    unit: str
    ours: list[float]
    theirs: list[float] = field(default_factory=list)
    faster: bool = False
    threshold: float | None = None
    stretch_goal: float | None = None
    decides: bool = False

    def must(
        self,
        threshold: float,
        stretch_goal: float | None = None,
        *,
        decides: bool = False,
    ) -> Self:
        """Set the limits, and whether the README shows the figure."""
        self.threshold, self.stretch_goal = threshold, stretch_goal
        self.decides = decides
        return self

    @property
    def ratio(self) -> float | None:
        """The median ratio; None if there is nothing to divide by."""
        if not self.theirs:
            return None
        pairs = zip(self.ours, self.theirs, strict=True)
        return median(b / a if self.faster else a / b for a, b in pairs)

    def meets(self, limit: float | None) -> bool | None:
        """Return whether the limit is met; None if there is no limit."""
        if limit is None:
            return None
        value = median(self.ours) if self.ratio is None else self.ratio
        return value >= limit if self.faster else value <= limit

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row."""
        ratio = "" if self.ratio is None else f"{_number(self.ratio)}×"
        against = self.against
        if self.theirs:
            against += f": {_number(median(self.theirs))} {self.unit}"
        ours = f"{_number(median(self.ours))} {self.unit}"
        limits = (self._limit(self.threshold), self._limit(self.stretch_goal))
        return (self.figure, ours.strip(), against.strip(), ratio, *limits)

    def _limit(self, limit: float | None) -> str:
        if limit is None:
            return ""
        sign = "≥" if self.faster else "≤"
        unit = "×" if self.theirs else f" {self.unit}".rstrip()
        met = "met" if self.meets(limit) else "not met"
        return f"{sign} {_number(limit)}{unit}: {met}"

    def record(self) -> dict[str, object]:
        """Return the row as a record of the JSON file."""
        return asdict(self) | {
            "ratio": self.ratio,
            "meets_threshold": self.meets(self.threshold),
            "meets_stretch_goal": self.meets(self.stretch_goal),
        }


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Iterable[Row]) -> str:
    """Write the rows."""
    return aligned([_HEADINGS, *(row.cells() for row in rows)])


def short_table(rows: Iterable[Row]) -> str:
    """Write the rows that decide, without the limits."""
    lines = [_HEADINGS, *(row.cells() for row in rows if row.decides)]
    return aligned([line[:_UNLIMITED] for line in lines])


def machine() -> dict[str, object]:
    """Describe the machine, who else listens, and the versions."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    versions = {
        name: version(name)
        for name in ("procconn", "cffi", "numpy", "pyroute2", "pytest-benchmark")
    }
    if shutil.which("forkstat"):
        text = subprocess.run(
            ["forkstat", "-h"], capture_output=True, text=True, check=False
        )
        versions["forkstat"] = text.stdout.split()[2] if text.stdout else "unknown"
    return {
        "kernel": platform.release(),
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "listeners": listeners(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions,
    }


def described(facts: dict[str, object]) -> str:
    """Say the machine in one sentence."""
    versions = facts["versions"]
    assert isinstance(versions, dict)
    names = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"Linux {facts['kernel']}, {facts['cores']} cores of {facts['processor']},"
        f" {facts['python']}; {names}. Others kept"
        f" {facts['load']:.1f} cores busy in the minute before."
        f" Other listeners: {facts['listeners'] or 'none'}."
    )


def write_json(rows: list[Row], facts: dict[str, object]) -> None:
    """Keep everything that was measured."""
    JSON_FILE.parent.mkdir(exist_ok=True)
    content = {"machine": facts, "rows": [row.record() for row in rows]}
    JSON_FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def refuse_company(others: int) -> None:
    """End, as no figure is worth publishing that others made worse."""
    if others:
        sys.exit(
            f"{others} other programs listen to process events, which makes every"
            " figure worse: stop them, and measure again. Nothing was written."
        )


def put_into(document: Path, mark: str, text: str) -> None:
    """Put the text between two marks of a document."""
    before, begin, rest = document.read_text().partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    if not begin or not end:
        raise ValueError(f"{document} has no <!-- {mark} --> and <!-- /{mark} -->")
    document.write_text(f"{before}{begin}{text}\n{end}{after}")


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Write a Markdown table that can be read as it is; its first line is the head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = lines
    return "\n".join(
        "| " + " | ".join(map(str.ljust, line, widths)) + " |"
        for line in (head, tuple("-" * width for width in widths), *body)
    )
