"""Runs commands, and checks what readers report of them."""

import subprocess
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.printers import Reported
from benchmarks.processes import BUILD

Ran = dict[int, list[str]]
"""The command lines of each process, in the order of its execs."""

Shown = list[tuple[int, str | None, dict[str, Any]]]
"""PIDs and command lines, with all fields of the program."""

_AS_NOBODY: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}

RIGHT, WRONG, ABSENT = RESULTS = ("right", "wrong", "absent")


def run(kind: str, count: int, *before: str, nobody: bool = False) -> Ran:
    """Run `count` commands of a kind; return what was run.

    Args:
        kind: which commands.
        count: how many.
        before: a program to run them with, and its arguments.
        nobody: whether an ordinary user runs them.
    """
    done = subprocess.run(
        [*before, BUILD / "commands", kind, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        **(_AS_NOBODY if nobody else {}),
    )
    name = "overwriter" if kind == "overwrite" else "true"
    ran: Ran = {}
    for line in done.stdout.splitlines():
        pid, mark = line.split()
        shell = [f"sh -c exec true {mark}"] if kind == "chains" else []
        ran.setdefault(int(pid), []).extend([*shell, f"{name} {mark}"])
    return ran


def count_results(ran: Ran, reported: Reported) -> Counter[str]:
    """Count the reported command lines that are right, wrong and absent."""
    return Counter(chain.from_iterable(results_by_pid(ran, reported).values()))


def results_by_pid(ran: Ran, reported: Reported) -> dict[int, list[str]]:
    """Return the results for each process, in the order of its execs.

    If a reader reports fewer command lines of a process than it ran, the last one is
    compared with the last program if that matches, and else with the first.
    """
    heard: dict[int, list[str | None]] = defaultdict(list)
    for pid, text in reported:
        heard[pid].append(text)
    results = {}
    for pid, lines in ran.items():
        texts = heard[pid]
        missing: list[str | None] = [None] * (len(lines) - len(texts))
        late = texts and texts[-1] == lines[-1]
        texts = [*missing, *texts] if late else [*texts, *missing]
        results[pid] = list(map(_result, lines, texts))
    return results


def _result(line: str, text: str | None) -> str:
    if text is None or Path(text).name == line.split(maxsplit=1)[0]:  # the name
        return ABSENT
    return RIGHT if text == line else WRONG


def count_field_results(
    ran: Ran, shown: Shown, expected: dict[str, Any]
) -> dict[str, Counter[str]]:
    """Count for each field how often it is right, wrong, or not shown at all.

    The name is that of the command, all else is as expected of every command.
    """
    found = {(pid, text): fields for pid, text, fields in shown}
    results: dict[str, Counter[str]] = defaultdict(Counter)
    for pid, lines in ran.items():
        for line in lines:
            fields = found.get((pid, line), {})
            for name, value in {**expected, "name": line.split()[0]}.items():
                shown_value = fields.get(name)
                if shown_value is None:
                    results[name][ABSENT] += 1
                else:
                    results[name][RIGHT if shown_value == value else WRONG] += 1
    return results
