"""Wake-ups of a reader: the system calls of each, and their number."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import IO

from benchmarks.processes import Process, in_c, in_python, run_events, run_execs
from benchmarks.report import Row
from benchmarks.scenarios import (
    ROUNDS,
    UNLIMITED,
    Ours,
    Start,
    Theirs,
    reading,
    with_settings,
)

_LONE = 200
_LONE_INTERVAL_NS = 5_000_000
_CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)[( ].* = (-?\d+)", re.MULTILINE)

_COMMANDS = 3_000
_COMMAND_INTERVAL_NS = 1_000_000
_LATENCY = 0.01  # seconds
_QUEUE = 1 << 20
_RECEIVER_NICE = -20


def system_calls() -> list[Row]:
    """Count system calls under lone events, one every 5 ms, with strace."""
    if not shutil.which("strace"):
        return []
    starts: dict[str, Start] = {
        Theirs.BLOCKING: partial(in_c, "recv", _LONE),
        Theirs.NAIVE: partial(in_python, "naive", _LONE),
        **with_settings("iterate", _LONE),
    }
    calls = {name: _calls_per_receipt(start) for name, start in starts.items()}
    both = (Theirs.BLOCKING, Theirs.NAIVE)
    others = ", ".join(f"{name}: {calls.pop(name):.3g}" for name in both)
    rows = {
        name: Row(f"system calls a wake-up, {name}", others, "", [count])
        for name, count in calls.items()
    }
    # The wait and the receive, or both in one; the drops are read once a second.
    rows[Ours.AT_ONCE].expect(2.02, 1.02)
    return list(rows.values())


def _calls_per_receipt(start: Start) -> float:
    """Return the mean number of calls from one receipt to the next."""
    with closing(start()) as reader, tempfile.NamedTemporaryFile("r") as file:
        with _traced(reader, file):
            reader.begin()
            run_events(_LONE, _LONE_INTERVAL_NS)
            reader.result()
        calls = _CALL.findall(file.read())
    receipts = [
        index
        for index, (call, result) in enumerate(calls)
        if call.startswith("recv") and int(result) > 0
    ]
    return (receipts[-1] - receipts[0]) / (len(receipts) - 1)


@contextmanager
def _traced(reader: Process, file: IO[str]) -> Iterator[None]:
    """Have strace write the system calls of all threads into the file."""
    command = ["strace", "-f", "-o", file.name, "-p", str(reader.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        strace.stderr.readline()  # "attached"
        yield
        strace.terminate()
        strace.communicate()


def wakeups() -> list[Row]:
    """Count wake-ups under 1,000 commands a second, with programs."""
    counts: dict[str, list[float]] = {name: [] for name in _THREADS}
    expected: dict[str, list[float]] = {name: [] for name in _THREADS}
    for _ in range(ROUNDS):
        for name, (queue, find) in _THREADS.items():
            settings = {"programs": True, "max_latency": _LATENCY, "queue": queue}
            with reading(
                partial(in_python, "iterate", UNLIMITED, **settings)
            ) as reader:
                reader.wait_until_idle()
                thread = find(reader)
                if thread is None:
                    continue
                before, start = _waits(reader, thread), time.monotonic()
                run_execs(_COMMANDS, _COMMAND_INTERVAL_NS)
                expected[name].append((time.monotonic() - start) / _LATENCY)
                counts[name].append(_waits(reader, thread) - before)
    return [
        Row(
            f"wake-ups of the {name}, programs, 1,000 commands a second",
            "one per max_latency, 10 ms",
            "",
            counts[name],
            expected[name],
        ).expect(1.3, 1.1)
        for name in _THREADS
        if counts[name]
    ]


def _waits(reader: Process, thread: int) -> int:
    return reader.status("voluntary_ctxt_switches", thread)


def _consumer(reader: Process) -> int:
    return reader.pid


def _receiver(reader: Process) -> int | None:
    """Return the thread that fills the queue; None without that priority."""
    for thread in reader.thread_ids():
        if os.getpriority(os.PRIO_PROCESS, thread) == _RECEIVER_NICE:
            return thread
    return None


_THREADS = {
    "consumer": (0, _consumer),
    "consumer of a queue": (_QUEUE, _consumer),
    "thread that fills a queue": (_QUEUE, _receiver),
}
