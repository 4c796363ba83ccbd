"""The command reports all events that happened before a signal, at any point."""

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

SIGNAL_RUNS = (sys.executable, PROGRAMS / "signal_at_each_point.py")
POINTS = 32  # enough to process some events and to wait for others


def recorded(path: Path, pid: int) -> tuple[list[int], int]:
    """Return the serials that a process set as its name, and the number of lost events.

    The other readers return the same from other outputs.
    """
    with recording.open(path) as replayed:
        events = list(replayed)
    return serials_of(events, pid), lost_count(events)


def watched(path: Path, pid: int) -> tuple[list[int], int]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = [line["name"] for line in lines if line.get("pid") == pid]
    serials = [int(name) for name in names if name.isdigit()]
    return serials, sum(line.get("count", 0) for line in lines)


def counted(path: Path, _: int) -> tuple[list[int], int]:
    intervals = [json.loads(line) for line in path.read_text().splitlines()]
    count = sum(interval["events"].get("comm", 0) for interval in intervals)
    count = min(count, 100)  # the library sets the name once itself
    return list(range(count)), sum(interval["lost"] for interval in intervals)


@pytest.mark.parametrize(
    ("command", "read_output"),
    [
        (("record", "{}/@"), recorded),
        (("watch", "--json", "--pid", "own", "-o", "{}/@"), watched),
        (("stat", "--json", "--pid", "own", "-o", "{}/@"), counted),
    ],
    ids=["record", "watch", "stat"],
)
def test_events_before_a_signal_are_reported_at_any_point(
    command: tuple[str, ...],
    read_output: Callable[[Path, int], tuple[list[int], int]],
    tmp_path: Path,
) -> None:
    words = [word.format(tmp_path) for word in command]
    done = subprocess.run(
        [
            *(*SIGNAL_RUNS, str(signal.SIGTERM), str(POINTS)),
            *(*words, "--events", "comm", "--duration", "5"),
        ],
        stdout=subprocess.PIPE,
        timeout=2 * DEADLINE,
        text=True,
        check=True,
    )
    runs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    wrong = {}
    for point, pid, status in runs:
        serials, lost = read_output(tmp_path / str(point), pid)
        if status != 0 or (not lost and serials != list(range(100))):
            wrong[point] = (status, lost, serials)

    assert {} == wrong
    assert len(runs) > POINTS / 2
