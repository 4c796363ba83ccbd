"""Command lines: who tells them right, who wrong, and who not at all.

Each reader has the same commands before it, one reader after the other. What was run is
known: each command has a mark of its own. `make bench-commands` runs this.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks import report
from benchmarks.processes import (
    BUILD,
    Process,
    Reader,
    compile_c,
    in_python,
    listeners,
    run_storm,
)
from benchmarks.report import Row

_SHORT, _CHAINS = 6_000, 2_000
_FLOOD = 1_000_000
_SPINNERS, _SPINNING_S = 2, 120
_FILES, _FUNCTIONS = 200, 20
_BUILDS = 7
_JSON_FILE = BUILD / "bench-commands.json"
_HEADINGS = (
    *("machine", "as", "reader", "real-time", "commands"),
    *("right", "wrong", "absent", "CPU an exec"),
)

_PROCCONN, _NAIVE, _FORKSTAT, _EXTRACE = (
    "procconn",
    "naive Python",
    "forkstat",
    "extrace",
)
_IN_PYTHON: dict[str, tuple[str, dict[str, bool]]] = {
    _PROCCONN: ("programs", {"programs": True}),
    _NAIVE: ("naive_programs", {}),
}
_PRINTERS = {
    _FORKSTAT: (["forkstat", "-e", "exec"], r"^\S+ exec +(\d+) +(.*?) *$"),
    _EXTRACE: (["extrace", "-f"], r"^(\d+) (.*)$"),
}

Told = list[tuple[int, str | None]]  # process ids with the command lines told of them


class Heard(NamedTuple):
    """What a reader told, and what that took."""

    told: Told
    cpu_ns: int
    unmarked: int = 0  # absent without a reason


class Printer(Process):
    """A program that prints the commands that were run."""

    def __init__(self, name: str, nobody: bool) -> None:
        arguments, self._pattern = _PRINTERS[name]
        self._printed = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - until `heard`
        user = "nobody" if nobody else None
        super().__init__([*arguments], self._printed, subprocess.DEVNULL, user)
        self.subscribed()
        self._before_ns = self.cpu_ns()

    def begin(self) -> None:
        """Do nothing: it reads already."""

    def heard(self) -> Heard:
        """Wait until it has printed everything, stop it, and read that."""
        self.rest()
        cpu_ns = self.cpu_ns() - self._before_ns
        self.interrupt()
        self.close()
        with self._printed as printed:
            printed.seek(0)
            lines = re.findall(self._pattern, printed.read(), re.MULTILINE)
        return Heard([(int(pid), _unquoted(text)) for pid, text in lines], cpu_ns)


def _unquoted(text: str) -> str | None:
    """Join arguments by spaces only; None for what the printers print for nothing."""
    with suppress(ValueError):  # somebody else's, as ours have no quotes but a pair
        text = " ".join(shlex.split(text))
    return None if text in ("", "<unknown>") else text


def _start(name: str, nobody: bool) -> Reader | Printer:
    if name in _PRINTERS:
        return Printer(name, nobody)
    reader, settings = _IN_PYTHON[name]
    return in_python(reader, nobody=nobody, **settings)


def _hear(reader: Reader | Printer) -> Heard:
    """Wait until a reader has told everything."""
    if isinstance(reader, Printer):
        return reader.heard()
    reader.rest()
    reader.finish()
    result = reader.result()
    told = [(pid, text) for pid, text in result["told"]]
    return Heard(told, result["cpu_ns"], result.get("unmarked", 0))


def _run(kind: str, count: int) -> dict[int, list[str]]:
    """Run commands; return the lines of each process, in the order of its execs."""
    done = subprocess.run(
        [BUILD / "commands", kind, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    ran: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        pid, mark = line.split()
        shell = [f"sh -c exec true {mark}"] if kind == "chains" else []
        ran.setdefault(int(pid), []).extend([*shell, f"true {mark}"])
    return ran


def judge(ran: dict[int, list[str]], told: Told) -> Counter[str]:
    """Count what was told right, wrong and not at all.

    If less was told of a process than it ran, what was told last is taken for the last
    program if that is right, and else for the first.
    """
    heard: dict[int, list[str | None]] = defaultdict(list)
    for pid, text in told:
        heard[pid].append(text)
    verdicts: Counter[str] = Counter()
    for pid, lines in ran.items():
        texts = heard[pid]
        missing: list[str | None] = [None] * (len(lines) - len(texts))
        late = texts and texts[-1] == lines[-1]
        texts = [*missing, *texts] if late else [*texts, *missing]
        verdicts.update(map(_verdict, lines, texts))
    return verdicts


def _verdict(line: str, text: str | None) -> str:
    if text is None or Path(text).name == line.split(maxsplit=1)[0]:  # the name
        return "absent"
    return "right" if text == line else "wrong"


class Trial(NamedTuple):
    """How a reader did."""

    busy: bool
    nobody: bool
    reader: str
    real_time: bool
    verdicts: Counter[str]
    unmarked: int
    cpu_ns: int

    def share(self, verdict: str) -> float:
        """Tell how many of a hundred were judged so."""
        return 100 * self.verdicts[verdict] / self.verdicts.total()

    def cells(self) -> tuple[str, ...]:
        """Write the row."""
        return (
            f"beside {_SPINNERS} that spin" if self.busy else "quiet",
            "nobody" if self.nobody else "root",
            self.reader,
            "yes" if self.real_time else "no",
            f"{self.verdicts.total():,}",
            *(f"{self.share(it):.2f} %" for it in ("right", "wrong", "absent")),
            f"{self.cpu_ns / self.verdicts.total() / 1000:.1f} µs",
        )


def try_reader(name: str, *, busy: bool, nobody: bool) -> Trial:
    """Run all commands before a reader, alone or beside processes that spin."""
    with closing(_start(name, nobody)) as reader:
        real_time = bool(_real_time_threads(reader))
        reader.begin()
        with _spinning(_SPINNERS if busy else 0):
            ran = [_run("short", _SHORT), _run("chains", _CHAINS)]
        heard = _hear(reader)
    verdicts: Counter[str] = Counter()
    for some in ran:
        verdicts += judge(some, heard.told)
    cpu_ns, unmarked = heard.cpu_ns, heard.unmarked
    return Trial(busy, nobody, name, real_time, verdicts, unmarked, cpu_ns)


@contextmanager
def _spinning(count: int) -> Iterator[None]:
    """Keep processors busy, for a time that is bounded whatever happens."""
    code = f"from time import *\nend = time() + {_SPINNING_S}\nwhile time() < end: pass"
    command = [sys.executable, "-S", "-c", code]
    spinners = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def _real_time_threads(reader: Process) -> list[int]:
    """List the threads that run before all ordinary ones."""
    return [
        thread
        for thread in reader.threads()
        if os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
    ]


def flood() -> list[Row]:
    """Make events of another kind, and see how often the real-time thread runs.

    It does once for an exec of anybody. As others have some meanwhile, those are left
    out.
    """

    def runs() -> int:
        stats = [Path(f"/proc/{reader.pid}/task/{it}/schedstat") for it in threads]
        return sum(int(stat.read_text().split()[2]) for stat in stats)

    with closing(_start(_PROCCONN, nobody=False)) as reader:
        threads = _real_time_threads(reader)
        if not threads:
            print("flood: no thread of the reader is real-time here")
            return []
        before = runs()
        reader.begin()
        run_storm(_FLOOD)
        ran = runs() - before
        execs = len(_hear(reader).told)
    figure = f"times the real-time thread ran for {_FLOOD:,} events of others"
    return [Row(figure, "", "", [max(0, ran - execs)]).must(10, 0)]


def build() -> list[Row]:
    """Time a build of small C files, with and without."""
    watched: list[float] = []
    alone: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        _write_sources(Path(folder))
        _make(folder)  # warms the caches
        for _ in range(_BUILDS):
            alone.append(_make(folder))
            with closing(_start(_PROCCONN, nobody=False)) as reader:
                reader.begin()
                watched.append(_make(folder))
    figure = f"`make -j2` of {_FILES} C files, watched"
    return [Row(figure, "unwatched", "s", watched, alone).must(1.05, 1.02)]


def _write_sources(folder: Path) -> None:
    objects = [f"{n}.o" for n in range(_FILES)]
    (folder / "Makefile").write_text(f"all: {' '.join(objects)}\n")
    for number in range(_FILES):
        text = "".join(
            f"int f{number}_{n}(int x) {{ return x * {n} + {number}; }}\n"
            for n in range(_FUNCTIONS)
        )
        (folder / f"{number}.c").write_text(f"#include <stdio.h>\n{text}")


def _make(folder: str) -> float:
    """Build everything anew; return the seconds that took."""
    start = time.monotonic()
    command = ["make", "--silent", "--always-make", "-j2", "-C", folder]
    subprocess.run(command, check=True)
    return time.monotonic() - start


def limits(trials: list[Trial]) -> list[Row]:
    """Say what must hold of our own trials."""
    rows = []
    for trial in trials:
        if trial.reader != _PROCCONN:
            continue
        machine, user, *_ = trial.cells()
        figure = f"commands as {user}, {machine}: "
        if not trial.nobody:
            right = Row(f"{figure}right", "", "%", [trial.share("right")], faster=True)
            rows.append(right.must(99) if trial.busy else right.must(99.9, 100))
        wrong, unmarked = trial.verdicts["wrong"], trial.unmarked
        rows += [
            Row(f"{figure}wrong", "", "", [wrong]).must(0),
            Row(f"{figure}absent without a reason", "", "", [unmarked]).must(0),
        ]
    return rows


def main() -> None:
    """Try all readers, or those that the arguments name."""
    every = [*_IN_PYTHON, *(name for name in _PRINTERS if shutil.which(name))]
    parser = argparse.ArgumentParser(prog="benchmarks.commands", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=every, help="may be given several times"
    )
    readers = parser.parse_args().only or every

    facts = report.machine()
    compile_c("floor")
    compile_c("commands")
    trials = [
        try_reader(reader, busy=busy, nobody=nobody)
        for busy in (False, True)
        for nobody in (False, True)
        for reader in readers
        if not (nobody and reader == _FORKSTAT)  # which insists on root
    ]
    rows = limits(trials)
    if _PROCCONN in readers:
        rows += [*flood(), *build()]
    facts["listeners"] = max(int(str(facts["listeners"])), listeners())
    print(report.aligned([_HEADINGS, *(trial.cells() for trial in trials)]))
    if rows:
        print(f"\n{report.table(rows)}")
    print(f"\n{report.described(facts)}")
    content = {
        "machine": facts,
        "trials": [trial._asdict() for trial in trials],
        "rows": [row.record() for row in rows],
    }
    _JSON_FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
