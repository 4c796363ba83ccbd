"""Run commands with unique arguments, and count right, wrong and absent reports."""

import subprocess
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.processes import BUILD, CommandLines

CommandsByPid = dict[int, list[str]]
"""The command lines of each process, in the order of its execs."""

Programs = list[tuple[int, str | None, dict[str, Any]]]
"""PIDs, reported command lines, and all reported fields of the programs."""

_AS_NOBODY: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}

RIGHT, WRONG, ABSENT = RESULTS = ("right", "wrong", "absent")


def run(kind: str, count: int, *prefix: str, nobody: bool = False) -> CommandsByPid:
    """Run commands; return their command lines.

    Args:
        kind: "short", "chains" or "overwrite", as in commands.c.
        count: the number of commands.
        prefix: a program to run them with, such as strace, and its arguments.
        nobody: whether they run as an ordinary user.
    """
    done = subprocess.run(
        [*prefix, BUILD / "commands", kind, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        **(_AS_NOBODY if nobody else {}),
    )
    name = "overwriter" if kind == "overwrite" else "true"
    executed: CommandsByPid = {}
    for line in done.stdout.splitlines():
        pid, mark = line.split()
        shell = [f"sh -c exec true {mark}"] if kind == "chains" else []
        executed.setdefault(int(pid), []).extend([*shell, f"{name} {mark}"])
    return executed


def count_results(executed: CommandsByPid, reported: CommandLines) -> Counter[str]:
    """Count the right, wrong and absent command lines."""
    return Counter(chain.from_iterable(results_by_pid(executed, reported).values()))


def results_by_pid(
    executed: CommandsByPid, reported: CommandLines
) -> dict[int, list[str]]:
    """Return the results for each process, in the order of its execs.

    If a reader reported too few command lines for a process, they are aligned with its
    last execs if the last one is right, else with its first execs.
    """
    texts_by_pid: dict[int, list[str | None]] = defaultdict(list)
    for pid, text in reported:
        texts_by_pid[pid].append(text)
    results = {}
    for pid, lines in executed.items():
        texts = texts_by_pid[pid]
        missing: list[str | None] = [None] * (len(lines) - len(texts))
        last_is_right = texts and texts[-1] == lines[-1]
        texts = [*missing, *texts] if last_is_right else [*texts, *missing]
        results[pid] = list(map(_result, lines, texts))
    return results


def _result(line: str, text: str | None) -> str:
    if text is None or Path(text).name == line.split(maxsplit=1)[0]:  # only the name
        return ABSENT
    return RIGHT if text == line else WRONG


def count_field_results(
    executed: CommandsByPid, programs: Programs, expected: dict[str, Any]
) -> dict[str, Counter[str]]:
    """Count the right, wrong and absent values of each field.

    Args:
        executed: the command lines; the first word of each is the expected name.
        programs: the reported programs.
        expected: values of the other fields, the same for all commands.
    """
    found = {(pid, text): fields for pid, text, fields in programs}
    results: dict[str, Counter[str]] = defaultdict(Counter)
    for pid, lines in executed.items():
        for line in lines:
            fields = found.get((pid, line), {})
            for field, value in {**expected, "name": line.split()[0]}.items():
                reported = fields.get(field)
                if reported is None:
                    results[field][ABSENT] += 1
                else:
                    results[field][RIGHT if reported == value else WRONG] += 1
    return results
