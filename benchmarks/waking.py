"""How often a reader of programs wakes, by the kernel's count for each thread."""

import os
import time
from contextlib import closing
from pathlib import Path

from benchmarks.contestants import ROUNDS
from benchmarks.processes import Reader, in_python, run_execs
from benchmarks.report import Row

_COMMANDS = 3_000
_INTERVAL_NS = 1_000_000
_LATENCY = 0.01
_QUEUE = 1 << 20
_UNREACHED = 1_000_000_000
_NICE = -20  # of the thread that receives into a queue


def wakeups() -> list[Row]:
    """Run 1,000 commands a second, and count how often the reader's threads wait."""
    count: dict[str, list[float]] = {name: [] for name in _THREADS}
    most: dict[str, list[float]] = {name: [] for name in _THREADS}
    for _ in range(ROUNDS):
        for name, (queue, find) in _THREADS.items():
            settings = {"programs": True, "max_latency": _LATENCY, "queue": queue}
            with closing(in_python("iterate", _UNREACHED, **settings)) as reader:
                reader.begin()
                reader.rest()
                thread = find(reader)
                if thread is None:
                    continue
                before, began = _waits(reader, thread), time.monotonic()
                run_execs(_COMMANDS, _INTERVAL_NS)
                most[name].append((time.monotonic() - began) / _LATENCY)
                count[name].append(_waits(reader, thread) - before)
    return [
        Row(
            f"wake-ups of the {name}, programs, 1,000 commands a second",
            "one in max_latency, 10 ms",
            "",
            count[name],
            most[name],
        ).must(1.3, 1.1)
        for name in _THREADS
        if count[name]
    ]


def _waits(reader: Reader, thread: int) -> int:
    """Tell how often the thread has waited so far: its voluntary context switches."""
    status = Path(f"/proc/{reader.pid}/task/{thread}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def _consumer(reader: Reader) -> int:
    return reader.pid


def _receiver(reader: Reader) -> int | None:
    """Find the thread that receives: None if it may not have that priority."""
    for thread in reader.threads():
        if os.getpriority(os.PRIO_PROCESS, thread) == _NICE:
            return thread
    return None


_THREADS = {
    "consumer": (0, _consumer),
    "consumer of a queue": (_QUEUE, _consumer),
    "thread that receives into a queue": (_QUEUE, _receiver),
}
