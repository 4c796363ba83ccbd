"""What the package takes: memory, the time of its import, and over many events."""

import compileall
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from statistics import median

import _cffi_backend

import procconn
from benchmarks.contestants import NS_PER_EVENT, ROUNDS
from benchmarks.processes import ROOT, in_python, run_storm
from benchmarks.report import Row

_READ = 100_000
_READ_INTERVAL_NS = 10_000
_SCALE_INTERVAL_NS = 2_000
_SCALES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_OFTEN = 100_000  # up to so many events, every round
_IMPORTS = 15


def memory() -> list[Row]:
    """Tell what a reader in the midst of events has beyond its imports."""
    mib = []
    for _ in range(ROUNDS):
        with closing(in_python("imports")) as reader:
            reader.begin()
            bare = reader.result()["resident"]
        with closing(in_python("storm", _READ)) as reader:
            reader.begin()
            run_storm(_READ, _READ_INTERVAL_NS)
            mib.append((reader.result()["resident"] - bare) / 2**20)
    return [Row("memory when reading, above the imports", "", "MiB", mib).must(4, 1)]


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
        Row(figure, "", "ms", above["it"]).must(20),
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
        for _ in range(ROUNDS if count <= _OFTEN else 1):
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
            NS_PER_EVENT,
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
