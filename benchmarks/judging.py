"""What was run, and whether what was told of it is right."""

import subprocess
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.printers import Told
from benchmarks.processes import BUILD

Ran = dict[int, list[str]]
"""The command lines of each process, in the order of its execs."""

Shown = list[tuple[int, str | None, dict[str, Any]]]
"""Process ids and command lines, with all that is shown of the program."""

_AS_NOBODY: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}

RIGHT, WRONG, ABSENT = VERDICTS = ("right", "wrong", "absent")


def run(kind: str, count: int, *before: str, nobody: bool = False) -> Ran:
    """Run commands of a kind, so often; return what was run.

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


def judge(ran: Ran, told: Told) -> Counter[str]:
    """Count what was told right, wrong and not at all."""
    return Counter(chain.from_iterable(judged(ran, told).values()))


def judged(ran: Ran, told: Told) -> dict[int, list[str]]:
    """Judge what was told of each process, in the order of its execs.

    If less was told of a process than it ran, what was told last is taken for the last
    program if that is right, and else for the first.
    """
    heard: dict[int, list[str | None]] = defaultdict(list)
    for pid, text in told:
        heard[pid].append(text)
    verdicts = {}
    for pid, lines in ran.items():
        texts = heard[pid]
        missing: list[str | None] = [None] * (len(lines) - len(texts))
        late = texts and texts[-1] == lines[-1]
        texts = [*missing, *texts] if late else [*texts, *missing]
        verdicts[pid] = list(map(_verdict, lines, texts))
    return verdicts


def _verdict(line: str, text: str | None) -> str:
    if text is None or Path(text).name == line.split(maxsplit=1)[0]:  # the name
        return ABSENT
    return RIGHT if text == line else WRONG


def judge_fields(
    ran: Ran, shown: Shown, expected: dict[str, Any]
) -> dict[str, Counter[str]]:
    """Count for each field how often it is right, wrong, or not shown at all.

    The name is that of the command, all else is as expected of every command.
    """
    found = {(pid, text): fields for pid, text, fields in shown}
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for pid, lines in ran.items():
        for line in lines:
            fields = found.get((pid, line), {})
            for name, value in {**expected, "name": line.split()[0]}.items():
                told = fields.get(name)
                verdict = ABSENT if told is None else RIGHT if told == value else WRONG
                verdicts[name][verdict] += 1
    return verdicts
