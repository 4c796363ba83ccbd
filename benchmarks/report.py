"""Rows of figures, tables of rows, and the documents that show them."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks.processes import BUILD, ROOT, listeners

README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"

_HEADINGS = ("figure", "procconn", "against", "ratio")
_LIMIT_HEADINGS = ("threshold", "stretch goal")


@dataclass
class Row:
    """A figure of procconn and that of another reader, each measured once per round.

    The ratio is the median of the rounds' ratios, because a machine's speed drifts more
    between rounds than within one. The limits apply to the ratio, or, if the figure has
    no counterpart, to the median of procconn's figure.

    Attributes:
        ours: procconn's figure in each round.
        theirs: the other reader's; empty if the figure has no counterpart.
        higher_is_better: whether a larger figure is better. Then the ratio is theirs
            divided by ours, and the limits are lower bounds.
        threshold: the limit that must hold.
        stretch_goal: a stricter limit, which may be missed.
        in_readme: whether the README shows the figure.
    """

    figure: str
    against: str
    unit: str
    ours: list[float]
    theirs: list[float] = field(default_factory=list)
    higher_is_better: bool = False
    threshold: float | None = None
    stretch_goal: float | None = None
    in_readme: bool = False

    def expect(
        self,
        threshold: float,
        stretch_goal: float | None = None,
        *,
        in_readme: bool = False,
    ) -> Self:
        """Set the limits, and whether the README shows the figure."""
        self.threshold, self.stretch_goal = threshold, stretch_goal
        self.in_readme = in_readme
        return self

    @property
    def ratio(self) -> float | None:
        """The median ratio; None if the figure has no counterpart."""
        if not self.theirs:
            return None
        pairs = zip(self.ours, self.theirs, strict=True)
        return median(b / a if self.higher_is_better else a / b for a, b in pairs)

    def meets(self, limit: float | None) -> bool | None:
        """Return whether the limit is met; None if there is no limit."""
        if limit is None:
            return None
        value = median(self.ours) if self.ratio is None else self.ratio
        return value >= limit if self.higher_is_better else value <= limit

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row, without the limits."""
        ratio = "" if self.ratio is None else f"{_number(self.ratio)}×"
        against = self.against
        if self.theirs:
            against += f": {_number(median(self.theirs))} {self.unit}"
        ours = f"{_number(median(self.ours))} {self.unit}"
        return (self.figure, ours.strip(), against.strip(), ratio)

    def limit_cells(self) -> tuple[str, ...]:
        """Return the cells of the limits."""
        return tuple(map(self._limit, (self.threshold, self.stretch_goal)))

    def _limit(self, limit: float | None) -> str:
        if limit is None:
            return ""
        sign = "≥" if self.higher_is_better else "≤"
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


def comparison(
    figure: str, unit: str, results: Mapping[str, list[float]]
) -> Callable[[str, str], Row]:
    """Return a function that builds the row for two readers: ours and theirs."""
    return lambda ours, theirs: Row(
        figure + ours, theirs, unit, results[ours], results[theirs]
    )


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Iterable[Row]) -> str:
    """Return the table for the documents."""
    return markdown_table([_HEADINGS, *(row.cells() for row in rows)])


def table_with_limits(rows: Iterable[Row]) -> str:
    """Return the table for the terminal, with thresholds and stretch goals."""
    lines = [row.cells() + row.limit_cells() for row in rows]
    return markdown_table([_HEADINGS + _LIMIT_HEADINGS, *lines])


def machine() -> dict[str, Any]:
    """Return the kernel, the CPU, the load and the versions."""
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
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "listeners": listeners(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions,
    }


def platform_of(facts: dict[str, Any]) -> str:
    """Describe the CPU, the kernel and the Python implementation."""
    return "{cores} cores of {cpu}, Linux {kernel}, {python}".format(**facts)


def measured_on(facts: dict[str, Any]) -> str:
    """Return the line below a table: the machine, the versions and the load."""
    versions = ", ".join(f"{name} {it}" for name, it in facts["versions"].items())
    return (
        f"Measured on {platform_of(facts)}; {versions}. Load average:"
        f" {facts['load']:.1f}. Other listeners: {facts['listeners'] or 'none'}."
    )


def write_json(name: str, facts: dict[str, Any], **parts: object) -> None:
    """Write all results to build/NAME.json."""
    content = {"machine": facts, **parts}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (BUILD / f"{name}.json").write_text(f"{text}\n")


def require_no_listeners(others: int) -> None:
    """Exit if there are other listeners: they slow down the kernel and its readers."""
    if others:
        sys.exit(
            f"{others} other programs listen to process events, which slows all"
            " readers down: stop them and measure again. No document was changed."
        )


def put_into(document: Path, marker: str, text: str) -> None:
    """Replace the text between two markers of a document."""
    before, begin, rest = document.read_text().partition(f"<!-- {marker} -->\n")
    _, end, after = rest.partition(f"<!-- /{marker} -->")
    if not begin or not end:
        raise ValueError(
            f"{document} lacks <!-- {marker} --> or <!-- /{marker} -->: add both"
        )
    document.write_text(f"{before}{begin}{text}\n{end}{after}")


def markdown_table(lines: list[tuple[str, ...]]) -> str:
    """Return a Markdown table with aligned columns; the first line is its header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    header, *body = lines
    return "\n".join(
        "| " + " | ".join(map(str.ljust, line, widths)) + " |"
        for line in (header, tuple("-" * width for width in widths), *body)
    )
