"""What is shown of a program beside its command line, and how late it is read."""

import os
import pwd
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.judging import RIGHT, VERDICTS, WRONG, Ran, judge_fields, run
from benchmarks.processes import in_python
from benchmarks.report import Row

_IDS = ("uid", "euid", "gid", "egid")
_OVERWRITING = 2_000
HEADINGS = ("machine", "as", "field", *VERDICTS)


class Fields(NamedTuple):
    """How often each field of the same commands was right, wrong or absent."""

    machine: str
    user: str
    verdicts: dict[str, Counter[str]]

    def share(self, field: str, verdict: str = RIGHT) -> float:
        """Tell how many of a hundred were judged so."""
        return 100 * self.verdicts[field][verdict] / self.verdicts[field].total()

    def cells(self) -> list[tuple[str, ...]]:
        """Write the rows, one for each field."""
        return [
            (
                *(self.machine, self.user, field),
                *(f"{self.share(field, verdict):.2f} %" for verdict in VERDICTS),
            )
            for field in self.verdicts
        ]

    def limits(self) -> list[Row]:
        """Say what must hold on a quiet machine, and that nothing may be wrong."""
        figure = f"fields as {self.user}, {self.machine}:"
        wrong = sum(counter[WRONG] for counter in self.verdicts.values())
        rows = [Row(f"{figure} wrong", "", "", [wrong]).must(0)]
        if self.machine == "quiet":
            cwd = Row(f"{figure} cwd right", "", "%", [self.share("cwd")], faster=True)
            rows.append(cwd.must(99) if self.user == "root" else cwd)
            # At normal priority many programs have ended before anything can be read.
            read = max(self.share(field) for field in self.verdicts)
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
    """Run commands as the reader's user, beside a load; judge what is shown of them."""

    def both() -> Ran:
        with load:
            short = run("short", commands, nobody=nobody)
            return short | run("chains", chains, nobody=nobody)

    ran, shown = _shown(both, nobody)
    user = pwd.getpwnam("nobody" if nobody else "root")
    expected = dict(zip(_IDS, [user.pw_uid] * 2 + [user.pw_gid] * 2, strict=True))
    verdicts = judge_fields(ran, shown, {"cwd": os.getcwd(), **expected})
    return Fields(machine, "nobody" if nobody else "root", verdicts)


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
