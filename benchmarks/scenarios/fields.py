"""Fields of a program beside its command line."""

import os
import pwd
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import in_python
from benchmarks.report import Row
from benchmarks.results import (
    RESULTS,
    RIGHT,
    WRONG,
    CommandsByPid,
    Programs,
    count_field_results,
    run,
)
from benchmarks.scenarios.command_lines import (
    CHAINED_COMMANDS,
    SHORT_COMMANDS,
    load,
    load_name,
    user_name,
)

_IDS = ("uid", "euid", "gid", "egid")
_OVERWRITING = 2_000
HEADINGS = ("load", "user", "field", *RESULTS)


class Fields(NamedTuple):
    """The results of each field, over the same commands."""

    busy: bool
    nobody: bool
    results: dict[str, Counter[str]]

    def share(self, field: str, result: str = RIGHT) -> float:
        """Return the percentage with this result."""
        return 100 * self.results[field][result] / self.results[field].total()

    def cells(self) -> list[tuple[str, ...]]:
        """Return the cells of the rows, one for each field."""
        return [
            (
                *(load_name(self.busy), user_name(self.nobody), field),
                *(f"{self.share(field, result):.2f} %" for result in RESULTS),
            )
            for field in self.results
        ]

    def limits(self) -> list[Row]:
        """Return the rows with limits."""
        figure = f"fields as {user_name(self.nobody)}, {load_name(self.busy)}:"
        wrong = sum(counter[WRONG] for counter in self.results.values())
        rows = [Row(f"{figure} wrong", "", "", [wrong]).expect(0)]
        if self.busy:
            return rows
        cwd = Row(
            f"{figure} cwd right", "", "%", [self.share("cwd")], higher_is_better=True
        )
        rows.append(cwd if self.nobody else cwd.expect(99))
        # At normal priority, many programs have exited before they are read.
        read = max(self.share(field) for field in self.results)
        of_read = 100 * self.share("cwd") / max(read, 1)
        figure_read = f"{figure} cwd right, of programs that were read"
        rows.append(
            Row(figure_read, "", "%", [of_read], higher_is_better=True).expect(90)
        )
        if not self.nobody:
            least = min(self.share(field) for field in (*_IDS, "name"))
            row = Row(
                f"{figure} ids and name right", "", "%", [least], higher_is_better=True
            )
            rows.append(row.expect(99.9))
        return rows


def _reported(
    commands: Callable[[], CommandsByPid], nobody: bool
) -> tuple[CommandsByPid, Programs]:
    """Run commands; return them and the programs that a reader reported."""
    reader = in_python("programs", nobody=nobody, programs=True, fields=True)
    with closing(reader):
        reader.begin()
        executed = commands()
        return executed, [tuple(it) for it in reader.finish()["programs"]]


def try_fields(*, busy: bool, nobody: bool) -> Fields:
    """Run commands as the reader's user, and count the results of each field."""

    def commands() -> CommandsByPid:
        with load(busy):
            short = run("short", SHORT_COMMANDS, nobody=nobody)
            return short | run("chains", CHAINED_COMMANDS, nobody=nobody)

    executed, programs = _reported(commands, nobody)
    user = pwd.getpwnam(user_name(nobody))
    expected = dict(zip(_IDS, [user.pw_uid] * 2 + [user.pw_gid] * 2, strict=True))
    results = count_field_results(executed, programs, {"cwd": os.getcwd(), **expected})
    return Fields(busy, nobody, results)


def overwritten(*, nobody: bool) -> Row:
    """Count programs that overwrite argv[1] at once and are reported with the new one.

    It is the same program's, so this is not wrong. It depends on when it is read.
    """
    executed, programs = _reported(
        lambda: run("overwrite", _OVERWRITING, nobody=nobody), nobody
    )
    texts = [
        text
        for pid, text, _ in programs
        if pid in executed
        and text is not None
        and Path(text).name.startswith("overwriter")
    ]
    later = sum("x" in text.split()[-1] for text in texts)
    figure = "static programs that overwrite argv[1] at once, reported so to"
    share = 100 * later / max(1, len(texts))
    return Row(f"{figure} {user_name(nobody)}", "", "%", [share])
