"""What is measured. Each function is one measurement, and returns its rows.

Those that are compared take turns, round by round, so that they meet the same moods
of the machine. CPU time is the operating system's account of the reader's process.
"""

import compileall
import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import _cffi_backend

import procconn
from benchmarks.processes import (
    Command,
    Forkstat,
    Reader,
    has_forkstat,
    in_c,
    in_python,
    run_forks,
    run_storm,
)
from benchmarks.report import ROOT, Row
from procconn import EventMask

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7

_BACKLOG = 60_000
_LIVE = 50_000
_LIVE_INTERVAL_NS = 20_000
_PYROUTE2_LIVE = 10_000  # it takes 40 µs for each, so its buffer must hold them
_FORKS = 10_000
_FULL_SPEED = 100_000
_MASKED = 200_000
_STORM = 1_000_000
_UNREACHED = 1_000_000_000
_LATENCY = 1_000
_LATENCY_INTERVAL_NS = 1_000_000
_SCALE_INTERVAL_NS = 2_000
_SCALES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_IMPORTS = 15

_NS_PER_EVENT = "ns/event"
_WOKEN = "C, one blocking recv per event"
_GATHERING = "C, gathering for 10 ms"
_LATENCIES = ("10 ms", "1 ms", "0")


def decoding() -> list[Row]:
    """Decode one buffer in every way; pytest-benchmark takes the time."""
    ns: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run(
                [
                    *(sys.executable, "-m", "pytest", "benchmarks", "--quiet"),
                    "--benchmark-timer=time.process_time",
                    "--benchmark-max-time=0.2",
                    "--benchmark-min-rounds=3",
                    f"--benchmark-json={file.name}",
                ],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            result = json.loads(Path(file.name).read_text())
        for benchmark in result["benchmarks"]:
            seconds = benchmark["stats"]["median"] / benchmark["extra_info"]["events"]
            ns.setdefault(benchmark["params"]["name"], []).append(seconds * 1e9)

    def row(figure: str, ours: str, theirs: str, bar: float, moonshot: float) -> Row:
        against = {"reference": "plain Python"}.get(theirs, theirs)
        return Row(
            figure, against, _NS_PER_EVENT, ns[ours], ns[theirs], True, bar, moonshot
        )

    return [
        row("decode a buffer into events", "decode", "reference", 5, 8),
        row("decode a buffer into events", "decode", "pyroute2", 50, 100),
        row("view a buffer as columns", "columns", "reference", 100, 300),
    ]


def backlog() -> list[Row]:
    """Let events wait, then take them."""
    starts: dict[str, Callable[[], Reader]] = {
        "floor": lambda: in_c("drain", _BACKLOG),
        "iterate": lambda: in_python("iterate", _BACKLOG, 0),
        "columns": lambda: in_python("columns", _BACKLOG),
    }
    ns: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(ROUNDS):
        for name, start in starts.items():
            with closing(start()) as reader:
                run_storm(_BACKLOG)
                reader.begin()
                result = reader.result()
                ns[name].append(result["cpu_ns"] / result["events"])
    against = "C, recvfrom until empty"
    return [
        Row(
            "take a backlog, `for event in connector`",
            against,
            _NS_PER_EVENT,
            ns["iterate"],
            ns["floor"],
            bar=1.25,
            moonshot=1.10,
        ),
        Row(
            "take a backlog, `recv_into` and `as_array`",
            against,
            _NS_PER_EVENT,
            ns["columns"],
            ns["floor"],
        ),
    ]


def live() -> list[Row]:
    """Take events as they come, 50,000 a second."""
    starts: dict[str, tuple[int, Callable[[], Reader | Forkstat]]] = {
        _WOKEN: (_LIVE, lambda: in_c("recv", _LIVE)),
        _GATHERING: (_LIVE, lambda: in_c("gather", _LIVE)),
        "10 ms": (_LIVE, lambda: in_python("iterate", _LIVE, 0.01)),
        "1 ms": (_LIVE, lambda: in_python("iterate", _LIVE, 0.001)),
        "0": (_LIVE, lambda: in_python("iterate", _LIVE, 0)),
        "pyroute2": (_PYROUTE2_LIVE, lambda: in_python("pyroute2", _PYROUTE2_LIVE)),
    }
    if has_forkstat():
        starts["forkstat"] = (_LIVE, lambda: Forkstat("comm"))
    ns: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(ROUNDS):
        for name, (count, start) in starts.items():
            with closing(start()) as reader:
                reader.begin()
                run_storm(count, _LIVE_INTERVAL_NS)
                result = reader.result()
                received = result.get("events", count - result.get("lost", 0))
                ns[name].append(result["cpu_ns"] / received)
    compared = [("10 ms", theirs) for theirs in ns if theirs not in _LATENCIES]
    compared += [("1 ms", _WOKEN), ("0", _WOKEN)]
    return [
        Row(
            f"take 50,000 events a second, max_latency {ours}",
            theirs,
            _NS_PER_EVENT,
            ns[ours],
            ns[theirs],
            bar=0.25 if (ours, theirs) == ("10 ms", _WOKEN) else None,
            moonshot=0.15 if (ours, theirs) == ("10 ms", _WOKEN) else None,
        )
        for ours, theirs in compared
    ]


def producer() -> list[Row]:
    """Time what is watched: what watching adds to it."""
    starts: dict[str, Callable[[], Reader | Forkstat]] = {
        "procconn": lambda: in_python("iterate", _UNREACHED, 0.01),
        _WOKEN: lambda: in_c("recv", _UNREACHED),
        _GATHERING: lambda: in_c("gather", _UNREACHED),
    }
    if has_forkstat():
        starts["forkstat"] = lambda: Forkstat("all")
    loads: dict[str, Callable[[], int]] = {
        "a process that ends at once": lambda: run_forks(_FORKS),
        "an event, 50,000 a second": lambda: run_storm(_LIVE, _LIVE_INTERVAL_NS),
        "an event at full speed": lambda: run_storm(_FULL_SPEED),
    }
    added: dict[str, dict[str, list[float]]] = {
        load: {name: [] for name in starts} for load in loads
    }
    for _ in range(ROUNDS):
        alone = {load: run() for load, run in loads.items()}
        for name, start in starts.items():
            with closing(start()) as reader:
                reader.begin()
                for load, run in loads.items():
                    added[load][name].append((run() / alone[load] - 1) * 100)
    rows = []
    for load, by in added.items():
        for against in reversed(starts):
            if against == "procconn":
                continue
            first = against == "forkstat" and load.startswith("a process")
            rows.append(
                Row(
                    f"added to {load}",
                    against,
                    "%",
                    [median(by["procconn"])],
                    [median(by[against])],
                    bar=1.0 if first else None,
                    moonshot=0.5 if first else None,
                )
            )
    return rows


def filtering() -> list[Row]:
    """Make events that a mask leaves out."""
    ms: dict[str, list[float]] = {"masked": [], "unmasked": []}
    for _ in range(ROUNDS):
        with closing(in_python("masked", int(EventMask.PTRACE))) as reader:
            reader.begin()
            run_storm(_MASKED)
            reader.finish()
            ms["masked"].append(reader.result()["cpu_ns"] / 1e6)
        with closing(in_python("iterate", _MASKED, 0)) as reader:
            reader.begin()
            run_storm(_MASKED)
            ms["unmasked"].append(reader.result()["cpu_ns"] / 1e6)
    return [
        Row(
            f"{_MASKED:,} events that the mask leaves out",
            "the same without a mask",
            "ms",
            ms["masked"],
            ms["unmasked"],
            bar=0.01,
        )
    ]


def storms() -> list[Row]:
    """Make a million events at full speed, for us, for C and for the command."""
    lost: dict[str, list[int]] = {"recv_many": [], "C": [], "watch --json": []}
    for _ in range(ROUNDS):
        with closing(in_python("storm", _STORM)) as reader:
            reader.begin()
            run_storm(_STORM)
            lost["recv_many"].append(reader.result()["lost"])
        with closing(in_c("recv", _UNREACHED)) as reader:
            reader.begin()
            run_storm(_STORM)
            reader.rest()
            lost["C"].append(reader.dropped())
        command = Command("watch", "--json", "--events", "comm")
        run_storm(_STORM)
        lost["watch --json"].append(command.lost())
    figure = f"{ROUNDS} times {_STORM:,} events at full speed"
    total = {name: sum(counts) for name, counts in lost.items()}
    in_c_too = f"{_WOKEN}: {total['C']:,} lost"
    return [
        Row(f"{figure}, `recv_many`", in_c_too, "lost", [total["recv_many"]], bar=0),
        Row(
            f"{figure}, `watch --json`",
            in_c_too,
            "lost",
            [total["watch --json"]],
            moonshot=0,
        ),
    ]


def latency() -> list[Row]:
    """Tell how old events are, a thousand a second, when Python has them."""
    starts: dict[str, Callable[[], Reader]] = {
        "0": lambda: in_python("latency", _LATENCY, 0),
        "10 ms": lambda: in_python("latency", _LATENCY, 0.01),
        "C": lambda: in_c("latency", _LATENCY),
    }
    us: dict[str, dict[int, list[float]]] = {name: {50: [], 99: []} for name in starts}
    for _ in range(ROUNDS):
        for name, start in starts.items():
            with closing(start()) as reader:
                reader.begin()
                run_storm(_LATENCY, _LATENCY_INTERVAL_NS)
                percentiles = quantiles(reader.result()["ages"], n=100)
                for percent, figures in us[name].items():
                    figures.append(percentiles[percent - 1] / 1000)
    return [
        Row(
            f"age of an event, {percent}th percentile, max_latency {name}",
            _WOKEN,
            "µs",
            us[name][percent],
            us["C"][percent],
        )
        for name in ("0", "10 ms")
        for percent in (50, 99)
    ]


def memory() -> list[Row]:
    """Tell what a reader in the midst of events has beyond its imports."""
    mib = []
    for _ in range(ROUNDS):
        with closing(in_python("imports")) as reader:
            reader.begin()
            bare = reader.result()["resident"]
        with closing(in_python("storm", _FULL_SPEED)) as reader:
            reader.begin()
            run_storm(_FULL_SPEED, _LIVE_INTERVAL_NS // 2)
            mib.append((reader.result()["resident"] - bare) / 2**20)
    return [
        Row(
            "memory when reading, above the imports",
            "",
            "MiB",
            mib,
            bar=4,
            moonshot=2,
        )
    ]


def importing() -> list[Row]:
    """Run an interpreter that imports the package, and ones that do not.

    Without `site`, which imports much for an editable installation before a program
    begins, and otherwise little more than `os`.
    """
    package = Path(procconn.__file__).parent
    compileall.compile_dir(package, quiet=1)  # as installing it does
    codes = {"nothing": "", "its modules": _others(), "it": "import procconn"}
    ms: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(_IMPORTS):
        for name, code in codes.items():
            pid = os.posix_spawn(*_bare_python(code))
            _, status, usage = os.wait4(pid, 0)
            assert status == 0
            ms[name].append((usage.ru_utime + usage.ru_stime) * 1000)
    above = {
        name: [ran - idle for ran, idle in zip(figures, ms["nothing"], strict=True)]
        for name, figures in ms.items()
    }
    figure = "`import procconn`, above an interpreter"
    against = "only the modules of others that it imports"
    return [
        Row(figure, "", "ms", above["it"], bar=15, moonshot=8),
        Row(figure, against, "ms", above["it"], above["its modules"]),
    ]


def _bare_python(code: str) -> tuple[str, list[str], dict[str, str]]:
    """Make what starts an interpreter that finds the package, but has not looked."""
    paths = [ROOT, Path(_cffi_backend.__file__).parent]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    python, program = sys.executable, f"import os\n{code}"
    return python, [python, "-S", "-c", program], environment


def _others() -> str:
    """Make the code that imports what the package does, but not the package."""
    code = (
        "import sys; before = {*sys.modules}; import procconn;"
        "print(*(n for n in sys.modules if n not in before and 'procconn' not in n))"
    )
    _, arguments, environment = _bare_python(code)
    names = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, check=True
    )
    return "import " + ", ".join(names.stdout.split())


def scaling() -> list[Row]:
    """Take ever more events; the first thousand are no cheaper than the last."""
    ns: dict[int, list[float]] = {}
    mib: dict[int, float] = {}
    for count in _SCALES:
        ns[count] = []
        for _ in range(ROUNDS if count < _STORM else 1):
            with closing(in_python("storm", count)) as reader:
                reader.begin()
                run_storm(count, _SCALE_INTERVAL_NS)
                result = reader.result()
                ns[count].append(result["cpu_ns"] / (count - result["lost"]))
                mib[count] = result["resident"] / 2**20
    middle = _SCALES[2]
    rows = [
        Row(
            f"{count:,} events in one run",
            f"{middle:,} events",
            _NS_PER_EVENT,
            [median(ns[count])],
            [median(ns[middle])],
        )
        for count in _SCALES
    ]
    last = _SCALES[-1]
    memory = Row(
        f"memory after {last:,} events",
        f"after {middle:,}",
        "MiB",
        [mib[last]],
        [mib[middle]],
    )
    return [*rows, memory]
