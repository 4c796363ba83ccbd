"""Where a reader's time goes, by perf: for a backlog, and for events as they come."""

import argparse
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing

from benchmarks.processes import Reader, in_c, in_python, prepare, run_storm
from benchmarks.report import DOCUMENT, aligned, described, machine, put_into

_ROUNDS = 5
_BACKLOG = 60_000
_LIVE = 100_000
_LIVE_INTERVAL_NS = 20_000
_HERTZ = 10_000

# A sample belongs to the first of these that one of its frames matches.
_SPENT_ON = {
    "page faults": r"asm_exc_page_fault",
    "sleeping and waking": r"schedule|do_sys_poll|finish_task_switch|_ppoll",
    "kernel: receiving": r"recvfrom|recvmmsg|netlink_recvmsg",
    "cyclic collector": r"gc_collect|visit_decref|visit_reachable|subtract_refs",
    "freeing objects": r"dealloc|_Free|GC_Del|object_free|PyMem_Free",
    "making objects": r"Malloc|Alloc|tuple_new|PyTuple_|PySequence_Tuple|_New|_From"
    r"|Track|NewReference|list_resize|PyList_",
    "walk, fill, drain: the C module": r"_core\.",
    "kernel: other": r"kernel",
    "Python's loop, and what is left": r"",
}

_CASES: dict[str, tuple[Callable[[], Reader], int, int]] = {
    "backlog, C": (lambda: in_c("drain", _BACKLOG), _BACKLOG, 0),
    "backlog": (lambda: in_python("iterate", _BACKLOG), _BACKLOG, 0),
    "live, C": (lambda: in_c("recv", _LIVE), _LIVE, _LIVE_INTERVAL_NS),
    "live, defaults": (
        lambda: in_python("iterate", _LIVE),
        _LIVE,
        _LIVE_INTERVAL_NS,
    ),
    "live, 10 ms": (
        lambda: in_python("iterate", _LIVE, max_latency=0.01),
        _LIVE,
        _LIVE_INTERVAL_NS,
    ),
    "live, 0": (
        lambda: in_python("iterate", _LIVE, max_latency=0),
        _LIVE,
        _LIVE_INTERVAL_NS,
    ),
}


def _profile(start: Callable[[], Reader], count: int, interval: int) -> Counter[str]:
    """Run a case under perf; return the nanoseconds of an event by their purpose."""
    with closing(start()) as reader, tempfile.NamedTemporaryFile() as file:
        if interval == 0:
            run_storm(count)
        with subprocess.Popen(
            [
                *("perf", "record", "-g", "-e", "cpu-clock", "-F", str(_HERTZ)),
                *("-o", file.name, "-p", str(reader.pid)),
            ],
            stderr=subprocess.DEVNULL,
        ) as perf:
            time.sleep(1)  # perf does not say when it has begun
            reader.begin()
            if interval != 0:
                run_storm(count, interval)
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
    """Tell what a sample was spent on. User space has no frames but the innermost."""
    return next(what for what, sign in _SPENT_ON.items() if re.search(sign, stack))


def main() -> None:
    """Profile all cases; print a table, and write it into the document if asked to."""
    parser = argparse.ArgumentParser(prog="benchmarks.profiling", description=__doc__)
    parser.add_argument("--document", action="store_true", help=f"also into {DOCUMENT}")
    options = parser.parse_args()

    facts = machine()
    prepare()
    columns = []
    for case in _CASES.values():
        total: Counter[str] = Counter()
        for _ in range(_ROUNDS):
            total.update(_profile(*case))
        columns.append(total)
    lines = [("ns an event", *_CASES)]
    for what in _SPENT_ON:
        lines.append((what, *(f"{column[what] / _ROUNDS:.0f}" for column in columns)))
    lines.append(("all", *(f"{column.total() / _ROUNDS:.0f}" for column in columns)))
    text = f"{aligned(lines)}\n\n{described(facts)}"
    print(text)
    if options.document:
        put_into(DOCUMENT, "profile", text)


if __name__ == "__main__":
    main()
