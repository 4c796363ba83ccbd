"""The system calls of a wake-up, by strace."""

import re
import shutil
import subprocess
import tempfile
from contextlib import closing, contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING

from benchmarks.contestants import AT_ONCE, NAIVE, WOKEN, ours
from benchmarks.processes import Reader, in_c, in_python, run_storm
from benchmarks.report import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONE = 200
_LONE_INTERVAL_NS = 5_000_000

_CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)[( ].* = (-?\d+)", re.MULTILINE)


def calls() -> list[Row]:
    """Count what each reader calls for a lone event, one every 5 ms."""
    if not shutil.which("strace"):
        return []
    starts: dict[str, Callable[[], Reader]] = {
        WOKEN: partial(in_c, "recv", _LONE),
        NAIVE: partial(in_python, "naive", _LONE),
        **ours("iterate", _LONE),
    }
    count = {name: _calls_a_receipt(start) for name, start in starts.items()}
    others = f"{WOKEN}: {count.pop(WOKEN):.3g}, {NAIVE}: {count.pop(NAIVE):.3g}"
    rows = {
        name: Row(f"system calls a wake-up, {name}", others, "", [calls])
        for name, calls in count.items()
    }
    # The wait and the receive, or both in one; drops are asked for once a second.
    rows[AT_ONCE].must(2.02, 1.02)
    return list(rows.values())


def _calls_a_receipt(start: "Callable[[], Reader]") -> float:
    """Divide the calls from the first receipt to the last by what came between."""
    with closing(start()) as reader, tempfile.NamedTemporaryFile("r") as file:
        with _traced(reader, file):
            reader.begin()
            run_storm(_LONE, _LONE_INTERVAL_NS)
            reader.result()
        finished = _CALL.findall(file.read())
    received = [
        at
        for at, (call, result) in enumerate(finished)
        if call.startswith("recv") and int(result) > 0
    ]
    return (received[-1] - received[0]) / (len(received) - 1)


@contextmanager
def _traced(reader: Reader, file: IO[str]) -> "Iterator[None]":
    """Let strace write the calls of all threads of the reader into the file."""
    command = ["strace", "-f", "-o", file.name, "-p", str(reader.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        strace.stderr.readline()  # that it has attached
        yield
        strace.terminate()
        strace.communicate()
