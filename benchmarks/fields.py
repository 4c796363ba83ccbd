"""What is shown of a program beside its command line, and how late it is read."""

import os
import pwd
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.correctness import RESULTS, RIGHT, WRONG, Ran, count_field_results, run
from benchmarks.processes import in_python
from benchmarks.report import Row

_IDS = ("uid", "euid", "gid", "egid")
_OVERWRITING = 2_000
HEADINGS = ("machine", "as", "field", *RESULTS)


class Fields(NamedTuple):
    """How often each field of the same commands was right, wrong or absent."""

    machine: str
    user: str
    results: dict[str, Counter[str]]

    def share(self, field: str, result: str = RIGHT) -> float:
        """Return the percentage with this result."""
        return 100 * self.results[field][result] / self.results[field].total()

    def cells(self) -> list[tuple[str, ...]]:
        """Write the rows, one for each field."""
        return [
            (
                *(self.machine, self.user, field),
                *(f"{self.share(field, result):.2f} %" for result in RESULTS),
            )
            for field in self.results
        ]

    def limits(self) -> list[Row]:
        """Say what must hold on a quiet machine, and that nothing may be wrong."""
        figure = f"fields as {self.user}, {self.machine}:"
        wrong = sum(counter[WRONG] for counter in self.results.values())
        rows = [Row(f"{figure} wrong", "", "", [wrong]).must(0)]
        if self.machine == "quiet":
            cwd = Row(f"{figure} cwd right", "", "%", [self.share("cwd")], faster=True)
            rows.append(cwd.must(99) if self.user == "root" else cwd)
            # At normal priority many programs have ended before anything can be read.
            read = max(self.share(field) for field in self.results)
            of_read = 100 * self.share("cwd") / max(read, 1)
            figure_read = f"{figure} cwd right, of programs that were read"
            rows.append(Row(figure_read, "", "%", [of_read], faster=True).must(90))
        if self.machine == "quiet" and self.user == "root":
            least = min(self.share(field) for field in (*_IDS, "name"))
            row = Row(f"{figure} ids and name right", "", "%", [least], faster=True)
            rows.append(row.must(99.9))
        return rows


def _shown(
    commands: Callable[[], Ran], nobody: bool
) -> tuple[Ran, list[tuple[int, str | None, dict[str, Any]]]]:
    """Run commands before a reader; return what was run and all that it shows."""
    reader = in_python("programs", nobody=nobody, programs=True, fields=True)
    with closing(reader):
        reader.begin()
        ran = commands()
        reader.rest()
        reader.finish()
        return ran, [tuple(it) for it in reader.result()["shown"]]


def try_fields(
    commands: int,
    chains: int,
    machine: str,
    load: AbstractContextManager[None],
    *,
    nobody: bool,
) -> Fields:
    """Run commands as the reader's user under load; check the fields shown."""

    def both() -> Ran:
        with load:
            short = run("short", commands, nobody=nobody)
            return short | run("chains", chains, nobody=nobody)

    ran, shown = _shown(both, nobody)
    user = pwd.getpwnam("nobody" if nobody else "root")
    expected = dict(zip(_IDS, [user.pw_uid] * 2 + [user.pw_gid] * 2, strict=True))
    results = count_field_results(ran, shown, {"cwd": os.getcwd(), **expected})
    return Fields(machine, "nobody" if nobody else "root", results)


def overwritten(*, nobody: bool) -> Row:
    """Count how often a program that writes over its argument at once is shown so.

    It is the same program, so this is not wrong. It depends on when it is read.
    """
    ran, shown = _shown(lambda: run("overwrite", _OVERWRITING, nobody=nobody), nobody)
    texts = [
        text
        for pid, text, _ in shown
        if pid in ran and text is not None and Path(text).name.startswith("overwriter")
    ]
    later = sum("x" in text.split()[-1] for text in texts)
    user = "nobody" if nobody else "root"
    figure = f"static programs that overwrite argv[1] at once, shown so to {user}"
    return Row(figure, "", "%", [100 * later / max(1, len(texts))])
