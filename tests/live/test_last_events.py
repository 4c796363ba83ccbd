"""Events before a signal are reported, whatever the command does when it comes."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.live import DEADLINE, lost_count, serials_of
from support.subprocesses import PROGRAMS

from procconn import recording

MOMENTS = 32  # more than it takes to bring some events and to wait for others


def recorded(path: Path, pid: int) -> tuple[list[int], int]:
    """Tell the numbers that a process named itself, and how much was lost."""
    with recording.open(path) as replayed:
        events = list(replayed)
    return serials_of(events, pid), lost_count(events)


def watched(path: Path, pid: int) -> tuple[list[int], int]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = [line["name"] for line in lines if line.get("pid") == pid]
    serials = [int(name) for name in names if name.isdigit()]
    return serials, sum(line.get("count", 0) for line in lines)


def counted(path: Path, _: int) -> tuple[list[int], int]:
    seconds = [json.loads(line) for line in path.read_text().splitlines()]
    count = sum(second["events"].get("comm", 0) for second in seconds)
    count = min(count, 100)  # one more is the library's own
    return list(range(count)), sum(second["lost"] for second in seconds)


@pytest.mark.parametrize(
    ("command", "read_output"),
    [
        (("record", "{}/@"), recorded),
        (("watch", "--json", "--pid", "own", "-o", "{}/@"), watched),
        (("stat", "--json", "--pid", "own", "-o", "{}/@"), counted),
    ],
    ids=["record", "watch", "stat"],
)
def test_what_happened_until_a_signal_is_told_at_any_moment(
    command: tuple[str, ...],
    read_output: Callable[[Path, int], tuple[list[int], int]],
    tmp_path: Path,
) -> None:
    words = [it.format(tmp_path) for it in command]
    done = subprocess.run(
        [
            *(sys.executable, PROGRAMS / "signalled.py", str(signal.SIGTERM)),
            *(str(MOMENTS), *words, "--events", "comm", "--duration", "5"),
        ],
        stdout=subprocess.PIPE,
        timeout=2 * DEADLINE,
        text=True,
        check=True,
    )
    rounds = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    wrong = {}
    for moment, pid, status in rounds:
        serials, lost = read_output(tmp_path / str(moment), pid)
        if status != 0 or (not lost and serials != list(range(100))):
            wrong[moment] = (status, lost, serials)

    assert {} == wrong
    assert len(rounds) > MOMENTS / 2
