"""Measure by purpose where a reader's CPU time goes, with perf, as root."""

import argparse
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

from benchmarks.processes import Reader, in_c, in_python, prepare, run_events
from benchmarks.report import (
    PERFORMANCE,
    machine,
    markdown_table,
    measured_on,
    put_into,
)
from benchmarks.scenarios import ROUNDS

_BACKLOG = 60_000
_LIVE = 100_000
_LIVE_INTERVAL_NS = 20_000
_HERTZ = 10_000

# A sample counts for the first purpose that matches one of its frames.
_PURPOSES = {
    "page faults": r"asm_exc_page_fault",
    "sleeping and waking": r"schedule|do_sys_poll|finish_task_switch|_ppoll",
    "kernel: receiving": r"recvfrom|recvmmsg|netlink_recvmsg",
    "cyclic collector": r"gc_collect|visit_decref|visit_reachable|subtract_refs",
    "freeing objects": r"dealloc|_Free|GC_Del|object_free|PyMem_Free",
    "making objects": r"Malloc|Alloc|tuple_new|PyTuple_|PySequence_Tuple|_New|_From"
    r"|Track|NewReference|list_resize|PyList_",
    "C module: drain, check, build": r"_core\.",
    "kernel: other": r"kernel",
    "interpreter and other": r"",
}

_live = partial(in_python, "iterate", _LIVE)
_CASES: dict[str, tuple[Callable[[], Reader], int, int]] = {
    "backlog, C": (partial(in_c, "drain", _BACKLOG), _BACKLOG, 0),
    "backlog": (partial(in_python, "iterate", _BACKLOG), _BACKLOG, 0),
    "live, C": (partial(in_c, "recv", _LIVE), _LIVE, _LIVE_INTERVAL_NS),
    "live, defaults": (_live, _LIVE, _LIVE_INTERVAL_NS),
    "live, 10 ms": (partial(_live, max_latency=0.01), _LIVE, _LIVE_INTERVAL_NS),
    "live, 0": (partial(_live, max_latency=0), _LIVE, _LIVE_INTERVAL_NS),
}


def _profile(start: Callable[[], Reader], count: int, interval: int) -> Counter[str]:
    """Run a case under perf; return the nanoseconds per event by purpose."""
    with closing(start()) as reader, tempfile.NamedTemporaryFile() as file:
        if interval == 0:
            run_events(count)
        with subprocess.Popen(
            [
                *("perf", "record", "-g", "-e", "cpu-clock", "-F", str(_HERTZ)),
                *("-o", file.name, "-p", str(reader.pid)),
            ],
            stderr=subprocess.DEVNULL,
        ) as perf:
            time.sleep(1)  # perf does not report when it has started
            reader.begin()
            if interval != 0:
                run_events(count, interval)
            result = reader.result()
            perf.terminate()
        script = subprocess.run(
            ["perf", "script", "-i", file.name, "-F", "ip,sym,dso"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
    samples = Counter(map(_purpose, _stacks(script.stdout)))
    ns = result["cpu_ns"] / result["events"] / samples.total()
    return Counter({purpose: count * ns for purpose, count in samples.items()})


def _stacks(script: str) -> Iterator[str]:
    return (stack for stack in script.split("\n\n") if stack.strip())


def _purpose(stack: str) -> str:
    """Return the purpose of a sample; in user space it has the innermost frame only."""
    return next(name for name, sign in _PURPOSES.items() if re.search(sign, stack))


def main() -> None:
    """Profile all cases, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.profiling", description=__doc__)
    parser.add_argument(
        "--write", action="store_true", help=f"write the table into {PERFORMANCE.name}"
    )
    options = parser.parse_args()

    facts = machine()
    prepare()
    columns = []
    for case in _CASES.values():
        total: Counter[str] = Counter()
        for _ in range(ROUNDS):
            total.update(_profile(*case))
        columns.append(total)
    lines = [("ns an event", *_CASES)]
    for purpose in _PURPOSES:
        lines.append((purpose, *(f"{it[purpose] / ROUNDS:.0f}" for it in columns)))
    lines.append(("all", *(f"{it.total() / ROUNDS:.0f}" for it in columns)))
    text = f"{markdown_table(lines)}\n\n{measured_on(facts)}"
    print(text)
    if options.write:
        put_into(PERFORMANCE, "profile", text)


if __name__ == "__main__":
    main()
