"""Footprint: cost over many events, memory, and the time of the import."""

import compileall
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

import _cffi_backend

import procconn
from benchmarks.processes import ROOT, in_python, run_events
from benchmarks.report import Row
from benchmarks.scenarios import NS_PER_EVENT, ROUNDS, reading, take_turns

_READ = 100_000
_READ_INTERVAL_NS = 10_000
_SCALE_INTERVAL_NS = 2_000
_SCALES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_ONE_ROUND_ABOVE = 100_000  # events
_IMPORTS = 15


def scaling() -> list[Row]:
    """Receive a thousand to ten million events."""
    ns: dict[int, list[float]] = {}
    mib: dict[int, float] = {}
    for count in _SCALES:
        ns[count] = []
        for _ in range(1 if count > _ONE_ROUND_ABOVE else ROUNDS):
            with reading(partial(in_python, "batches", count)) as reader:
                run_events(count, _SCALE_INTERVAL_NS)
                result = reader.result()
                ns[count].append(result["cpu_ns"] / (count - result["lost"]))
                mib[count] = result["resident"] / 2**20
    middle, last = _SCALES[2], _SCALES[-1]
    rows = [
        Row(
            f"{count:,} events in one run",
            f"{middle:,} events",
            NS_PER_EVENT,
            [median(ns[count])],
            [median(ns[middle])],
        )
        for count in _SCALES
    ]
    figure, against = f"memory after {last:,} events", f"after {middle:,}"
    return [*rows, Row(figure, against, "MiB", [mib[last]], [mib[middle]])]


def memory() -> list[Row]:
    """Measure the memory of a reader during a load, above that of the imports."""

    def imports() -> int:
        with reading(partial(in_python, "imports")) as reader:
            return int(reader.result()["resident"])

    def loaded() -> int:
        with reading(partial(in_python, "batches", _READ)) as reader:
            run_events(_READ, _READ_INTERVAL_NS)
            return int(reader.result()["resident"])

    resident = take_turns(lambda run: run(), {"imports": imports, "reading": loaded})
    pairs = zip(resident["reading"], resident["imports"], strict=True)
    mib = [(above - imports) / 2**20 for above, imports in pairs]
    return [Row("memory when reading, above the imports", "", "MiB", mib).expect(4, 1)]


def importing() -> list[Row]:
    """Time interpreters that import the package, its dependencies, and nothing.

    They run with -S: `site` imports many modules for an editable installation before
    the program starts.
    """
    package = Path(procconn.__file__).parent
    compileall.compile_dir(package, quiet=1)  # as its installation does
    codes = {"nothing": "", "dependencies": _dependencies(), "it": "import procconn"}
    ms = take_turns(_run, codes, _IMPORTS)
    above = {
        name: [ran - idle for ran, idle in zip(figures, ms["nothing"], strict=True)]
        for name, figures in ms.items()
    }
    figure = "`import procconn`, above an interpreter"
    against = "its dependencies' modules only"
    return [
        Row(figure, "", "ms", above["it"]).expect(20),
        Row(figure, against, "ms", above["it"], above["dependencies"]),
    ]


def _run(code: str) -> float:
    """Run code in a new interpreter; return its CPU time in milliseconds."""
    pid = os.posix_spawn(*_bare_python(code))
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return (usage.ru_utime + usage.ru_stime) * 1000


def _bare_python(code: str) -> tuple[str, list[str], dict[str, str]]:
    """Return path, arguments and environment of an interpreter without `site`."""
    paths = [ROOT, Path(_cffi_backend.__file__).parent]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    arguments = [sys.executable, "-S", "-c", f"import os\n{code}"]
    return sys.executable, arguments, environment


def _dependencies() -> str:
    """Return code that imports what the package does, except the package itself."""
    code = (
        "import sys; before = {*sys.modules}; import procconn;"
        "print(*(n for n in sys.modules if n not in before and 'procconn' not in n))"
    )
    _, arguments, environment = _bare_python(code)
    names = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, check=True
    )
    return "import " + ", ".join(names.stdout.split())
