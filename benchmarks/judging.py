"""What was run, and whether what was told of it is right."""

import subprocess
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

from benchmarks.printers import Told
from benchmarks.processes import BUILD

Ran = dict[int, list[str]]
"""The command lines of each process, in the order of its execs."""

RIGHT, WRONG, ABSENT = VERDICTS = ("right", "wrong", "absent")


def run(kind: str, count: int) -> Ran:
    """Run commands of a kind, so often; return what was run."""
    done = subprocess.run(
        [BUILD / "commands", kind, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    ran: Ran = {}
    for line in done.stdout.splitlines():
        pid, mark = line.split()
        shell = [f"sh -c exec true {mark}"] if kind == "chains" else []
        ran.setdefault(int(pid), []).extend([*shell, f"true {mark}"])
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
